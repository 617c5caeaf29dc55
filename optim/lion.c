/* lion: the sign of an interpolated momentum (Chen et al., "Symbolic discovery of optimization
 * algorithms", 2023, algorithm 2)
 *
 *   u  = sign(b1 m + (1 - b1) g), sign(0) = 0
 *   p -= lr (u + wd p)
 *   m += (1 - b2) (g - m) */
#include "optim/options.h"

typedef struct lion_options {
    optim_common common;
    key_texts betas;
} lion_options;

static const key lion_rows[] = {
    OPTION_LR(lion_options, "1e-4"),
    OPTION_BETAS(lion_options, "[0.9, 0.99]", "Weight of m in the sign, decay of m; in [0, 1)."),
    OPTION_DECAY(lion_options, "0"),
};
static const key_table lion_keys = KEY_TABLE("lion", lion_rows, lion_options);

static const char *const lion_slot_names[] = {"m"};

static int lion_slots(const void *options)
{
    (void)options;
    return 1;
}

static status lion_setup(optim *o)
{
    const lion_options *a = o->options;

    return optim_numbers(o->kind, "betas", &a->betas, 2, 0, 1, o->c);
}

static void lion_piece(const optim *o, const optim_piece *k)
{
    const float a1 = (float)(1 - o->c[0]), a2 = (float)(1 - o->c[1]);
    const float lr = (float)k->lr, decay = (float)k->weight_decay, scale = k->scale;
    float *RESTRICT p = k->p, *RESTRICT m = k->s[0];
    const float *RESTRICT g = k->g;

#pragma omp simd
    for (int64_t i = 0; i < k->n; i++) {
        const float gi = scale * g[i], mi = m[i], u = mi + a1 * (gi - mi);
        const float sign = (u > 0 ? 1.0f : 0.0f) - (u < 0 ? 1.0f : 0.0f);
        m[i] = mi + a2 * (gi - mi);
        p[i] -= lr * (sign + decay * p[i]);
    }
}

const optimizer optim_lion = {
    .name = "lion",
    .keys = &lion_keys,
    .slot_names = lion_slot_names,
    .slots = lion_slots,
    .setup = lion_setup,
    .piece = lion_piece,
};
