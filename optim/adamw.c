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

static ALWAYS_INLINE void adam_loop(const optim *o, const optim_piece *k, bool decoupled,
                                    bool amsgrad)
{
    const double n = (double)k->step, root2 = sqrt(1 - pow(o->c[1], n));
    const float a1 = (float)(1 - o->c[0]), a2 = (float)(1 - o->c[1]);
    const float rate = (float)(k->lr / (1 - pow(o->c[0], n))), inverse = (float)(1 / root2);
    const float keep = decoupled ? (float)(1 - k->lr * k->weight_decay) : 1;
    const float decay = (float)k->weight_decay, scale = k->scale;
    const float eps = (float)((const moment_options *)o->options)->eps;
    float *RESTRICT p = k->p, *RESTRICT m = k->s[0], *RESTRICT v = k->s[1];
    float *RESTRICT top = k->s[2];
    const float *RESTRICT g = k->g;

#pragma omp simd
    for (int64_t i = 0; i < k->n; i++) {
        float gi = scale * g[i];
        if (!decoupled)
            gi += decay * p[i];
        const float mi = m[i] + a1 * (gi - m[i]), vi = v[i] + a2 * (gi * gi - v[i]);
        float wi = vi;
        m[i] = mi;
        v[i] = vi;
        if (amsgrad) {
            wi = top[i] > vi ? top[i] : vi;
            top[i] = wi;
        }
        p[i] = p[i] * keep - rate * mi / (sqrtf(wi) * inverse + eps);
    }
}

static void adamw_piece(const optim *o, const optim_piece *k)
{
    if (o->n_slots == 3)
        adam_loop(o, k, true, true);
    else
        adam_loop(o, k, true, false);
}

static void adam_piece(const optim *o, const optim_piece *k)
{
    if (o->n_slots == 3)
        adam_loop(o, k, false, true);
    else
        adam_loop(o, k, false, false);
}

const optimizer optim_adamw = {
    .name = "adamw",
    .keys = &adamw_keys,
    .slot_names = adam_slot_names,
    .slots = adam_slots,
    .setup = moment_setup,
    .piece = adamw_piece,
};

const optimizer optim_adam = {
    .name = "adam",
    .keys = &adam_keys,
    .slot_names = adam_slot_names,
    .slots = adam_slots,
    .setup = moment_setup,
    .piece = adam_piece,
};
