/* radam: adam whose step is rectified while the second moment is uncertain (Liu et al., "On the
 * variance of the adaptive learning rate and beyond", 2020), as torch.optim.RAdam defines it
 *
 *   g += wd p   (decoupled_weight_decay: p *= 1 - lr wd)
 *   m, v as in adam;  m^ = m / (1 - b1^n)
 *   R = 2 / (1 - b2) - 1,  r = R - 2 n b2^n / (1 - b2^n)
 *   r > 5: p -= lr m^ sqrt((r-4)(r-2)R / ((R-4)(R-2)r)) sqrt(1 - b2^n) / (sqrt(v) + eps)
 *   else:  p -= lr m^ */
#include "optim/options.h"
#include "optim/radam_rule.h"

#include <math.h>

static const key radam_rows[] = {
    OPTION_LR(moment_options, "1e-3"),
    OPTION_MOMENTS(moment_options, "[0.9, 0.999]"),
    OPTION_EPS(moment_options, "1e-8"),
    OPTION_L2(moment_options, "0"),
    OPTION_BOOL(moment_options, decoupled_weight_decay, "no", "Weight decay as in adamw, not L2."),
};
static const key_table radam_keys = KEY_TABLE("radam", radam_rows, moment_options);

static const char *const radam_slot_names[] = {"m", "v"};

static int radam_prepare(const optim *o, const optim_piece *k, void *out)
{
    const moment_options *a = o->options;
    const double n = (double)k->step, power2 = pow(o->c[1], n), most = 2 / (1 - o->c[1]) - 1;
    const double r = most - 2 * n * power2 / (1 - power2), rate = k->lr / (1 - pow(o->c[0], n));
    const bool adaptive = r > 5, decoupled = a->decoupled_weight_decay;
    const double rectified =
        adaptive ? sqrt((r - 4) * (r - 2) * most / ((most - 4) * (most - 2) * r) * (1 - power2))
                 : 1;
    radam_factors *f = out;

    *f = (radam_factors){
        .scale = k->scale,
        .a1 = (float)(1 - o->c[0]),
        .a2 = (float)(1 - o->c[1]),
        .rate = (float)(rate * rectified),
        .keep = decoupled ? (float)(1 - k->lr * k->weight_decay) : 1,
        .decay = decoupled ? 0 : (float)k->weight_decay,
        .eps = (float)a->eps,
    };
    return adaptive ? RADAM_ADAPTIVE : 0;
}

OPTIM_LOOP(radam);

static void radam_piece(const optim *o, const optim_piece *k)
{
    radam_factors f;

    if (radam_prepare(o, k, &f) == RADAM_ADAPTIVE)
        radam_loop(f, RADAM_ADAPTIVE, k);
    else
        radam_loop(f, 0, k);
}

const optimizer optim_radam = {
    .name = "radam",
    .keys = &radam_keys,
    .slot_names = radam_slot_names,
    .slots = moment_slots,
    .setup = moment_setup,
    .piece = radam_piece,
    .factors = radam_prepare,
    .kernel = "optim_radam_cuda",
};
