/* procedure: in which phases a run goes.
 *
 * A procedure is one file in recipes/procedures and one row in recipes/procedures.def. A phase is an ordinary run of
 * the recipe, in which the procedure says some keys otherwise: it has its own modules, plan and run folder, is trained
 * by the one loop and resumed as any run. What a phase hands to the next lies in files:
 *
 *     <out>/recipe.yaml           the recipe as given
 *          /phases/1-full/        the run folder of each phase; `done` in it says that nothing is left to do there
 *          /phases/2-sparse/
 *          /adapter/              the result: a copy of the adapter of the last phase (or the first)
 */
#ifndef RECIPES_PROCEDURE_H
#define RECIPES_PROCEDURE_H

#include "recipes/recipe.h"
#include "recipes/train.h"

typedef struct procedure_run {
    arena        *a;
    const recipe *r;
    const char   *out;     /* the run's folder */
    const void   *options; /* of the procedure's keys */
    bool          foretold; /* for a plan: nothing that phases hand on is there, or will be */
} procedure_run;

typedef struct phase {
    const char *name; /* of its folder; NULL: there is none */
    const char *over; /* file of a recipe that is laid over the run's, or NULL; */
    key_texts   says; /* "key=value", over both */
} phase;

typedef struct procedure {
    const char *name, *help;
    key_table   keys;
    /* The i-th phase, from 0. NULL: the run is the recipe itself. */
    status (*phase)(const procedure_run *x, int i, phase *out);
    /* What is made of the i-th phase's result, in its folder, before the next begins; made again from the start when it
     * was interrupted. NULL: nothing. */
    status (*after)(const procedure_run *x, int i, const char *folder);
    bool first; /* the result is the first phase's, not the last one's */
} procedure;

/* The i-th procedure; NULL past the last. And that of a recipe. */
const procedure *procedure_at(int i);
const procedure *procedure_of(const recipe *r);

/* Trains: train_run for a recipe of one phase, together_train for one of several recipes. With options->resume finished phases are passed over. */
status procedure_train(recipe *r, const train_options *o);

/* The recipe of each phase as it is known before the run, for plans: [*n]. One phase: r itself; several recipes:
 * those. */
status procedure_foretell(arena *a, recipe *r, recipe ***out, int *n);

/* The recipe with which the result of a run of r, in the folder `adapter`, is evaluated: its modules are what the folder
 * says, for the recipe says it of the first phase. Of one phase: r itself. */
status procedure_evaluate(arena *a, recipe *r, const char *adapter, recipe **out);

/* ---- for procedures ---- */

/* The folder of a phase. */
const char *procedure_folder(const procedure_run *x, const char *name);

/* Appends one "key=value" to what a phase says; the list grows in the arena. */
status phase_say(arena *a, phase *p, const char *format, ...) PRINTF_LIKE(3, 4);

/* Where the phase with that folder leaves a module: a folder of its own where there are several. */
const char *phase_adapter(const procedure_run *x, const recipe_module *m, const char *folder);
/* The module goes on from such a folder. */
status phase_load(const procedure_run *x, const recipe_module *m, const char *adapter, phase *p);

#endif
