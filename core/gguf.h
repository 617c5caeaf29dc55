/* gguf: reading GGUF files (version 2 and 3, little endian), mapped.
 *
 * The format (github.com/ggml-org/ggml, docs/gguf.md): a header of key-value metadata, the list of
 * tensors, then their data. Strings are counted, not terminated, and may hold NUL or any bytes;
 * keys and tensor names are checked: UTF-8, not empty, no NUL, each once. A file that gguf_open
 * accepts has every length and every tensor inside it, the tensors aligned and apart. */
#ifndef CORE_GGUF_H
#define CORE_GGUF_H

#include "core/arena.h"
#include "core/file.h"
#include "core/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The numbers are the file's. */
typedef enum gguf_kind {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_TEXT,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_KINDS
} gguf_kind;

typedef struct gguf_text {
    const char *v; /* into the map; no NUL behind it */
    size_t      n; /* bytes */
} gguf_text;

/* A value where it lies in the map (not aligned). */
typedef struct gguf_value {
    gguf_kind      kind;
    gguf_kind      of; /* arrays: the kind of the items */
    uint64_t       n;  /* texts: bytes; arrays: items */
    const uint8_t *v;
    size_t         bytes; /* of all that begins at v */
} gguf_value;

typedef struct gguf_pair {
    const char *key;
    gguf_value  value;
} gguf_pair;

typedef struct gguf_tensor {
    const char *name;
    tensor      t;      /* sizes are the file's dimensions reversed: a weight is [out, in] */
    uint64_t    offset; /* from the beginning of the data */
} gguf_tensor;

typedef struct gguf {
    file_map     map;
    uint32_t     version;
    uint64_t     alignment;
    int64_t      n_pairs, n_tensors;
    gguf_pair   *pairs;   /* in file order */
    gguf_tensor *tensors; /* in file order */
    int64_t     *by_key, *by_name; /* indices, sorted */
} gguf;

/* Opens and checks headers, reads no tensor data. Keys, names and tables lie in the arena. After a
 * failure there is nothing to close. Tensor types that core/types.def lacks are
 * STATUS_UNSUPPORTED. */
status gguf_open(arena *a, const char *path, gguf *out);
void   gguf_close(gguf *g);

/* NULL when there is none of that name. */
const gguf_value  *gguf_find(const gguf *g, const char *key);
const gguf_tensor *gguf_find_tensor(const gguf *g, const char *name);

/* One value; false when it is of another kind or does not fit. as_int and as_u64 take all whole
 * kinds, as_double takes f32 and f64, as_bool refuses bytes other than 0 and 1. */
bool gguf_as_int(const gguf_value *v, int64_t *out);
bool gguf_as_u64(const gguf_value *v, uint64_t *out);
bool gguf_as_double(const gguf_value *v, double *out);
bool gguf_as_bool(const gguf_value *v, bool *out);
bool gguf_as_text(const gguf_value *v, gguf_text *out);

/* Bytes of a value of a kind; 0 for texts and arrays, whose bytes vary. */
size_t gguf_kind_bytes(gguf_kind kind);

/* Steps through an array: *at begins as NULL; false after the last item. */
bool gguf_next(const gguf_value *array, const uint8_t **at, gguf_value *item);

/* By key, with messages. An absent key leaves *out as it is when `need` is false, else fails; a
 * wrong kind always fails. gguf_string gives a NUL-terminated copy and refuses texts with NUL
 * inside. */
status gguf_int(const gguf *g, const char *key, bool need, int64_t lo, int64_t hi, int64_t *out);
status gguf_double(const gguf *g, const char *key, bool need, double *out);
status gguf_bool(const gguf *g, const char *key, bool need, bool *out);
status gguf_string(arena *a, const gguf *g, const char *key, bool need, const char **out);

/* Whole arrays as tables in the arena; texts point into the map. An absent key gives n = 0 when
 * `need` is false. gguf_floats takes f32 only. */
status gguf_texts(arena *a, const gguf *g, const char *key, bool need, gguf_text **out, int64_t *n);
status gguf_ints(arena *a, const gguf *g, const char *key, bool need, int64_t **out, int64_t *n);
status gguf_floats(arena *a, const gguf *g, const char *key, bool need, float **out, int64_t *n);

#ifdef __cplusplus
}
#endif
#endif
