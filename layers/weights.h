/* weights: a frozen trunk as it lies on disk, under its Hugging Face names.
 *
 * A source is a folder in Hugging Face layout (config.json, model.safetensors or shards with an
 * index) or a GGUF file. Either way the caller sees a config.json object and tensors by checkpoint
 * name, mapped, not copied. Of a GGUF file the names are translated, the config is made from the
 * metadata, and rows that llama.cpp permuted (q and k of llama and mistral) are put back as bytes
 * into the arena. */
#ifndef LAYERS_WEIGHTS_H
#define LAYERS_WEIGHTS_H

#include "core/arena.h"
#include "core/tensor.h"

#include <cjson/cJSON.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weight {
    const char *name; /* "model.layers.0.self_attn.q_proj.weight" */
    tensor      t;    /* points into the file's mapping, or into the arena */
} weight;

typedef struct weights {
    const char *path;
    bool        is_gguf;
    cJSON      *config; /* the object of config.json, or the one made from GGUF metadata */
    int         n;
    weight     *w;      /* sorted by name */
    void       *files;  /* what close unmaps */
} weights;

/* Opens headers and maps the files; reads no weight. `path` must outlive it. */
status weights_open(arena *a, const char *path, weights *out);
void   weights_close(weights *w);

/* NULL when there is none of that name. */
const weight *weights_find(const weights *w, const char *name);

/* SHA-256 of all files of the trunk (names and contents in order), as 64 hex digits; remembered in the
 * cache folder by device, inode, size and time, so that the second call reads nothing. */
status weights_fingerprint(const weights *w, char hex[65]);

#ifdef __cplusplus
}
#endif
#endif
