/* run_state: what a checkpoint holds beside the adapter: optimizer, data position, step. */
#ifndef RECIPES_RUN_STATE_H
#define RECIPES_RUN_STATE_H

#include "recipes/checkpoint.h"
#include "recipes/recipe.h"
#include "recipes/run_folder.h"
#include "recipes/session.h"
#include "recipes/trainer.h"

typedef struct run_state {
    session    *s;
    trainer    *x;
    packer     *data;
    run_folder *folder;
    struct experts *slow; /* or NULL */
    recipe     *r;
    int64_t     step; /* steps made */
    double      best;      /* smallest goal_selected so far; infinity: none */
    int64_t     best_step; /* -1: none */
    int64_t     worse;     /* evaluations since the best */
} run_state;

/* Notes an evaluation of the present step. */
void run_state_judge(run_state *st, double loss);

/* True when the recipe takes the best evaluation's state as the result. */
bool run_state_selects_best(const run_state *st);

/* Saves all of it as checkpoints/step-NNNNNN; with `select: best` the best step's stays too. */
status run_state_save(run_state *st);

/* Fails when the run's recipe.yaml is there and differs from this recipe, naming the key. */
status run_state_same_recipe(const recipe *r, const char *folder);

/* Goes on from the newest good checkpoint (with `select: best` one whose best step is good too): values,
 * optimizer, data position, logs cut back. *found is false when there are none; when there are, but none
 * is good, it fails. Refuses a checkpoint of another base, recipe or data. */
status run_state_resume(run_state *st, bool *found);

/* Fills the modules with the values of the best step. */
status run_state_take_best(run_state *st);

/* The adapter of every module, as that of `step`: into folder itself when there is one module, else
 * folder/<module>. */
status run_state_write_adapters(run_state *st, const char *folder, int64_t step);

#endif
