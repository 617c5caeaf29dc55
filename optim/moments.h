/* moments: the options that the relatives of adam have in common */
#ifndef OPTIM_MOMENTS_H
#define OPTIM_MOMENTS_H

#include "optim/optim.h"

typedef struct moment_options {
    optim_common common;
    key_texts    betas;
    double       eps;
} moment_options;

/* Rows for a struct `type` whose first member is `base` (a moment_options). */
#define MOMENT_KEYS(type, rate, decay)                                                             \
    {.name = "lr", .kind = KEY_REAL, .offset = offsetof(type, base.common.lr), .preset = rate,     \
     .lo = 0, .hi = 1e6, .help = "Learning rate at the schedule's peak."},                         \
    {.name = "betas", .kind = KEY_TEXTS, .offset = offsetof(type, base.betas),                     \
     .preset = "[0.9, 0.999]", .help = "Decay of the first and second moment, each in [0, 1)."},   \
    {.name = "eps", .kind = KEY_REAL, .offset = offsetof(type, base.eps), .preset = "1e-8",        \
     .lo = 0, .hi = 1, .help = "Added to the root of the second moment."},                         \
    {.name = "weight_decay", .kind = KEY_REAL, .offset = offsetof(type, base.common.weight_decay), \
     .preset = decay, .lo = 0, .hi = 1e3, .help = "Weight decay (adamw: decoupled, else L2)."}

/* Slots "m" and "v"; setup puts the betas into c[0] and c[1]. */
static inline int moment_slots(const void *options)
{
    (void)options;
    return 2;
}

static inline status moment_setup(optim *o)
{
    const moment_options *a = o->options;

    return optim_numbers(o->kind, "betas", &a->betas, 2, 0, 1, o->c);
}

#endif
