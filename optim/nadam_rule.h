/* nadam_rule: a value's step of nadam; formulas in optim/nadam.c */
#ifndef OPTIM_NADAM_RULE_H
#define OPTIM_NADAM_RULE_H

#include "optim/rule.h"

/* of_g, of_m: lr and what g and m count; inverse: 1 / sqrt(1 - b2^n); a1, a2: 1 - b1, 1 - b2 */
typedef struct nadam_factors {
    float scale, a1, a2, of_g, of_m, inverse, keep, decay, eps;
} nadam_factors;

OPTIM_RULE void nadam_value(nadam_factors f, int mode, int64_t i, float *p, const float *g, float *const s[])
{
    float      *m = s[0], *v = s[1];
    const float gi = f.scale * g[i] + f.decay * p[i];
    const float mi = m[i] + f.a1 * (gi - m[i]), vi = v[i] + f.a2 * (gi * gi - v[i]);

    (void)mode;
    m[i] = mi;
    v[i] = vi;
    p[i] = p[i] * f.keep - (f.of_g * gi + f.of_m * mi) / (sqrtf(vi) * f.inverse + f.eps);
}

#endif
