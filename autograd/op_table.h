/* op_table: the rows of autograd/ops.def as data, and the kernels of each type and instruction set */
#ifndef AUTOGRAD_OP_TABLE_H
#define AUTOGRAD_OP_TABLE_H

#include "autograd/op.h"

enum {
    IN0 = 1, IN1 = 2, IN2 = 4, IN3 = 8, IN4 = 16, IN5 = 32, IN6 = 64, IN7 = 128,
    OUT0 = 256, OUT1 = 512, OUT2 = 1024, OUT3 = 2048, AUX = 4096
};
enum { NO_ROWS = -1 };
enum { FIXED = 1 << 24, CHEAP = 1 << 25 };
#define WIDE(i) (1 << (26 + (i)))
#define PASS(i) (1 << (i))
#define OVER(i) (1 << (8 + (i)))
#define IS(i) (1 << (16 + (i)))

typedef struct op_row {
    const char *name;
    int         n_in, n_out;
    int         rows;             /* input that gives the rows in use, or NO_ROWS */
    uint32_t    flags;            /* PASS, OVER, IS, FIXED, CHEAP, WIDE */
    uint32_t    reads[OP_IN_MAX]; /* what the gradient of each input needs */
} op_row;

typedef struct op_functions {
    status (*shape)(const op_args *a, shape *out, int64_t *n_aux);
    void (*forward)(const op_args *a);
    void (*backward)(const op_args *a);
} op_functions;

/* The same two on a device; the shape rule is the CPU's. Both do nothing but launch kernels. *assigns: bits of the
 * inputs whose gradient backward can assign instead of adding to it, where op_args says `fresh`. */
typedef struct op_kernels {
    void (*forward)(const op_args *a);
    void (*backward)(const op_args *a);
    const uint32_t *assigns;
} op_kernels;

extern const op_row op_rows[OP_COUNT];

/* Kernels by variant: "f32", "f64", "f32_avx2", "f32_avx512"; NULL when the build or the CPU lacks
 * it. An array of OP_COUNT. */
const op_functions *op_variant(const char *name);

/* The best variant of a type on this CPU (the one that fits matmul_path()). */
const op_functions *op_best(dtype type);

/* "linear" */
const char *op_name(op_code op);

#endif
