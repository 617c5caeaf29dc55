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
    recipe     *r;
    int64_t     step; /* steps made */
    double      best; /* smallest evaluation loss so far; infinity: none */
    int64_t     best_step;
} run_state;

/* Saves all of it as checkpoints/step-NNNNNN. */
status run_state_save(run_state *st);

/* Goes on from the newest good checkpoint: values, optimizer, data position, logs cut back. *found is
 * false when there is none. Refuses a checkpoint of another base, recipe or data. */
status run_state_resume(run_state *st, bool *found);

/* The adapter of every module: into folder itself when there is one module, else folder/<module>. */
status run_state_write_adapters(run_state *st, const char *folder);

#endif
