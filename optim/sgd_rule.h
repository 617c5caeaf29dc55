/* sgd_rule: a value's step of sgd; formulas in optim/sgd.c */
#ifndef OPTIM_SGD_RULE_H
#define OPTIM_SGD_RULE_H

#include "optim/rule.h"

enum { SGD_PLAIN, SGD_MOMENTUM, SGD_NESTEROV }; /* the mode */

/* old, fresh: what momentum and gradient count in the new momentum; ahead: the momentum's share */
typedef struct sgd_factors {
    float scale, old, fresh, ahead, lr, decay;
} sgd_factors;

OPTIM_RULE void sgd_value(sgd_factors f, int mode, int64_t i, float *p, const float *g, float *const s[])
{
    float      *b = s[0];
    const float gi = f.scale * g[i] + f.decay * p[i];
    float       u = gi;

    if (mode != SGD_PLAIN) {
        const float bi = f.old * b[i] + f.fresh * gi;
        b[i] = bi;
        u = mode == SGD_NESTEROV ? gi + f.ahead * bi : bi;
    }
    p[i] -= f.lr * u;
}

#endif
