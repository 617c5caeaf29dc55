/* adamax: adam with the largest magnitude in the place of the second moment (Kingma and Ba, 2015),
 * as torch.optim.Adamax defines it
 *
 *   g += wd p
 *   m += (1 - b1) (g - m)
 *   u  = max(b2 u, |g| + eps)
 *   p -= lr / (1 - b1^n) m / u */
#include "optim/options.h"

#include <math.h>

static const key adamax_rows[] = {
    OPTION_LR(moment_options, "2e-3"),
    OPTION_MOMENTS(moment_options, "[0.9, 0.999]"),
    OPTION_EPS(moment_options, "1e-8"),
    OPTION_L2(moment_options, "0"),
};
static const key_table adamax_keys = KEY_TABLE("adamax", adamax_rows, moment_options);

static const char *const adamax_slot_names[] = {"m", "u"};

static void adamax_piece(const optim *o, const optim_piece *k)
{
    const float a1 = (float)(1 - o->c[0]), b2 = (float)o->c[1];
    const float rate = (float)(k->lr / (1 - pow(o->c[0], (double)k->step)));
    const float eps = (float)((const moment_options *)o->options)->eps;
    const float decay = (float)k->weight_decay, scale = k->scale;
    float *RESTRICT p = k->p, *RESTRICT m = k->s[0], *RESTRICT u = k->s[1];
    const float *RESTRICT g = k->g;

#pragma omp simd
    for (int64_t i = 0; i < k->n; i++) {
        const float gi = scale * g[i] + decay * p[i], mi = m[i] + a1 * (gi - m[i]);
        const float old = b2 * u[i], now = fabsf(gi) + eps, ui = old > now ? old : now;
        m[i] = mi;
        u[i] = ui;
        p[i] -= rate * mi / ui;
    }
}

const optimizer optim_adamax = {
    .name = "adamax",
    .keys = &adamax_keys,
    .slot_names = adamax_slot_names,
    .slots = moment_slots,
    .setup = moment_setup,
    .piece = adamax_piece,
};
