/* clip: keeping a gradient from being too long, and measuring it. All sums are over the flat buffer
 * in fixed pieces, so they do not depend on the number of threads.
 *
 * A gradient that has a twin on the current device is clipped there, with the same bits; only the pieces'
 * sums come to the host. After a failure of the device the norm means nothing: ask device_check first. */
#ifndef OPTIM_CLIP_H
#define OPTIM_CLIP_H

#include "core/keys.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a recipe sets; filled by clip_keys. 0 is off. */
typedef struct clip_options {
    double clip;           /* largest norm of the whole gradient */
    const char *clip_norm; /* "2" or "inf"; NULL is "2" */
    double clip_value;     /* largest magnitude of a value, cut one by one before the norm */
} clip_options;

extern const key_table clip_keys;

/* Length of scale * g[n]: the root of the sum of squares, in double (pieces of 16,384 values,
 * joined as a binary tree). A value that is not finite makes it so. */
double clip_norm2(const float *g, int64_t n, double scale);

/* Largest magnitude of scale * g[n]; NaN when a value is. */
double clip_norm_max(const float *g, int64_t n, double scale);

/* min(1, limit / (norm + 1e-6)); 1 when limit is 0 (off); NaN when norm is. */
double clip_factor(double norm, double limit);

/* Cuts scale * g to [-limit, limit] and writes it back: its scale is 1 from then on. */
void clip_by_value(float *g, int64_t n, double scale, double limit);

/* All of it: the factor (scale included) that the step must fold in, and the norm of scale * g
 * before it was clipped by norm. Writes g only with clip_value. */
double clip_gradient(const clip_options *options, float *g, int64_t n, double scale, double *norm);

#ifdef __cplusplus
}
#endif
#endif
