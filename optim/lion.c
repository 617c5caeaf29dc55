/* lion: the sign of an interpolated momentum (Chen et al., "Symbolic discovery of optimization
 * algorithms", 2023, algorithm 2)
 *
 *   u  = sign(b1 m + (1 - b1) g), sign(0) = 0
 *   p -= lr (u + wd p)
 *   m += (1 - b2) (g - m) */
#include "optim/lion_rule.h"
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

static int lion_prepare(const optim *o, const optim_piece *k, void *out)
{
    lion_factors *f = out;

    *f = (lion_factors){
        .scale = k->scale,
        .a1 = (float)(1 - o->c[0]),
        .a2 = (float)(1 - o->c[1]),
        .lr = (float)k->lr,
        .decay = (float)k->weight_decay,
    };
    return 0;
}

OPTIM_LOOP(lion);

static void lion_piece(const optim *o, const optim_piece *k)
{
    lion_factors f;

    lion_prepare(o, k, &f);
    lion_loop(f, 0, k);
}

const optimizer optim_lion = {
    .name = "lion",
    .keys = &lion_keys,
    .slot_names = lion_slot_names,
    .slots = lion_slots,
    .setup = lion_setup,
    .piece = lion_piece,
    .factors = lion_prepare,
    .kernel = "optim_lion_cuda",
};
