/* rmsprop: the gradient over the root of its running mean square (Tieleman and Hinton, 2012), as
 * torch.optim.RMSprop defines it
 *
 *   g += wd p
 *   v += (1 - alpha) (g g - v)
 *   centered: a += (1 - alpha) (g - a), and v - a a in the place of v
 *   u  = g / (sqrt(v) + eps);  momentum: b = momentum b + u, and b in the place of u
 *   p -= lr u */
#include "optim/options.h"

#include <math.h>

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

static ALWAYS_INLINE void rmsprop_loop(const optim *o, const optim_piece *k, bool centered,
                                       bool momentum)
{
    const rmsprop_options *a = o->options;
    const float fresh = (float)(1 - a->alpha), eps = (float)a->eps, old = (float)a->momentum;
    const float lr = (float)k->lr, decay = (float)k->weight_decay, scale = k->scale;
    float *RESTRICT p = k->p, *RESTRICT v = k->s[0], *RESTRICT mean = k->s[1];
    float *RESTRICT b = k->s[2];
    const float *RESTRICT g = k->g;

#pragma omp simd
    for (int64_t i = 0; i < k->n; i++) {
        const float gi = scale * g[i] + decay * p[i], vi = v[i] + fresh * (gi * gi - v[i]);
        float square = vi;
        v[i] = vi;
        if (centered) {
            const float ai = mean[i] + fresh * (gi - mean[i]);
            mean[i] = ai;
            square = vi > ai * ai ? vi - ai * ai : 0;
        }
        float u = gi / (sqrtf(square) + eps);
        if (momentum) {
            u = old * b[i] + u;
            b[i] = u;
        }
        p[i] -= lr * u;
    }
}

static void rmsprop_piece(const optim *o, const optim_piece *k)
{
    const rmsprop_options *a = o->options;

    if (a->centered && a->momentum > 0)
        rmsprop_loop(o, k, true, true);
    else if (a->centered)
        rmsprop_loop(o, k, true, false);
    else if (a->momentum > 0)
        rmsprop_loop(o, k, false, true);
    else
        rmsprop_loop(o, k, false, false);
}

const optimizer optim_rmsprop = {
    .name = "rmsprop",
    .keys = &rmsprop_keys,
    .slot_names = rmsprop_slot_names,
    .slots = rmsprop_slots,
    .slot_count = rmsprop_slot_count,
    .piece = rmsprop_piece,
};
