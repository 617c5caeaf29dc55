/* gguf_map: what a GGUF file calls the tensors and settings of a family of trunks, both ways.
 *
 * A family has one gguf_map, in a file of layers/ of its own, and one row in layers/gguf_maps.def. Reading
 * (layers/weights_gguf.c) and writing (`convert`) go by the same rows. */
#ifndef LAYERS_GGUF_MAP_H
#define LAYERS_GGUF_MAP_H

#include "core/gguf_write.h"

#include <cjson/cJSON.h>

/* One tensor. Sizes in letters: v words, h width, f hidden width of the mlp, q and k rows of the projections,
 * d a head, r half of one. */
typedef struct gguf_role {
    const char *gguf, *checkpoint, *sizes;
    bool        need;
    char        permuted; /* 'q', 'k': rows of each head (key head) are stored permuted; 0: not */
} gguf_role;

typedef struct gguf_map {
    const char      *architecture; /* general.architecture, the prefix of its keys */
    const char *stored_as; /* the architecture that a writer says: llama.cpp reads a mistral as a llama */
    const char      *model_type, *class_name; /* config.json */
    bool             permutes;     /* the rows of roles that say so */
    bool             has_bias;     /* on q, k, v: always there and not said in config.json */
    const char      *blocks;       /* "model.layers.": what the checkpoint has for "blk." */
    const gguf_role *whole, *block; /* a block's role that is not needed is in all blocks or in none */
    int              n_whole, n_block;
    /* config.json from the metadata, and the metadata from config.json (without tokenizer and file type). */
    status (*read_config)(arena *a, const gguf *g, const struct gguf_map *map, cJSON **out);
    status (*write_config)(arena *a, const cJSON *config, const char *what, const struct gguf_map *map,
                           gguf_meta *m);
} gguf_map;

/* By general.architecture, and by config.json's model_type; NULL when there is none. *known lists them. */
const gguf_map *gguf_map_of(const char *architecture);
const gguf_map *gguf_map_of_model(const char *model_type);
const char     *gguf_map_names(arena *a);

/* The file's name of a checkpoint's tensor and its role; *role is NULL when the map has none. */
status gguf_map_name(arena *a, const gguf_map *map, const char *checkpoint, const gguf_role **role,
                     const char **out);

/* The other way: "blk.12.attn_q.weight". *number is the block, -1 outside of blocks. */
status gguf_map_checkpoint(arena *a, const gguf_map *map, const char *name, const gguf_role **role,
                           int64_t *number, const char **out);

/* llama.cpp rotates neighbours where a checkpoint rotates halves, so the file keeps the rows of each head of
 * D in the order 0, D/2, 1, D/2 + 1, ... Rows of `row` bytes are moved, into that order or back. */
void gguf_permute(const void *from, void *to, int64_t heads, int64_t D, size_t row, bool into_file);

/* What divides the rotary frequencies of a config whose scaling is llama3, as f32 [head_size / 2]: the tensor
 * rope_freqs.weight; NULL for other scalings. And the other way: adds the rope_scaling that such divisors
 * come from to a config, or refuses. */
status gguf_rope_divisors(arena *a, const cJSON *config, const char *what, int64_t head_size, float **out);
status gguf_rope_scaling(arena *a, const float *divisors, int64_t head_size, const char *what, cJSON *config);

#endif
