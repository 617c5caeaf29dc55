/* train: a recipe from beginning to end. Holds the only training loop. */
#ifndef RECIPES_TRAIN_H
#define RECIPES_TRAIN_H

#include "recipes/recipe.h"

typedef struct train_options {
    bool        resume;  /* go on from the newest good checkpoint */
    bool        dry_run; /* everything except the steps */
    const char *batches; /* file that gets every micro-batch as lines of the `ids` source, or NULL */
    const char *profile; /* file that gets a trace of one step (recipes/profile.h), or NULL */
    bool        part;    /* of a larger one: what comes next is not said */
} train_options;

/* A run that is taken step by step, so that several can take turns. */
typedef struct training training;

/* Opens a run up to its first step; beside: one that has been opened, whose device, weights and memory of a step it
 * uses, or NULL. *out must be closed, also after a failure, unless it is NULL; one that others use last. */
status training_open(arena *a, recipe *r, const train_options *o, training *beside, training **out);
void   training_close(training *t);
/* Bytes that it takes: those that runs beside one another share, and its own. And tells it what all of them take, for
 * the lines that say it. */
typedef struct training_bytes {
    size_t shared, own;
} training_bytes;
training_bytes training_planned(const training *t);
void           training_plan(training *t, size_t total);
/* The state before the first step: evaluated, or gone on from with options->resume. */
status training_begin(training *t);
bool   training_ended(const training *t);
/* By a signal: its state is saved. */
bool   training_stopped(const training *t);
/* One step, with the evaluation and the checkpoint that are due behind it. */
status training_step(training *t);
/* Saves now, whatever is due. */
status training_save(training *t);
/* Behind the last step: the result. */
status training_finish(training *t);

/* Trains. STATUS_STOPPED after a signal, when the state was saved. */
status train_run(recipe *r, const train_options *o);

/* Says what can be done with the result of a run. */
void train_say_next(const recipe *r, const char *run);

#endif
