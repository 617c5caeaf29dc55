/* weights: what stands behind an opened trunk; for the files layers/weights_*.c alone */
#ifndef LAYERS_WEIGHTS_FILES_H
#define LAYERS_WEIGHTS_FILES_H

#include "core/safetensors.h"
#include "layers/gguf_map.h"
#include "layers/weights.h"

struct weights_files {
    int          n;
    const char **names;  /* below the trunk's folder, sorted; of a GGUF file the path itself */
    safetensors *shards; /* n of them; NULL for a GGUF file */
    gguf         container;
};

/* Fills config, n and w (not sorted) from files->container. */
status weights_from_gguf(arena *a, weights *w);

/* The sizes that a config.json says, the config.json that a GGUF file's metadata amount to, and the metadata that
 * a config.json amounts to, for families that are built like llama. */
status weights_gguf_sizes(const cJSON *config, const char *what, const gguf_map *map, gguf_sizes *s);
status weights_gguf_config(arena *a, const gguf *g, const gguf_map *map, cJSON **out);
status weights_gguf_metadata(arena *a, const cJSON *config, const char *what, const gguf_map *map,
                             gguf_meta *m);

#endif
