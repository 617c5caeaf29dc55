/* together: several recipes trained on one trunk in one process.
 *
 * Each is a run of its own, with its own folder, data, optimizer, schedule and stop. They share the device, the trunk's
 * weights and the memory of a step, and take turns, a step each: so each has the bytes that it would have alone. */
#ifndef RECIPES_TOGETHER_H
#define RECIPES_TOGETHER_H

#include "recipes/recipe.h"
#include "recipes/train.h"

/* Trains the recipes that r names. A run that fails does not stop the others; the result is then its failure. */
status together_train(const recipe *r, const train_options *o);

/* Reads the recipes that r names, and refuses those that cannot share a trunk. [r->together.n] */
status together_recipes(arena *a, const recipe *r, recipe ***out);

#endif
