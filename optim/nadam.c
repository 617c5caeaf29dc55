/* nadam: adam with Nesterov's look ahead (Dozat, 2016), as torch.optim.NAdam defines it
 *
 *   mu_n = b1 (1 - 0.96^(n momentum_decay) / 2), M = mu_1 ... mu_n
 *   g += wd p   (decoupled_weight_decay: p *= 1 - lr wd)
 *   m, v as in adam
 *   p -= lr ((1 - mu_n) / (1 - M) g + mu_{n+1} / (1 - M mu_{n+1}) m)
 *        / (sqrt(v / (1 - b2^n)) + eps) */
#include "optim/nadam_rule.h"
#include "optim/options.h"

#include <math.h>

static const key nadam_rows[] = {
    OPTION_LR(moment_options, "2e-3"),
    OPTION_MOMENTS(moment_options, "[0.9, 0.999]"),
    OPTION_EPS(moment_options, "1e-8"),
    OPTION_L2(moment_options, "0"),
    OPTION_REAL(moment_options, "momentum_decay", momentum_decay, "0.004", 0, 1e3,
                "How fast the momentum rises to betas[0]."),
    OPTION_BOOL(moment_options, decoupled_weight_decay, "no", "Weight decay as in adamw, not L2."),
};
static const key_table nadam_keys = KEY_TABLE("nadam", nadam_rows, moment_options);

static const char *const nadam_slot_names[] = {"m", "v", "mu_product"};

static int nadam_slots(const void *options)
{
    (void)options;
    return 3;
}

static int64_t nadam_slot_count(const void *options, const optim_span *span, int slot)
{
    (void)options;
    return slot == 2 ? 1 : span->count;
}

static status nadam_setup(optim *o)
{
    optim_start_slot(o, 2, 1);
    return moment_setup(o);
}

static double nadam_mu(const optim *o, int64_t step)
{
    const moment_options *a = o->options;

    return o->c[0] * (1 - 0.5 * pow(0.96, (double)step * a->momentum_decay));
}

/* mu_product is one number a span and stays here when the others are on a device. */
static float *nadam_product(const optim *o, int span)
{
    return o->slot[2].v + o->slot[2].first[span];
}

static void nadam_begin(optim *o, int span, int64_t step)
{
    float *product = nadam_product(o, span);

    *product = (float)(*product * nadam_mu(o, step));
}

static int nadam_prepare(const optim *o, const optim_piece *k, void *out)
{
    const moment_options *a = o->options;
    const double n = (double)k->step, mu = nadam_mu(o, k->step), next = nadam_mu(o, k->step + 1);
    const double product = *nadam_product(o, k->span);
    const bool decoupled = a->decoupled_weight_decay;
    nadam_factors *f = out;

    *f = (nadam_factors){
        .scale = k->scale,
        .a1 = (float)(1 - o->c[0]),
        .a2 = (float)(1 - o->c[1]),
        .of_g = (float)(k->lr * (1 - mu) / (1 - product)),
        .of_m = (float)(k->lr * next / (1 - product * next)),
        .inverse = (float)(1 / sqrt(1 - pow(o->c[1], n))),
        .keep = decoupled ? (float)(1 - k->lr * k->weight_decay) : 1,
        .decay = decoupled ? 0 : (float)k->weight_decay,
        .eps = (float)a->eps,
    };
    return 0;
}

OPTIM_LOOP(nadam);

static void nadam_piece(const optim *o, const optim_piece *k)
{
    nadam_factors f;

    nadam_prepare(o, k, &f);
    nadam_loop(f, 0, k);
}

const optimizer optim_nadam = {
    .name = "nadam",
    .keys = &nadam_keys,
    .slot_names = nadam_slot_names,
    .slots = nadam_slots,
    .slot_count = nadam_slot_count,
    .setup = nadam_setup,
    .begin = nadam_begin,
    .piece = nadam_piece,
    .factors = nadam_prepare,
    .kernel = "optim_nadam_cuda",
};
