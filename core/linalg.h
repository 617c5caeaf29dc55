/* linalg: decompositions of dense matrices in f64, by LAPACK where the build has it (Debian: liblapacke-dev). A
 * build without it refuses each of them and says so.
 *
 * Matrices lie row by row. Signs, which a decomposition leaves open, are fixed: the largest value of each left
 * vector is positive, of several equal ones the first. Results are the same every time with one LAPACK; another
 * one may round differently. LAPACK's own scratch memory comes from the C library and is given back. */
#ifndef CORE_LINALG_H
#define CORE_LINALG_H

#include "core/arena.h"
#include "core/rng.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The build has LAPACK. */
bool linalg_available(void);

/* a [m, n] = u diag(s) vt, s from the largest on; u [m, k], s [k], vt [k, n], k the smaller of m and n. a is lost. */
status linalg_svd(double *a, int64_t m, int64_t n, double *u, double *s, double *vt);

/* a [m, n] = q r; q [m, k] with orthonormal columns, r [k, n] upper triangular. a stays. */
status linalg_qr(arena *work, const double *a, int64_t m, int64_t n, double *q, double *r);

/* Nearly the first k singular values and vectors, k at most the smaller of m and n: of what a makes of k random
 * columns, after `passes` turns through a^T and a (Halko et al. 2011). u [m, k], s [k], vt [k, n]. a stays. */
status linalg_svd_some(arena *work, const double *a, int64_t m, int64_t n, int64_t k, int64_t passes, rng_key noise,
                       double *u, double *s, double *vt);

/* a [n, n], symmetric and positive definite, becomes its inverse. */
status linalg_inverse(double *a, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
