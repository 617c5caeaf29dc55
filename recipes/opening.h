/* opening: from a recipe to everything that training, planning and evaluating begin with. */
#ifndef RECIPES_OPENING_H
#define RECIPES_OPENING_H

#include "recipes/experts.h"
#include "recipes/objective.h"
#include "recipes/registry.h"
#include "recipes/session.h"
#include "recipes/trainer.h"

typedef struct opening {
    const recipe         *r;
    bool                  noise; /* bench: the weights of a random trunk are made on the device only */
    session               s;
    struct goal           goal;
    examples              train, test; /* test.n 0: the recipe has none */
    pack_options          packing;
    packer                data;
    int64_t               steps;
    trainer_options       trainer;
    const answer_options *ask;
    const experts_options *experts;
    question             *questions;
    int64_t               n_questions;
} opening;

/* Opens the session's arenas and refuses what this version cannot run, before any file is read. */
status opening_begin(opening *o, const recipe *r);
/* The same for a run beside one that has been loaded, on its device and with its weights: it must end before. */
status opening_begin_beside(opening *o, const recipe *r, const opening *first);
void   opening_end(opening *o);

/* Trunk, modules, data, trainer options. shapes_only: modules' values are not allocated. */
status opening_load(opening *o, bool shapes_only);

/* After session_hold, and before a trainer is opened that computes: what the objective wants to know of the test
 * data, and with `train` of the training data. */
status opening_settle(opening *o, bool train);

#endif
