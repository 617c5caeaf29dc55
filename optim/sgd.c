/* sgd: stochastic gradient descent with momentum, as torch.optim.SGD defines it
 *
 *   g += wd p
 *   b  = g in the first step, then momentum b + (1 - dampening) g
 *   p -= lr b            nesterov: p -= lr (g + momentum b)
 * Without momentum there is no state and p -= lr g. */
#include "optim/options.h"

typedef struct sgd_options {
    optim_common common;
    double momentum, dampening;
    bool nesterov;
} sgd_options;

static const key sgd_rows[] = {
    OPTION_LR(sgd_options, "1e-3"),
    OPTION_REAL(sgd_options, "momentum", momentum, "0", 0, 1, "Share of the last step kept."),
    OPTION_REAL(sgd_options, "dampening", dampening, "0", 0, 1, "1 - this weighs a gradient."),
    OPTION_BOOL(sgd_options, nesterov, "no", "Look ahead; needs momentum and no dampening."),
    OPTION_L2(sgd_options, "0"),
};
static const key_table sgd_keys = KEY_TABLE("sgd", sgd_rows, sgd_options);

static const char *const sgd_slot_names[] = {"momentum"};

static int sgd_slots(const void *options)
{
    return ((const sgd_options *)options)->momentum != 0;
}

static status sgd_setup(optim *o)
{
    const sgd_options *a = o->options;

    if (a->nesterov && (a->momentum <= 0 || a->dampening != 0))
        return fail(STATUS_USAGE,
                    "sgd: nesterov needs momentum above 0 and dampening 0, they are %g and %g",
                    a->momentum, a->dampening);
    return STATUS_OK;
}

static ALWAYS_INLINE void momentum_loop(const optim *o, const optim_piece *k, bool nesterov)
{
    const sgd_options *a = o->options;
    const bool first = k->step == 1;
    const float old = first ? 0 : (float)a->momentum, ahead = (float)a->momentum;
    const float fresh = first ? 1 : (float)(1 - a->dampening);
    const float lr = (float)k->lr, decay = (float)k->weight_decay, scale = k->scale;
    float *RESTRICT p = k->p, *RESTRICT b = k->s[0];
    const float *RESTRICT g = k->g;

#pragma omp simd
    for (int64_t i = 0; i < k->n; i++) {
        const float gi = scale * g[i] + decay * p[i], bi = old * b[i] + fresh * gi;
        b[i] = bi;
        p[i] -= lr * (nesterov ? gi + ahead * bi : bi);
    }
}

static void sgd_piece(const optim *o, const optim_piece *k)
{
    if (o->n_slots == 0) {
        const float lr = (float)k->lr, decay = (float)k->weight_decay, scale = k->scale;
        float *RESTRICT p = k->p;
        const float *RESTRICT g = k->g;

#pragma omp simd
        for (int64_t i = 0; i < k->n; i++)
            p[i] -= lr * (scale * g[i] + decay * p[i]);
    } else if (((const sgd_options *)o->options)->nesterov)
        momentum_loop(o, k, true);
    else
        momentum_loop(o, k, false);
}

const optimizer optim_sgd = {
    .name = "sgd",
    .keys = &sgd_keys,
    .slot_names = sgd_slot_names,
    .slots = sgd_slots,
    .setup = sgd_setup,
    .piece = sgd_piece,
};
