/* radam_rule: a value's step of radam; formulas in optim/radam.c */
#ifndef OPTIM_RADAM_RULE_H
#define OPTIM_RADAM_RULE_H

#include "optim/rule.h"

enum { RADAM_ADAPTIVE = 1 }; /* the mode: r > 5 */

/* rate: lr and all that m counts; a1, a2: 1 - b1, 1 - b2 */
typedef struct radam_factors {
    float scale, a1, a2, rate, keep, decay, eps;
} radam_factors;

OPTIM_RULE void radam_value(radam_factors f, int mode, int64_t i, float *p, const float *g, float *const s[])
{
    float      *m = s[0], *v = s[1];
    const float gi = f.scale * g[i] + f.decay * p[i];
    const float mi = m[i] + f.a1 * (gi - m[i]), vi = v[i] + f.a2 * (gi * gi - v[i]);

    m[i] = mi;
    v[i] = vi;
    p[i] = p[i] * f.keep - f.rate * mi / (mode == RADAM_ADAPTIVE ? sqrtf(vi) + f.eps : 1);
}

#endif
