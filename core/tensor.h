/* tensor: contiguous row-major values of one type, at most five sizes. A weight is [out, in]. */
#ifndef CORE_TENSOR_H
#define CORE_TENSOR_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum dtype {
#define TYPE(name, block, bytes, text) TYPE_##name,
#include "core/types.def"
#undef TYPE
    TYPE_COUNT
} dtype;

enum { SHAPE_MAX = 5 };

typedef struct shape {
    int     n; /* number of sizes; 0 is a single value */
    int64_t d[SHAPE_MAX];
} shape;

/* A view: it owns nothing. `rows`, when not NULL, points to the number of leading rows (of the
 * first size) that are in use in this run; the rest of the capacity is neither read nor written. */
typedef struct tensor {
    shape          s;
    dtype          type;
    void          *v;
    const int32_t *rows;
} tensor;

/* "f32" ...; values and bytes of a block (1 and the value's size for plain types). */
const char *dtype_name(dtype t);
int64_t     dtype_block(dtype t);
int64_t     dtype_block_bytes(dtype t);
/* Finds a type by name; false when there is none. */
bool dtype_find(const char *name, dtype *out);

/* Bytes of a row of n values; -1 when n is not a whole number of blocks or the result overflows. */
int64_t dtype_row_bytes(dtype t, int64_t n);

shape shape_of(int n, const int64_t *d);
/* shape_1(a) ... shape_3(a, b, c): the usual ones, short. */
shape shape_1(int64_t a);
shape shape_2(int64_t a, int64_t b);
shape shape_3(int64_t a, int64_t b, int64_t c);
bool  shape_equal(shape a, shape b);

/* Product of the sizes (1 for no sizes). Sizes read from files are checked before they come here. */
int64_t shape_count(shape s);
/* The last size (1 for no sizes), and the product of all others. */
int64_t shape_last(shape s);
int64_t shape_rows(shape s);
/* "[2, 3]" into a static per-thread buffer, of which four live at once. */
const char *shape_text(shape s);

/* All bytes of the tensor; CHECKs that a row is whole blocks. */
size_t tensor_bytes(const tensor *t);
/* Values that are made when the writer of a file asks for them, one tensor at a time: `item` is its index
 * in the list given to the writer; *bytes stay valid until the next call. */
typedef struct tensor_fill {
    status (*run)(void *context, int64_t item, const void **bytes);
    void *context;
} tensor_fill;

/* Rows in use: *rows when set (checked against the capacity), else shape_rows. */
int64_t tensor_rows(const tensor *t);

#ifdef __cplusplus
}
#endif
#endif
