/* rmsprop: the gradient over the root of its running mean square (Tieleman and Hinton, 2012), as
 * torch.optim.RMSprop defines it
 *
 *   g += wd p
 *   v += (1 - alpha) (g g - v)
 *   centered: a += (1 - alpha) (g - a), and v - a a in the place of v
 *   u  = g / (sqrt(v) + eps);  momentum: b = momentum b + u, and b in the place of u
 *   p -= lr u */
#include "optim/options.h"
#include "optim/rmsprop_rule.h"

typedef struct rmsprop_options {
    optim_common common;
    double alpha, eps, momentum;
    bool centered;
} rmsprop_options;

static const key rmsprop_rows[] = {
    OPTION_LR(rmsprop_options, "1e-2"),
    OPTION_REAL(rmsprop_options, "alpha", alpha, "0.99", 0, 1, "Decay of the mean square."),
    OPTION_EPS(rmsprop_options, "1e-8"),
    OPTION_REAL(rmsprop_options, "momentum", momentum, "0", 0, 1, "Share of the last step kept."),
    OPTION_BOOL(rmsprop_options, centered, "no", "Divide by the deviation, not the mean square."),
    OPTION_L2(rmsprop_options, "0"),
};
static const key_table rmsprop_keys = KEY_TABLE("rmsprop", rmsprop_rows, rmsprop_options);

static const char *const rmsprop_slot_names[] = {"v", "mean", "momentum"};

/* Without centered the second slot is empty, so that momentum is always the third. */
static int rmsprop_slots(const void *options)
{
    const rmsprop_options *a = options;

    return a->momentum > 0 ? 3 : a->centered ? 2 : 1;
}

static int64_t rmsprop_slot_count(const void *options, const optim_span *span, int slot)
{
    return slot == 1 && !((const rmsprop_options *)options)->centered ? 0 : span->count;
}

static int rmsprop_prepare(const optim *o, const optim_piece *k, void *out)
{
    const rmsprop_options *a = o->options;
    rmsprop_factors       *f = out;

    *f = (rmsprop_factors){
        .scale = k->scale,
        .fresh = (float)(1 - a->alpha),
        .old = (float)a->momentum,
        .lr = (float)k->lr,
        .decay = (float)k->weight_decay,
        .eps = (float)a->eps,
    };
    return (a->centered ? RMSPROP_CENTERED : 0) | (a->momentum > 0 ? RMSPROP_MOMENTUM : 0);
}

OPTIM_LOOP(rmsprop);

static void rmsprop_piece(const optim *o, const optim_piece *k)
{
    rmsprop_factors f;

    switch (rmsprop_prepare(o, k, &f)) {
    case RMSPROP_CENTERED | RMSPROP_MOMENTUM:
        rmsprop_loop(f, RMSPROP_CENTERED | RMSPROP_MOMENTUM, k);
        break;
    case RMSPROP_CENTERED:
        rmsprop_loop(f, RMSPROP_CENTERED, k);
        break;
    case RMSPROP_MOMENTUM:
        rmsprop_loop(f, RMSPROP_MOMENTUM, k);
        break;
    default:
        rmsprop_loop(f, 0, k);
    }
}

const optimizer optim_rmsprop = {
    .name = "rmsprop",
    .keys = &rmsprop_keys,
    .slot_names = rmsprop_slot_names,
    .slots = rmsprop_slots,
    .slot_count = rmsprop_slot_count,
    .piece = rmsprop_piece,
    .factors = rmsprop_prepare,
    .kernel = "optim_rmsprop_cuda",
};
