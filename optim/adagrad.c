/* adagrad: the gradient over the root of the sum of its squares (Duchi et al., 2011), as
 * torch.optim.Adagrad defines it
 *
 *   g += wd p
 *   v += g g
 *   p -= lr / (1 + (n - 1) lr_decay) g / (sqrt(v) + eps)      in step n */
#include "optim/adagrad_rule.h"
#include "optim/options.h"

typedef struct adagrad_options {
    optim_common common;
    double lr_decay, eps, initial_accumulator_value;
} adagrad_options;

static const key adagrad_rows[] = {
    OPTION_LR(adagrad_options, "1e-2"),
    OPTION_REAL(adagrad_options, "lr_decay", lr_decay, "0", 0, 1e6,
                "The rate is divided by 1 + steps made * this."),
    OPTION_EPS(adagrad_options, "1e-10"),
    OPTION_REAL(adagrad_options, "initial_accumulator_value", initial_accumulator_value, "0", 0,
                1e6, "Where the sum of squares starts."),
    OPTION_L2(adagrad_options, "0"),
};
static const key_table adagrad_keys = KEY_TABLE("adagrad", adagrad_rows, adagrad_options);

static const char *const adagrad_slot_names[] = {"v"};

static int adagrad_slots(const void *options)
{
    (void)options;
    return 1;
}

static status adagrad_setup(optim *o)
{
    const adagrad_options *a = o->options;

    optim_start_slot(o, 0, (float)a->initial_accumulator_value);
    return STATUS_OK;
}

static int adagrad_prepare(const optim *o, const optim_piece *k, void *out)
{
    const adagrad_options *a = o->options;
    adagrad_factors       *f = out;

    *f = (adagrad_factors){
        .scale = k->scale,
        .rate = (float)(k->lr / (1 + (double)(k->step - 1) * a->lr_decay)),
        .decay = (float)k->weight_decay,
        .eps = (float)a->eps,
    };
    return 0;
}

OPTIM_LOOP(adagrad);

static void adagrad_piece(const optim *o, const optim_piece *k)
{
    adagrad_factors f;

    adagrad_prepare(o, k, &f);
    adagrad_loop(f, 0, k);
}

const optimizer optim_adagrad = {
    .name = "adagrad",
    .keys = &adagrad_keys,
    .slot_names = adagrad_slot_names,
    .slots = adagrad_slots,
    .setup = adagrad_setup,
    .piece = adagrad_piece,
    .factors = adagrad_prepare,
    .kernel = "optim_adagrad_cuda",
};
