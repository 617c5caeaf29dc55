/* trainer: one optimizer step over micro-batches, and evaluation with the same computation.
 *
 * It owns the tape, the step memory, the gradient buffers and the optimizer state of one run. */
#ifndef RECIPES_TRAINER_H
#define RECIPES_TRAINER_H

#include "core/device.h"
#include "optim/clip.h"
#include "optim/optim.h"
#include "optim/schedule.h"
#include "peft/peft.h"
#include "recipes/feed.h"
#include "recipes/leaf_sum.h"
#include "recipes/objective.h"

/* Tuned tensors whose file name matches (a glob) take other rates; the first group that matches. */
typedef struct trainer_group {
    const char *match;
    double      lr, weight_decay; /* negative: as everybody */
} trainer_group;

typedef struct trainer_options {
    const struct goal      *goal; /* NULL: cross-entropy of the model's head */
    const struct optimizer *optimizer;
    const void          *optimizer_options; /* begins with optim_common */
    schedule_options     schedule;
    clip_options         clip;
    const trainer_group *groups;
    int                  n_groups;
    int64_t              steps;
    uint64_t             seed;
    recompute            how;
    int64_t              pack, seqs, leaves; /* capacities: tokens, sequences, micro-batches a step */
    int64_t              source;             /* tokens of an encoder, 0: there is none */
    arena               *step;               /* for activations, with others that take turns; NULL: its own */
    int64_t              freeze_steps;       /* the first steps train what belongs to the head alone */
    bool                 slow_copy;          /* of the values, beside them (experts.h): for the bill */
} trainer_options;

typedef struct trainer trainer;
struct trainer {
    model          *m;
    peft           *p;
    trainer_options o;
    arena           memory; /* step: activations */
    tape           *t;
    feed            f;
    var            *loss;
    goal_vars       out;
    arena           extra_memory;
    tape           *extra; /* what modules add to the loss, or NULL */
    peft_losses     losses;
    float          *upstream;  /* [losses.n] */
    peft_terms      terms;     /* what hooks add to the loss, in t */
    float          *term_upstream; /* [terms.n] */
    op_run          run;
    leaf_sum        sum;
    optim           opt;
    optim_span     *spans;
    uint8_t        *frozen; /* [n_spans] 1: not in the first freeze_steps; its gradient counts nowhere then */
    int             n_spans;
    schedule        rate;
    double         *peaks; /* [n_groups + 1], the last is everybody's */
    optim_group    *groups;
    device_arena    there;  /* gradients and optimizer state, on a device */
    bool            values; /* there too: they come back with trainer_close */
    status        (*predict)(trainer *x, double *loss); /* in evaluations instead of trainer_forward; or NULL */
    status        (*follow)(trainer *x); /* after every step; or NULL */
    void           *beside; /* what these two work with */
};

typedef struct step_report {
    int64_t step;
    double  loss, lr, grad_norm; /* loss: mean over targets; norm before clipping */
    int64_t tokens, targets, samples, leaves;
} step_report;

/* Records and plans; takes memory for values' gradients and optimizer state from `tuned` (which must
 * hold p's values already, or peft_allocate follows before the first step). Structures come from `a`.
 * With only_plan the step memory is not taken. */
status trainer_open(trainer *x, arena *a, arena *tuned, model *m, peft *p, const trainer_options *o,
                    bool only_plan);
void   trainer_close(trainer *x);

/* One step, number `step` (from 0), of the packer's next micro-batches. Allocates nothing. A loss or a
 * gradient that is not finite fails with the place, before anything is changed. r->leaves is 0 when
 * the data has ended. */
status trainer_step(trainer *x, packer *data, int64_t step, step_report *r);

/* What the micro-batch in x->f.b gives: x->out, and the sum of its losses. */
status trainer_forward(trainer *x, double *loss);

/* Sum of losses over all samples of a packer (packer_open_once) and the number of targets. tally: also measures the
 * goal's predictions; NULL: it does not. */
status trainer_evaluate(trainer *x, packer *data, goal_tally *tally, double *loss_sum, int64_t *targets);

/* Bytes: activations of a step, gradient buffers, tuned values, optimizer state; on a device also the scratch
 * of operations. */
typedef struct trainer_bill {
    size_t step, gradients, values, optimizer, scratch;
} trainer_bill;
trainer_bill trainer_memory(const trainer *x);
/* The same on the device, but for the tuned values, which session_hold brings there; all 0 without one. x must have
 * been opened with only_plan. */
trainer_bill trainer_device_memory(const trainer *x);

#endif
