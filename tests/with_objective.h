/* with_objective: a recipe of recipes/objectives as it is when training begins, for tests */
#ifndef TESTS_WITH_OBJECTIVE_H
#define TESTS_WITH_OBJECTIVE_H

#include "tests/helpers.h"

#include "recipes/opening.h"

typedef struct run {
    arena   a;
    recipe *r;
    opening in;
    trainer x;
} run;

/* A recipe of recipes/objectives, changed by n overrides. */
void open_run(run *t, const char *name, int n, const char *const *overrides);
void close_run(run *t);

/* What opening it says with an override. */
status refuse(const char *name, const char *override);

/* The forward of the next micro-batch of the training data: its loss. */
double next_loss(run *t);
/* Its scores. */
const float *scores_of(const run *t);

/* Sums of f32 values of about 1 by samples: 2^-20 of them. */
void same(const char *what, double is, double must);

#endif
