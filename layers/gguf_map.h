/* gguf_map: what a GGUF file calls the tensors and settings of a family of trunks, both ways.
 *
 * A family has one gguf_map, in a file of layers/ of its own, and one row in layers/gguf_maps.def. Reading
 * (layers/weights_gguf.c) and writing (`convert`) go by the same rows. */
#ifndef LAYERS_GGUF_MAP_H
#define LAYERS_GGUF_MAP_H

#include "core/gguf_write.h"

#include <cjson/cJSON.h>

/* What a config.json says of a trunk's sizes. */
typedef struct gguf_sizes {
    int64_t layers, hidden, inner, heads, kv_heads, head_size, words, positions;
    bool    tied;
} gguf_sizes;

/* One tensor. Sizes as the file has them, in letters: v words, p positions, h width, f hidden width of the mlp,
 * q and k rows of the projections, s those of q, k and v together, d a head, r half of one. */
typedef struct gguf_role {
    const char *gguf, *checkpoint, *sizes;
    bool        need;
    char        stored; /* how; 0: as the checkpoint has it; 'q', 'k': the rows of each head (key head) permuted;
                           't': [out, in], which the checkpoint has as [in, out]; '1': with one added */
} gguf_role;

typedef struct gguf_map {
    const char      *architecture; /* general.architecture, the prefix of its keys */
    const char *stored_as; /* the architecture that a writer says: llama.cpp reads a mistral as a llama */
    const char      *model_type, *class_name; /* config.json */
    bool             permutes;     /* the rows of roles that say so */
    bool             has_bias;     /* on q, k, v: always there and not said in config.json */
    bool             has_window;   /* may see a window of keys only */
    const char      *act_key, *acts[3]; /* of config.json, and what it may be; the first when it says nothing */
    gguf_sizes       presets;      /* of keys that config.json may leave out; 0: no preset */
    double           theta;        /* the same of the rotary base */
    const char      *blocks;       /* "model.layers.": what the checkpoint has for "blk." */
    const char      *prefix;       /* of names in a trunk with a head, which a bare one lacks; NULL: both have them */
    const char      *made[2];      /* endings of names: tensors that a reader makes and no file needs */
    const gguf_role *whole, *block; /* a block's role that is not needed is in all blocks or in none */
    int              n_whole, n_block;
    status (*read_sizes)(const cJSON *config, const char *what, const struct gguf_map *map, gguf_sizes *out);
    /* config.json from the metadata, and the metadata from config.json (without tokenizer and file type). */
    status (*read_config)(arena *a, const gguf *g, const struct gguf_map *map, cJSON **out);
    status (*write_config)(arena *a, const cJSON *config, const char *what, const struct gguf_map *map,
                           gguf_meta *m);
} gguf_map;

/* By general.architecture, and by config.json's model_type; NULL when there is none. *known lists them. */
const gguf_map *gguf_map_of(const char *architecture);
const gguf_map *gguf_map_of_model(const char *model_type);
const char     *gguf_map_names(arena *a);

/* Settings named after the architecture ("llama.block_count"). A real number must be above 0. */
status gguf_map_int(arena *a, const gguf *g, const gguf_map *map, const char *key, bool need, int64_t lo, int64_t hi,
                    int64_t *out);
status gguf_map_real(arena *a, const gguf *g, const gguf_map *map, const char *key, bool need, double *out);
/* What every trunk says first: the architecture, and the sizes that all have; then further settings. */
void   gguf_map_put_sizes(gguf_meta *m, const gguf_map *map, const gguf_sizes *s);
void   gguf_map_put_int(gguf_meta *m, const gguf_map *map, const char *key, int64_t value);
void   gguf_map_put_string(gguf_meta *m, const gguf_map *map, const char *key, const char *text);
status gguf_map_put_real(gguf_meta *m, const gguf_map *map, const char *key, const char *what, const char *name,
                         double value);

/* The rows of token_embd.weight, one or more for each token of the metadata. */
status gguf_map_words(const gguf *g, int64_t *words);

/* tokenizer.ggml.bos_token_id and its fellow as config.json's. */
status gguf_map_ends(const gguf *g, int64_t words, cJSON *config);

/* Makes a config that came from metadata ready to be printed, not to be read: what was f32 in the file in the fewest
 * digits that give that f32, with a point in it where transformers wants one. */
void gguf_map_tidy(cJSON *config);

/* The object of a config that has the rotary scaling of full attention; NULL: none. */
const cJSON *gguf_map_rope(const cJSON *config);

/* Heads whose rows are permuted; 0: none are. */
int64_t gguf_map_heads(const gguf_map *map, const gguf_role *role, const gguf_sizes *s);

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
