/* sgd: stochastic gradient descent with momentum, as torch.optim.SGD defines it
 *
 *   g += wd p
 *   b  = g in the first step, then momentum b + (1 - dampening) g
 *   p -= lr b            nesterov: p -= lr (g + momentum b)
 * Without momentum there is no state and p -= lr g. */
#include "optim/options.h"
#include "optim/sgd_rule.h"

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

static int sgd_prepare(const optim *o, const optim_piece *k, void *out)
{
    const sgd_options *a = o->options;
    const bool first = k->step == 1;
    sgd_factors *f = out;

    *f = (sgd_factors){
        .scale = k->scale,
        .old = first ? 0 : (float)a->momentum,
        .fresh = first ? 1 : (float)(1 - a->dampening),
        .ahead = (float)a->momentum,
        .lr = (float)k->lr,
        .decay = (float)k->weight_decay,
    };
    return o->n_slots == 0 ? SGD_PLAIN : a->nesterov ? SGD_NESTEROV : SGD_MOMENTUM;
}

OPTIM_LOOP(sgd);

static void sgd_piece(const optim *o, const optim_piece *k)
{
    sgd_factors f;

    switch (sgd_prepare(o, k, &f)) {
    case SGD_PLAIN:
        sgd_loop(f, SGD_PLAIN, k);
        break;
    case SGD_NESTEROV:
        sgd_loop(f, SGD_NESTEROV, k);
        break;
    default:
        sgd_loop(f, SGD_MOMENTUM, k);
    }
}

const optimizer optim_sgd = {
    .name = "sgd",
    .keys = &sgd_keys,
    .slot_names = sgd_slot_names,
    .slots = sgd_slots,
    .setup = sgd_setup,
    .piece = sgd_piece,
    .factors = sgd_prepare,
    .kernel = "optim_sgd_cuda",
};
