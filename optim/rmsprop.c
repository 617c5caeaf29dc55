/* rmsprop: the gradient over the root of its running mean square (Tieleman and Hinton, 2012), as
 * torch.optim.RMSprop defines it
 *
 *   g += wd p
 *   v += (1 - alpha) (g g - v)
 *   centered: a += (1 - alpha) (g - a), and v - a a in the place of v
 *   u  = g / (sqrt(v) + eps);  momentum: b = momentum b + u, and b in the place of u
 *   p -= lr u */
#include "optim/optim.h"

#include <math.h>

typedef struct rmsprop_options {
    optim_common common;
    double       alpha, eps, momentum;
    bool         centered;
} rmsprop_options;

static const key rmsprop_rows[] = {
    {.name = "lr", .kind = KEY_REAL, .offset = offsetof(rmsprop_options, common.lr),
     .preset = "1e-2", .lo = 0, .hi = 1e6, .help = "Learning rate at the schedule's peak."},
    {.name = "alpha", .kind = KEY_REAL, .offset = offsetof(rmsprop_options, alpha),
     .preset = "0.99", .lo = 0, .hi = 1, .help = "Decay of the mean square."},
    {.name = "eps", .kind = KEY_REAL, .offset = offsetof(rmsprop_options, eps), .preset = "1e-8",
     .lo = 0, .hi = 1, .help = "Added to the root of the mean square."},
    {.name = "momentum", .kind = KEY_REAL, .offset = offsetof(rmsprop_options, momentum),
     .preset = "0", .lo = 0, .hi = 1, .help = "Share of the last direction that is kept."},
    {.name = "centered", .kind = KEY_BOOL, .offset = offsetof(rmsprop_options, centered),
     .preset = "no", .help = "Divide by the deviation instead of the root mean square."},
    {.name = "weight_decay", .kind = KEY_REAL,
     .offset = offsetof(rmsprop_options, common.weight_decay), .preset = "0", .lo = 0, .hi = 1e3,
     .help = "L2 penalty."},
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
    float *RESTRICT       p = k->p, *RESTRICT v = k->s[0], *RESTRICT mean = k->s[1];
    float *RESTRICT       b = k->s[2];
    const float *RESTRICT g = k->g;

#pragma omp simd
    for (int64_t i = 0; i < k->n; i++) {
        const float gi = scale * g[i] + decay * p[i], vi = v[i] + fresh * (gi * gi - v[i]);
        float       square = vi;
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
