/* with_gradcheck: an operation's gradients against finite differences, and the same case in other types.
 *
 * A case is a row of tests/grad_cases.def: an operation, its settings, its inputs. Inputs and upstream
 * gradients are random (f32 values, so that f32 and f64 begin with the same numbers); gradients are
 * added to buffers that do not start at zero; rows past those in use hold NaN (or an index far outside)
 * and must stay as they are; what backward has not declared that it reads is not there (NULL).
 *
 * Derivatives: (8 (L(x+h) - L(x-h)) - (L(x+2h) - L(x-2h))) / 12 h with L = sum of upstream * output and
 * h = 2^-10. Its truncation is h^4 / 30 times the fifth derivative of L, 3e-14 S for a fifth derivative as
 * large as S = sum |upstream * output|; rounding adds at most 1.5 * 2^-53 S n / h, 2e-12 S for sums of n =
 * 16 terms. GRAD_BOUND * (S + 1) leaves room for fifth derivatives of 1e3 S. */
#ifndef TESTS_WITH_GRADCHECK_H
#define TESTS_WITH_GRADCHECK_H

#include "autograd/op_table.h"
#include "core/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GRAD_BOUND 3e-11

typedef enum grad_kind {
    GRAD_ABSENT,
    GRAD_REAL,   /* random, gradient checked */
    GRAD_FIXED,  /* random, no gradient (tables) */
    GRAD_INTS,   /* given */
    GRAD_RANDOM, /* random indices 0 .. limit-1 */
    GRAD_CHOSEN, /* as reals: random numbers 0 .. limit-1 that rise along a row */
    GRAD_STORED, /* random values of a stored type, no gradient */
    GRAD_SAME    /* the same value as another input */
} grad_kind;

typedef struct grad_input {
    grad_kind      kind;
    shape          s;
    int32_t        used; /* leading rows in use; -1: all */
    const int32_t *ints;
    int32_t        limit; /* of random indices; index of the other input */
    dtype          type;  /* of stored values */
} grad_input;

typedef struct grad_case {
    const char *name;
    op_code     op;
    op_attr     attr;
    int         n_in;
    grad_input  in[OP_IN_MAX];
} grad_case;

extern const grad_case grad_cases[];
extern const int       grad_case_count;

/* A case in memory, in one type, with the functions that run it. */
typedef struct grad_setup grad_setup;
struct grad_setup {
    const grad_case    *c;
    const op_functions *f;
    dtype               real;
    arena               memory;
    tensor              in[OP_IN_MAX], gin[OP_IN_MAX], start[OP_IN_MAX]; /* start: of the gradients */
    tensor              out[OP_OUT_MAX], gout[OP_OUT_MAX];
    int32_t             used[OP_IN_MAX];
    int                 n_out;
    void               *aux;
    int64_t             n_aux;
    op_run              run;
    uint32_t            wanted; /* gradients that shape rule and forward are told of */
    /* NULL, or what runs the kernels somewhere else: tests/with_device.c */
    void (*elsewhere)(grad_setup *g, const op_args *a, bool backward);
    void    *place; /* its own */
    uint32_t fresh; /* gradients that are to be assigned where the kernel can; their start is NaN there */
};

/* Stops the test when the case does not fit its operation. f: the entry of the operation. */
void grad_open(grad_setup *g, const grad_case *c, const op_functions *f, dtype real);
void grad_close(grad_setup *g);
/* Tells shape rule and forward which gradients will be wanted; grad_open says all. */
void grad_want(grad_setup *g, uint32_t wanted);
/* Runs the kernels; masks say which gradients are wanted and which upstream gradients arrive. Outputs and
 * gradients are reset first. */
void grad_forward(grad_setup *g);
void grad_backward(grad_setup *g, uint32_t wanted, uint32_t arriving);
/* Inputs that have a gradient. */
uint32_t grad_all(const grad_setup *g);

double  grad_get(const tensor *t, int64_t i);
void    grad_set(tensor *t, int64_t i, double value);
int64_t grad_used_values(const tensor *t);

/* The whole check in f64. True when it passes; else `why` says what is wrong. `worst` (may be NULL) gets
 * the largest error in units of the bound. */
bool gradcheck(const grad_case *c, const op_functions *f, char why[256], double *worst);

#ifdef __cplusplus
}
#endif
#endif
