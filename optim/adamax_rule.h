/* adamax_rule: a value's step of adamax; formulas in optim/adamax.c */
#ifndef OPTIM_ADAMAX_RULE_H
#define OPTIM_ADAMAX_RULE_H

#include "optim/rule.h"

/* a1: 1 - b1; rate: lr / (1 - b1^n) */
typedef struct adamax_factors {
    float scale, a1, b2, rate, decay, eps;
} adamax_factors;

OPTIM_RULE void adamax_value(adamax_factors f, int mode, int64_t i, float *p, const float *g, float *const s[])
{
    float      *m = s[0], *u = s[1];
    const float gi = f.scale * g[i] + f.decay * p[i], mi = m[i] + f.a1 * (gi - m[i]);
    const float old = f.b2 * u[i], now = fabsf(gi) + f.eps, ui = old > now ? old : now;

    (void)mode;
    m[i] = mi;
    u[i] = ui;
    p[i] -= f.rate * mi / ui;
}

#endif
