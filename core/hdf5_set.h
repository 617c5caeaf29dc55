/* hdf5_set: arrays in HDF5 files of others, as h5py and its like write them.
 *
 * In groups ("train/images"), chunked, and compressed by the filters that the library has itself. Links and arrays
 * that lie elsewhere, in other files or as views, are refused; so are arrays that promise more than the file's bytes
 * can hold, before memory is taken. Not thread-safe. The file is one that h5_open opened. */
#ifndef CORE_HDF5_SET_H
#define CORE_HDF5_SET_H

#include "core/arena.h"
#include "core/hdf5_file.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes that a chunk, which the library unpacks as one, may have. */
enum { H5_CHUNK_MAX = 1 << 28 };

typedef enum h5_kind { H5_TEXTS, H5_WHOLE, H5_REAL } h5_kind;

typedef struct h5_set {
    const char *name; /* must outlive it */
    int64_t     id;   /* the library's handle; 0: closed */
    h5_kind     kind;
    bool        bytes; /* whole numbers of 8 bits without a sign */
    shape       s;     /* at least one size, none 0 */
} h5_set;

typedef struct h5_text {
    const char *v; /* a NUL byte follows */
    size_t      n;
} h5_text;

/* Opens an array; every h5_set_open is followed by h5_set_close. */
status h5_set_open(h5_file *f, const char *name, h5_set *out);
void   h5_set_close(h5_set *s);

/* Reads all values as u8 (of `bytes`), i64 (of whole numbers) or f32 (of reals). */
status h5_set_read(h5_file *f, const h5_set *s, dtype type, void *out);

/* Reads all texts of an array [n], of one length or of any, without what pads them (hdf5_texts.c). Those of any length
 * must not be compressed or compact. */
status h5_set_texts(h5_file *f, const h5_set *s, arena *a, h5_text **out);

#ifdef __cplusplus
}
#endif
#endif
