/* options: rows of the optimizers' option tables, one line each, the options that adam and its
 * relatives share, and the loop over a piece. For the files of optimizers only. */
#ifndef OPTIM_OPTIONS_H
#define OPTIM_OPTIONS_H

#include "core/compiler.h"
#include "optim/optim.h"

/* clang-format off */
#define OPTION_REAL(type, name_, member, preset_, lo_, hi_, help_)                                 \
    {.name = name_, .kind = KEY_REAL, .offset = offsetof(type, member), .preset = preset_,         \
     .lo = lo_, .hi = hi_, .help = help_}
#define OPTION_BOOL(type, member, preset_, help_)                                                  \
    {.name = #member, .kind = KEY_BOOL, .offset = offsetof(type, member), .preset = preset_,       \
     .help = help_}
#define OPTION_LIST(type, name_, member, preset_, help_)                                           \
    {.name = name_, .kind = KEY_TEXTS, .offset = offsetof(type, member), .preset = preset_,        \
     .help = help_}
/* clang-format on */

#define OPTION_LR(type, preset)                                                                    \
    OPTION_REAL(type, "lr", common.lr, preset, 0, 1e6, "Learning rate at the schedule's peak.")
#define OPTION_L2(type, preset)                                                                    \
    OPTION_REAL(type, "weight_decay", common.weight_decay, preset, 0, 1e3, "L2 penalty.")
#define OPTION_DECAY(type, preset)                                                                 \
    OPTION_REAL(type, "weight_decay", common.weight_decay, preset, 0, 1e3,                         \
                "lr times this is the share of a value that a step takes away.")
#define OPTION_BETAS(type, preset, help) OPTION_LIST(type, "betas", betas, preset, help)
#define OPTION_MOMENTS(type, preset)                                                               \
    OPTION_BETAS(type, preset, "Decay of the first and second moment, each in [0, 1).")
#define OPTION_EPS(type, preset)                                                                   \
    OPTION_REAL(type, "eps", eps, preset, 0, 1, "Added to the divisor.")

/* lr, weight_decay, betas, eps: how the options of adam, adamax, nadam and radam begin. */
typedef struct moment_options {
    optim_common common;
    key_texts betas;
    double eps;
    bool amsgrad;                /* adam, adamw */
    bool decoupled_weight_decay; /* nadam, radam */
    double momentum_decay;       /* nadam */
} moment_options;

/* Two slots; setup puts the betas into c[0] and c[1]. */
static inline int moment_slots(const void *options)
{
    (void)options;
    return 2;
}

static inline status moment_setup(optim *o)
{
    const moment_options *a = (const moment_options *)o->options;

    return optim_numbers(o->kind, "betas", &a->betas, 2, 0, 1, o->c);
}

/* Makes name_loop(factors, mode, piece): name_value of optim/<name>_rule.h for every value of a piece.
 * Called with a constant mode, so that each mode gets a loop of its own. */
#define OPTIM_LOOP(name)                                                                           \
    static ALWAYS_INLINE void name##_loop(const name##_factors f, int mode, const optim_piece *k)  \
    {                                                                                              \
        float *const       s[] = {k->s[0], k->s[1], k->s[2], k->s[3]};                             \
        float *const       p = k->p;                                                               \
        const float *const g = k->g;                                                               \
        const int64_t      n = k->n;                                                               \
                                                                                                   \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) name##_value(f, mode, i, p, g, s);     \
    }                                                                                              \
    _Static_assert(sizeof(name##_factors) <= OPTIM_FACTORS * sizeof(float), "too many factors")

#endif
