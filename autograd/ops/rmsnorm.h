/* rmsnorm: the row kernels of rmsnorm and rmsnorm_add */
#ifndef AUTOGRAD_OPS_RMSNORM_H
#define AUTOGRAD_OPS_RMSNORM_H

#include "autograd/ops/kernel.h"

#include <math.h>

#ifdef REAL_IS_F64
#define REAL_SQRT sqrt
#else
#define REAL_SQRT sqrtf
#endif

/* y = x * r * (o + w), r = 1 / sqrt(mean(x^2) + eps), for one row; returns r. */
static inline real rmsnorm_row(const real *x, const real *w, real o, real *RESTRICT y, int64_t C, double eps)
{
    const real r = 1 / REAL_SQRT(op_dot(x, x, C) / (real)C + (real)eps);

    for (int64_t c = 0; c < C; c++)
        y[c] = x[c] * r * (o + w[c]);
    return r;
}

/* The factors of dx = r * dy * (o + w) - k * x for one row; u[C] is scratch and becomes dy * (o + w). */
static inline real rmsnorm_row_factor(const real *x, const real *w, real o, const real *dy, real r,
                                      real *RESTRICT u, int64_t C)
{
    for (int64_t c = 0; c < C; c++)
        u[c] = dy[c] * (o + w[c]);
    return r * r * r * op_dot(u, x, C) / (real)C;
}

/* dw[c] += sum_n dy[n,c] x[n,c] r[n] for columns from .. to-1, at most PIECE_COLUMNS */
static inline void rmsnorm_weight_backward(const real *x, const real *dy, const real *r, int64_t N,
                                           int64_t C, int64_t from, int64_t to, real *dw)
{
    for (int64_t first = 0; first < N; first += ROW_BLOCK) {
        const int64_t last = first + ROW_BLOCK < N ? first + ROW_BLOCK : N;
        real          block[PIECE_COLUMNS] = {0};

        for (int64_t n = first; n < last; n++)
            for (int64_t c = from; c < to; c++)
                block[c - from] += dy[n * C + c] * (x[n * C + c] * r[n]);
        for (int64_t c = from; c < to; c++)
            dw[c] += block[c - from];
    }
}

#endif
