/* train: a recipe from beginning to end. Holds the only training loop. */
#ifndef RECIPES_TRAIN_H
#define RECIPES_TRAIN_H

#include "recipes/recipe.h"

typedef struct train_options {
    bool        resume;  /* go on from the newest good checkpoint */
    bool        dry_run; /* everything except the steps */
    const char *batches; /* file that gets every micro-batch as lines of the `ids` source, or NULL */
    const char *profile; /* file that gets a trace of one step (recipes/profile.h), or NULL */
    bool        phase;   /* one of a run's: what comes next is not said */
} train_options;

/* Trains. STATUS_STOPPED after a signal, when the state was saved. */
status train_run(recipe *r, const train_options *o);

/* Says what can be done with the result of a run. */
void train_say_next(const recipe *r, const char *run);

#endif
