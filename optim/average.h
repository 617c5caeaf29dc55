/* average: a running average of the tuned values along training
 *
 *   ema           a = d a + (1 - d) p, starts as a copy of p before the first step
 *   ema_warm      the same with min(d, (1 + n) / (10 + n)) in update n = 1, 2, ...
 *   ema_debiased  starts at 0 and is read divided by 1 - d^n (Adam's correction)
 *   swa           the plain mean of p after every update (Izmailov et al., 2018) */
#ifndef OPTIM_AVERAGE_H
#define OPTIM_AVERAGE_H

#include "core/arena.h"
#include "core/keys.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct average_options {
    const char *average; /* NULL or "none": off */
    double decay;
} average_options;

extern const key_table average_keys;

typedef struct average {
    int kind; /* 0: off */
    double decay;
    int64_t n;       /* values */
    int64_t updates; /* state, as v is */
    float *v;
} average;

/* Takes n values from `tuned` and starts from p[n]. STATUS_USAGE for an unknown name. */
status average_open(average *a, arena *tuned, const average_options *options, const float *p,
                    int64_t n);
/* After a step. */
void average_update(average *a, const float *p);
/* The average, into out[n]; p's copy before the first update of those that start at 0. */
void average_read(const average *a, float *out);

#ifdef __cplusplus
}
#endif
#endif
