/* with_trajectory: the steps of a training on given micro-batches, for comparing with other programs */
#ifndef TESTS_WITH_TRAJECTORY_H
#define TESTS_WITH_TRAJECTORY_H

#include "core/json.h"
#include "recipes/trainer.h"

typedef struct trajectory trajectory;

struct trajectory {
    arena *a, *tuned; /* of structures, and of the modules' values */
    model *m;
    peft *p;
    const examples *x; /* in given micro-batches, .. */
    int64_t micro;     /* .. so many a step */
    trainer_options o; /* its capacities are set here */
    trainer t;
    /* Around every step; NULL: nothing. */
    status (*before)(trajectory *t, int64_t step);
    status (*after)(trajectory *t, const step_report *r);
    void *context;
};

/* The optimizer (`name`, else adamw) with lr, beta1, beta2, eps and weight_decay, the schedule, clip, warmup and steps
 * of a JSON object. */
status trajectory_options(arena *a, const cJSON *hyper, const char *what, trainer_options *o);

/* All o.steps, with a trainer of their own. */
status trajectory_run(trajectory *t);

/* In `after`: the gradient of the step's mean loss before clipping, flat, in host memory, out[p->size]. */
void trajectory_gradient(const trajectory *t, const step_report *r, float *out);

#endif
