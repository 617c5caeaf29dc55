/* schedule: the learning rate of step t = 0, 1, ...; a warm-up starts at 0 in step 0.
 *
 * Names and formulas are those of transformers' lr_scheduler_type, so that lr[t] is what its
 * scheduler gives to the (t+1)-th call of optimizer.step(). All in double precision. */
#ifndef OPTIM_SCHEDULE_H
#define OPTIM_SCHEDULE_H

#include "core/keys.h"
#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a recipe sets; filled by schedule_keys. A number that is 0 takes the schedule's own default,
 * and one that the schedule does not read must be 0. */
typedef struct schedule_options {
    const char *schedule;
    double warmup;           /* below 1: share of the steps, rounded up; else steps */
    double num_cycles;       /* cosine 0.5, cosine_with_restarts 1, wsd 0.5 */
    double min_lr;           /* cosine_with_min_lr: a rate */
    double min_lr_ratio;     /* cosine_with_min_lr, wsd: a share of the peak */
    double lr_end;           /* polynomial: a rate */
    double power;            /* polynomial: 1 */
    double timescale;        /* inverse_sqrt: warm-up steps, or 10000 without warm-up */
    double num_stable_steps; /* wsd: what is left between warm-up and decay */
    double num_decay_steps;  /* wsd: 0.1; below 1: share of the steps, rounded up */
    const char *warmup_type, *decay_type; /* wsd: linear | cosine | 1-sqrt */
} schedule_options;

extern const key_table schedule_keys;

typedef struct schedule {
    schedule_options o;
    int kind;
    double steps, warmup, stable, decay; /* in steps */
} schedule;

/* Resolves the options for a run of `steps` steps (0 or more). peak is the smallest group's rate:
 * min_lr and lr_end must lie below it. STATUS_USAGE says what does not fit. */
status schedule_open(schedule *s, const schedule_options *options, int64_t steps, double peak);

/* The rate of step t for a group whose highest rate is peak. */
double schedule_lr(const schedule *s, double peak, int64_t t);

/* "below 1 is a share of the steps, rounded up, otherwise steps". */
double schedule_steps(double value, int64_t steps);

#ifdef __cplusplus
}
#endif
#endif
