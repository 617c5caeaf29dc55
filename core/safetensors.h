/* safetensors: reading (mapped) and writing of safetensors files.
 *
 * The format (huggingface/safetensors): 8 bytes header length, a JSON object of name -> {dtype,
 * shape, data_offsets} with text pairs under "__metadata__", then the data. Tensors tile the data:
 * no gap, no overlap, nothing left over. Names are unique, not empty and hold no NUL. */
#ifndef CORE_SAFETENSORS_H
#define CORE_SAFETENSORS_H

#include "core/arena.h"
#include "core/file.h"
#include "core/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct safetensors_entry {
    const char *name;
    const char *type_name; /* as in the file: "BF16" */
    bool        opaque;    /* a type that core/types.def lacks (BOOL, F8_E4M3, ...), or more than
                              five sizes: t has no values, and no sizes when they are too many */
    bool        many_sizes;
    tensor      t;         /* t.v may lie at any address: the format does not align */
    const void *v;
    size_t      bytes;
} safetensors_entry;

typedef struct safetensors_pair {
    const char *key;
    const char *value;
    size_t      length; /* of the value, which may hold NUL when it was read */
} safetensors_pair;

typedef struct safetensors {
    file_map           map;
    int                n, n_metadata;
    safetensors_entry *e;        /* sorted by name */
    safetensors_pair  *metadata; /* in file order */
} safetensors;

/* Opens and checks the header, reads no data. Names and tables lie in the arena. After a failure
 * there is nothing to close. */
status safetensors_open(arena *a, const char *path, safetensors *out);
void   safetensors_close(safetensors *s);

/* NULL when there is none of that name; NULL when there is no such metadata. */
const safetensors_entry *safetensors_find(const safetensors *s, const char *name);
const char              *safetensors_metadata(const safetensors *s, const char *key);

typedef struct safetensors_item {
    const char *name;
    tensor      t; /* f32, bf16, f64, f16, i32, u8 or i64 */
} safetensors_item;

/* Writes a file in one atomic step. The order of items and pairs given does not matter: the wider
 * types come first, then by name, so that every tensor is aligned and equal contents make equal
 * bytes; pairs are sorted by key (`length` is not used). The header is padded to 8 bytes with
 * blanks. Names that are empty, equal, not UTF-8 or "__metadata__" fail. */
status safetensors_write(const char *path, const safetensors_item *items, int n,
                         const safetensors_pair *metadata, int n_metadata);

/* The same with values that are made when they are written; NULL: they are items[i].t.v. */
status safetensors_write_made(const char *path, const safetensors_item *items, int n,
                              const safetensors_pair *metadata, int n_metadata, const tensor_fill *fill);

/* A trunk's tensors in an existing folder, in files of at most `limit` bytes of data each (a larger tensor
 * has one for itself): model.safetensors when one is enough, else model-00001-of-0000N.safetensors and
 * model.safetensors.index.json, which is written last. *files is their number. */
status safetensors_write_shards(const char *folder, const safetensors_item *items, int n, int64_t limit,
                                const tensor_fill *fill, int *files);

/* A tensor of a type that core/types.def lacks, in the narrowest one that holds all its values: F8_E4M3 and
 * F8_E5M2 as bf16, I8 and I16 as i32, BOOL as u8, in the arena. *widened is false for the other types (U16,
 * U32, U64, C64, F8_E8M0, F6_*, F4 ...), whose callers refuse them by name. */
status safetensors_widen(arena *a, const safetensors_entry *e, tensor *out, bool *widened);

#ifdef __cplusplus
}
#endif
#endif
