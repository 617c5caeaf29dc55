/* rmsprop_rule: a value's step of rmsprop; formulas in optim/rmsprop.c */
#ifndef OPTIM_RMSPROP_RULE_H
#define OPTIM_RMSPROP_RULE_H

#include "optim/rule.h"

enum { RMSPROP_CENTERED = 1, RMSPROP_MOMENTUM = 2 }; /* bits of the mode */

/* fresh: 1 - alpha; old: the momentum */
typedef struct rmsprop_factors {
    float scale, fresh, old, lr, decay, eps;
} rmsprop_factors;

OPTIM_RULE void rmsprop_value(rmsprop_factors f, int mode, int64_t i, float *p, const float *g,
                              float *const s[])
{
    float      *v = s[0], *mean = s[1], *b = s[2];
    const float gi = f.scale * g[i] + f.decay * p[i], vi = v[i] + f.fresh * (gi * gi - v[i]);
    float       square = vi;

    v[i] = vi;
    if (mode & RMSPROP_CENTERED) {
        const float ai = mean[i] + f.fresh * (gi - mean[i]);
        mean[i] = ai;
        square = vi > ai * ai ? vi - ai * ai : 0;
    }
    float u = gi / (sqrtf(square) + f.eps);
    if (mode & RMSPROP_MOMENTUM) {
        u = f.old * b[i] + u;
        b[i] = u;
    }
    p[i] -= f.lr * u;
}

#endif
