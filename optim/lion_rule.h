/* lion_rule: a value's step of lion; formulas in optim/lion.c */
#ifndef OPTIM_LION_RULE_H
#define OPTIM_LION_RULE_H

#include "optim/rule.h"

/* a1, a2: 1 - b1, 1 - b2 */
typedef struct lion_factors {
    float scale, a1, a2, lr, decay;
} lion_factors;

OPTIM_RULE void lion_value(lion_factors f, int mode, int64_t i, float *p, const float *g, float *const s[])
{
    float      *m = s[0];
    const float gi = f.scale * g[i], mi = m[i], u = mi + f.a1 * (gi - mi);
    const float sign = (u > 0 ? 1.0f : 0.0f) - (u < 0 ? 1.0f : 0.0f);

    (void)mode;
    m[i] = mi + f.a2 * (gi - mi);
    p[i] -= f.lr * (sign + f.decay * p[i]);
}

#endif
