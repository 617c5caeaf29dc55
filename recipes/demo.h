/* demo: `train --offline-demo`, a recipe on a small random trunk and texts that this program carries.
 *
 * It shows that everything works on a machine without a network: what is learnt is of no use. */
#ifndef RECIPES_DEMO_H
#define RECIPES_DEMO_H

#include "recipes/recipe.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Writes trunk and texts into the cache folder and gives the overrides that put them in the place of a
 * recipe's base, data and length; `more` (the command line's own) stand behind them and win. resume: the
 * run folder is the last demonstration's, else one that is free. All of it in the arena. */
status demo_overrides(arena *a, bool resume, const key_texts *more, key_texts *out);

/* Says what the run is / what it has shown, from its metrics. */
void   demo_announce(const recipe *r);
status demo_conclude(arena *a, const recipe *r);

#ifdef __cplusplus
}
#endif
#endif
