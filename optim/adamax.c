/* adamax: adam with the largest magnitude in the place of the second moment (Kingma and Ba, 2015),
 * as torch.optim.Adamax defines it
 *
 *   g += wd p
 *   m += (1 - b1) (g - m)
 *   u  = max(b2 u, |g| + eps)
 *   p -= lr / (1 - b1^n) m / u */
#include "optim/adamax_rule.h"
#include "optim/options.h"

#include <math.h>

static const key adamax_rows[] = {
    OPTION_LR(moment_options, "2e-3"),
    OPTION_MOMENTS(moment_options, "[0.9, 0.999]"),
    OPTION_EPS(moment_options, "1e-8"),
    OPTION_L2(moment_options, "0"),
};
static const key_table adamax_keys = KEY_TABLE("adamax", adamax_rows, moment_options);

static const char *const adamax_slot_names[] = {"m", "u"};

static int adamax_prepare(const optim *o, const optim_piece *k, void *out)
{
    adamax_factors *f = out;

    *f = (adamax_factors){
        .scale = k->scale,
        .a1 = (float)(1 - o->c[0]),
        .b2 = (float)o->c[1],
        .rate = (float)(k->lr / (1 - pow(o->c[0], (double)k->step))),
        .decay = (float)k->weight_decay,
        .eps = (float)((const moment_options *)o->options)->eps,
    };
    return 0;
}

OPTIM_LOOP(adamax);

static void adamax_piece(const optim *o, const optim_piece *k)
{
    adamax_factors f;

    adamax_prepare(o, k, &f);
    adamax_loop(f, 0, k);
}

const optimizer optim_adamax = {
    .name = "adamax",
    .keys = &adamax_keys,
    .slot_names = adamax_slot_names,
    .slots = moment_slots,
    .setup = moment_setup,
    .piece = adamax_piece,
    .factors = adamax_prepare,
    .kernel = "optim_adamax_cuda",
};
