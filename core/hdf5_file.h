/* hdf5_file: named arrays and attributes in an HDF5 file.
 *
 * A flat file: every array is a dataset of the root, contiguous, little-endian, without filters,
 * and every attribute belongs to the root. The bytes of a file depend only on what was put, in
 * which order (no times are stored). Reading refuses links, outside storage, and arrays that promise more than the
 * file holds, before memory is taken. Not thread-safe. */
#ifndef CORE_HDF5_FILE_H
#define CORE_HDF5_FILE_H

#include "core/arena.h"
#include "core/tensor.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct h5_file {
    const char *path; /* as given; must outlive the file */
    int64_t id;       /* the library's handle; 0: closed */
    int fd;           /* writing: used to reserve space before the library writes */
    int64_t reserved;
    status error; /* writing: the first failure; later puts do nothing */
    char text[512];
} h5_file;

/* Makes or replaces a file. */
status h5_create(h5_file *f, const char *path);

/* Puts an array (f32, f64, f16, bf16, i32, i64 or u8; no '/' in the name; at least one value). */
status h5_put(h5_file *f, const char *name, dtype type, shape s, const void *v);

/* Puts an attribute. A text may have 60,000 bytes. */
status h5_put_int(h5_file *f, const char *name, int64_t value);
status h5_put_real(h5_file *f, const char *name, double value);
status h5_put_text(h5_file *f, const char *name, const char *text);

/* Ends writing; returns the first failure of all puts. The file is complete only after STATUS_OK;
 * it is not synced. */
status h5_finish(h5_file *f);

/* Opens for reading. */
status h5_open(h5_file *f, const char *path);

/* Names of everything in the root, in their order; they lie in the arena. */
status h5_list(h5_file *f, arena *a, const char ***names, int64_t *n);

/* Type and shape of an array; *found is false when there is none of that name. One that promises more bytes than
 * the file has is refused. */
status h5_find(h5_file *f, const char *name, bool *found, dtype *type, shape *s);

/* Reads an array that must have exactly this type and shape. */
status h5_get(h5_file *f, const char *name, dtype type, shape s, void *out);

bool h5_has(h5_file *f, const char *attribute);

/* Reads an attribute that must be there and of this kind; a text and its NUL must fit. */
status h5_get_int(h5_file *f, const char *name, int64_t *value);
status h5_get_real(h5_file *f, const char *name, double *value);
status h5_get_text(h5_file *f, const char *name, char *text, size_t capacity);

/* Fails with the library's innermost reason: "FILE: cannot WHAT NAME: reason". */
status h5_failed(const h5_file *f, const char *name, const char *what);

/* Ends reading; a file that is closed already may be closed again. */
void h5_close(h5_file *f);

#ifdef __cplusplus
}
#endif
#endif
