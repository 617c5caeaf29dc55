/* weights: what stands behind an opened trunk; for the files layers/weights_*.c alone */
#ifndef LAYERS_WEIGHTS_FILES_H
#define LAYERS_WEIGHTS_FILES_H

#include "core/safetensors.h"
#include "layers/weights.h"

struct weights_files {
    int          n;
    const char **names;  /* below the trunk's folder, sorted; of a GGUF file the path itself */
    safetensors *shards; /* n of them; NULL for a GGUF file */
    gguf         container;
};

/* Fills config, n and w (not sorted) from files->container. */
status weights_from_gguf(arena *a, weights *w);

/* The config.json that a GGUF file's metadata amount to. */
status weights_gguf_config(arena *a, const gguf *g, cJSON **out);

/* True when the architecture's q and k rows were permuted by llama.cpp's converter. */
bool weights_gguf_permutes(const char *architecture);

#endif
