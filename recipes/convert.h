/* convert: trunks and adapters from one kind of file to another. For recipes/convert_*.c and
 * command_convert.c. */
#ifndef RECIPES_CONVERT_H
#define RECIPES_CONVERT_H

#include "core/gguf_write.h"
#include "core/safetensors.h"
#include "layers/weights.h"

#include <stdio.h>

/* One tensor on its way. */
typedef struct convert_item {
    const char *name; /* in the file to be written */
    tensor      from;
    shape       to;     /* its sizes in the file */
    dtype       type;   /* stored so */
    int64_t     heads;  /* its rows are put into the file's order, by so many heads; 0: they stay */
    bool        turned; /* its rows become columns */
    bool        plus;   /* one is added to its values */
    double      largest_error, largest, errors, squares; /* filled when it is written: |e|, |x|, e^2, x^2 */
} convert_item;

typedef struct convert {
    arena         setup, trunk, work; /* work: values of one tensor */
    const char   *path;               /* where the source lies */
    weights       w;
    bool          typed; /* a type was asked for */
    dtype         type;
    int64_t       shard;
    int           n;
    convert_item *items;
    int           short_rows; /* tensors whose rows do not fit the type, and what they got instead */
    const char   *instead;
} convert;

/* Values for the writers of core/: expands, permutes, stores, and counts what it costs. Infinite and not a
 * number, in the source or because the type ends before the value, fails. */
tensor_fill convert_fill(convert *c);

/* Types that a safetensors trunk may be given: f32, f16, bf16. */
bool convert_is_plain(dtype t);

/* c->w as a folder in Hugging Face layout, or as a .gguf file; nothing is there after a failure. */
status convert_to_folder(convert *c, const char *folder);
status convert_to_gguf(convert *c, const char *path);

/* An adapter folder of `base` as a .gguf file, and back. Prints what happened. */
status convert_adapter_to_gguf(const char *folder, const char *base, bool force, const char *path, FILE *out);
status convert_adapter_to_folder(const char *file, const char *base, const char *folder, FILE *out);

/* An adapter folder as an .h5 file, whatever its method, and back. */
status convert_adapter_to_hdf5(arena *a, const char *folder, const char *path, FILE *out);
status convert_hdf5_to_adapter(arena *a, const char *file, const char *folder, FILE *out);

/* A line for each pair of types. */
void convert_print(const convert *c, FILE *out);

/* Calls `write` with a name beside `folder` and renames what it made; a failure removes it. */
status convert_publish(arena *a, const char *folder, status (*write)(void *context, const char *tmp),
                       void *context);

#endif
