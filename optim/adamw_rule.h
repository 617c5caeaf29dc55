/* adamw_rule: a value's step of adamw and adam; formulas in optim/adamw.c */
#ifndef OPTIM_ADAMW_RULE_H
#define OPTIM_ADAMW_RULE_H

#include "optim/rule.h"

enum { ADAM_DECOUPLED = 1, ADAM_AMSGRAD = 2 }; /* bits of the mode */

/* rate: lr / (1 - b1^n); inverse: 1 / sqrt(1 - b2^n); a1, a2: 1 - b1, 1 - b2 */
typedef struct adam_factors {
    float scale, a1, a2, rate, inverse, keep, decay, eps;
} adam_factors;

OPTIM_RULE void adam_value(adam_factors f, int mode, int64_t i, float *p, const float *g, float *const s[])
{
    float *m = s[0], *v = s[1], *top = s[2], gi = f.scale * g[i];

    if (!(mode & ADAM_DECOUPLED))
        gi += f.decay * p[i];
    const float mi = m[i] + f.a1 * (gi - m[i]), vi = v[i] + f.a2 * (gi * gi - v[i]);
    float       wi = vi;
    m[i] = mi;
    v[i] = vi;
    if (mode & ADAM_AMSGRAD) {
        wi = top[i] > vi ? top[i] : vi;
        top[i] = wi;
    }
    p[i] = p[i] * f.keep - f.rate * mi / (sqrtf(wi) * f.inverse + f.eps);
}

#endif
