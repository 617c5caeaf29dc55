/* adamw, adam: moments of the gradient, corrected for their start at zero
 *
 * adamw (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019):
 *   p *= 1 - lr wd
 * adam (Kingma and Ba, 2015), weight decay as an L2 term:
 *   g += wd p
 * both, in step n:
 *   m += (1 - b1) (g - m)
 *   v += (1 - b2) (g g - v)
 *   p -= lr (m / (1 - b1^n)) / (sqrt(v / (1 - b2^n)) + eps)
 * amsgrad (Reddi et al., 2018): the largest v so far in the place of v. */
#include "optim/adamw_rule.h"
#include "optim/options.h"

#include <math.h>

#define ADAM_ROWS(decay)                                                                           \
    OPTION_LR(moment_options, "1e-3"), OPTION_MOMENTS(moment_options, "[0.9, 0.999]"),             \
        OPTION_EPS(moment_options, "1e-8"), decay,                                                 \
        OPTION_BOOL(moment_options, amsgrad, "no", "Divide by the largest second moment so far.")

static const key adamw_rows[] = {ADAM_ROWS(OPTION_DECAY(moment_options, "0.01"))};
static const key adam_rows[] = {ADAM_ROWS(OPTION_L2(moment_options, "0"))};
static const key_table adamw_keys = KEY_TABLE("adamw", adamw_rows, moment_options);
static const key_table adam_keys = KEY_TABLE("adam", adam_rows, moment_options);

static const char *const adam_slot_names[] = {"m", "v", "v_max"};

static int adam_slots(const void *options)
{
    return ((const moment_options *)options)->amsgrad ? 3 : 2;
}

static int adam_prepare(const optim *o, const optim_piece *k, bool decoupled, adam_factors *f)
{
    const double n = (double)k->step, root2 = sqrt(1 - pow(o->c[1], n));

    *f = (adam_factors){
        .scale = k->scale,
        .a1 = (float)(1 - o->c[0]),
        .a2 = (float)(1 - o->c[1]),
        .rate = (float)(k->lr / (1 - pow(o->c[0], n))),
        .inverse = (float)(1 / root2),
        .keep = decoupled ? (float)(1 - k->lr * k->weight_decay) : 1,
        .decay = (float)k->weight_decay,
        .eps = (float)((const moment_options *)o->options)->eps,
    };
    return (decoupled ? ADAM_DECOUPLED : 0) | (o->n_slots == 3 ? ADAM_AMSGRAD : 0);
}

static int adamw_factors(const optim *o, const optim_piece *k, void *out)
{
    return adam_prepare(o, k, true, out);
}

static int l2_factors(const optim *o, const optim_piece *k, void *out)
{
    return adam_prepare(o, k, false, out);
}

OPTIM_LOOP(adam);

static void adamw_piece(const optim *o, const optim_piece *k)
{
    adam_factors f;

    if (adam_prepare(o, k, true, &f) & ADAM_AMSGRAD)
        adam_loop(f, ADAM_DECOUPLED | ADAM_AMSGRAD, k);
    else
        adam_loop(f, ADAM_DECOUPLED, k);
}

static void adam_piece(const optim *o, const optim_piece *k)
{
    adam_factors f;

    if (adam_prepare(o, k, false, &f) & ADAM_AMSGRAD)
        adam_loop(f, ADAM_AMSGRAD, k);
    else
        adam_loop(f, 0, k);
}

const optimizer optim_adamw = {
    .name = "adamw",
    .keys = &adamw_keys,
    .slot_names = adam_slot_names,
    .slots = adam_slots,
    .setup = moment_setup,
    .piece = adamw_piece,
    .factors = adamw_factors,
    .kernel = "optim_adam_cuda",
};

const optimizer optim_adam = {
    .name = "adam",
    .keys = &adam_keys,
    .slot_names = adam_slot_names,
    .slots = adam_slots,
    .setup = moment_setup,
    .piece = adam_piece,
    .factors = l2_factors,
    .kernel = "optim_adam_cuda",
};
