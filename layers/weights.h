/* weights: a frozen trunk as it lies on disk, under its Hugging Face names.
 *
 * A source is a folder in Hugging Face layout (config.json, model.safetensors or shards with an
 * index) or a GGUF file. Either way the caller sees a config.json object and tensors by checkpoint
 * name, mapped, not copied. Of a GGUF file (layers/gguf_maps.def) the names are translated, the config is made
 * from the metadata, shapes are checked against it, and what llama.cpp changed is changed back in the arena: rows
 * that it permuted (q and k of llama and mistral), norms that it added one to (gemma). */
#ifndef LAYERS_WEIGHTS_H
#define LAYERS_WEIGHTS_H

#include "core/arena.h"
#include "core/gguf.h"
#include "core/tensor.h"

#include <cjson/cJSON.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weight {
    const char *name; /* "model.layers.0.self_attn.q_proj.weight" */
    tensor      t;    /* points into the file's mapping, or into the arena */
    bool        turned; /* [out, in] here, of a GGUF file; the checkpoint has [in, out] */
} weight;

typedef struct weights_files weights_files; /* what close unmaps; layers/weights_files.h */

typedef struct weights {
    const char    *path;
    bool           is_gguf;
    cJSON         *config; /* the object of config.json, or the one made from GGUF metadata */
    int            n;
    weight        *w; /* sorted by name, without tensors of types that are not handled */
    weights_files *files;
    bool           random; /* nothing on disk: tensors are made when a family asks for them */
    bool           empty;  /* random, and values are not wanted: `plan` */
    uint64_t       seed;
} weights;

/* Opens headers and maps the files. Of the weights it reads only what must be copied: permuted q
 * and k of a GGUF file, and tensors of a safetensors file that are not aligned to their values.
 * `path` must outlive it. After a failure there is nothing to close. */
status weights_open(arena *a, const char *path, weights *out);
void   weights_close(weights *w);

/* A trunk of a config.json with weights made from the seed: normal with the config's initializer_range
 * (0.02), norm weights one, biases zero; each a function of seed and name. */
status weights_random(const char *config_path, uint64_t seed, bool empty, weights *out);

/* NULL when there is none of that name. */
const weight *weights_find(const weights *w, const char *name);

/* The same, but absence fails: "x: has no tensor model.norm.weight", or says of which type it is
 * when it is stored in one that is not handled. */
status weights_need(const weights *w, const char *name, const weight **out);

/* The tensor lies in a mapped file; then what weights_let_go gives back of its memory is read again when it is wanted. */
bool weights_mapped(const weights *w, const tensor *t);
void weights_let_go(const weights *w, const tensor *t);

/* A copy [columns, rows] of a matrix [rows, columns] of single values (not of a block type) in the arena. */
status weights_turned(arena *a, const tensor *t, tensor *out);

/* The sizes of a tensor as the checkpoint has it, [in, out] where it is turned; and its values so, in f32. */
shape  weights_shape(const weight *w);
status weights_expanded(arena *a, const weight *w, tensor *out);

/* The GGUF container below (its metadata holds the tokenizer); NULL for a folder. */
const gguf *weights_gguf(const weights *w);

/* What identifies the trunk, as 64 hex digits. Of a GGUF file its SHA-256; of a folder the SHA-256
 * of what `sha256sum config.json *.safetensors` prints for the files in use, sorted by name. Each
 * file's digest is remembered in the cache folder by device, inode, size and time of change, so
 * that the second call reads nothing. */
status weights_fingerprint(const weights *w, char hex[65]);

#ifdef __cplusplus
}
#endif
#endif
