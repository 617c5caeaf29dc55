/* adagrad_rule: a value's step of adagrad; formulas in optim/adagrad.c */
#ifndef OPTIM_ADAGRAD_RULE_H
#define OPTIM_ADAGRAD_RULE_H

#include "optim/rule.h"

typedef struct adagrad_factors {
    float scale, rate, decay, eps;
} adagrad_factors;

OPTIM_RULE void adagrad_value(adagrad_factors f, int mode, int64_t i, float *p, const float *g,
                              float *const s[])
{
    float      *v = s[0];
    const float gi = f.scale * g[i] + f.decay * p[i], vi = v[i] + gi * gi;

    (void)mode;
    v[i] = vi;
    p[i] -= f.rate * gi / (sqrtf(vi) + f.eps);
}

#endif
