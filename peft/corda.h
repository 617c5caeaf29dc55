/* corda: the directions of a weight that matter most, or least, for the inputs of some samples (Yang et al. 2024).
 *
 * C is the mean over the samples of X^T X, the inputs X [rows, in] of a sample divided by the magnitude of their
 * largest value (the largest, not the one of largest magnitude: as the authors and PEFT do), plus 0.01 of the mean of
 * its diagonal there. U S V^T = W C, and V^T comes to be V^T C^-1, so that U S V^T is W again: ipm
 * (instruction-previewed) takes the r first of these directions, kpm (knowledge-preserved) the r last. */
#ifndef PEFT_CORDA_H
#define PEFT_CORDA_H

#include "core/arena.h"

/* Sums over samples. */
typedef struct covariance {
    int64_t in, samples;
    float  *sum, *scaled; /* [in, in]; the inputs of one sample, at most `rows` */
    int64_t rows;
} covariance;

/* In the arena, for samples of up to so many rows. */
status covariance_open(arena *a, int64_t in, int64_t rows, covariance **out);

/* One sample's inputs [rows, in]; refuses those without a largest value that could divide. */
status covariance_add(covariance *c, const float *x, int64_t rows);

/* w [m, n] = left [m, k] diag(values) right [k, n], k the smaller of m and n. w is lost. */
status corda_decompose(arena *work, double *w, int64_t m, int64_t n, const covariance *c, double *left,
                       double *values, double *right);

#endif
