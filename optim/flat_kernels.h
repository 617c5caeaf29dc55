/* flat_kernels: what a device's plug-in does with the flat f32 buffers of a training step.
 *
 * Values, gradients, their partial sums and an optimizer's state are flat buffers. One that has a twin on the
 * current device (core/device.h) is computed with there, by these functions; its host addresses are then
 * names only and are never touched. All pointers below are the device's, all calls return at once. */
#ifndef OPTIM_FLAT_KERNELS_H
#define OPTIM_FLAT_KERNELS_H

#include "optim/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { FLAT_PIECE = OPTIM_PIECE }; /* values of a partial sum */

typedef struct flat_kernels {
    /* to = a + b; `to` may be one of them */
    void (*add)(float *to, const float *a, const float *b, int64_t n);
    /* Cuts scale * g to [-limit, limit]. */
    void (*cut)(float *g, int64_t n, float scale, float limit);
    /* For every piece of scale * g: the sum of squares in double, in the order of optim/clip.c; the largest
     * magnitude, NaN when a value is. In scratch of the plug-in, until its next operation begins; NULL after
     * a failure. */
    const double *(*squares)(const float *g, int64_t n, double scale);
    const double *(*largest)(const float *g, int64_t n, double scale);
} flat_kernels;

/* A piece of a span: where it begins in the parameters and in every slot. */
typedef struct flat_piece {
    int64_t at, slot[OPTIM_SLOTS];
    int32_t span, count;
} flat_piece;

/* What a rule gets for a span in a step. */
typedef struct flat_factors {
    float   f[OPTIM_FACTORS];
    int32_t mode; /* negative: the span is skipped */
} flat_factors;

/* A step of all spans: what the function named by optimizer.kernel does. */
typedef struct flat_step {
    const flat_piece   *pieces;
    int64_t             n_pieces;
    const flat_factors *factors;
    float              *p;
    const float        *g;
    float              *slot[OPTIM_SLOTS];
} flat_step;

/* Where the values lie on the current device; NULL: there is none, or they have no twin. */
float *flat_find(const float *buffer);
/* The current device's functions. */
const flat_kernels *flat_functions(void);

#ifdef __cplusplus
}
#endif
#endif
