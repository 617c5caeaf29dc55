/* prepare: runs the bare trunk over samples, for modules whose start sees what these give to their sites
 * (PEFT_SEES). */
#ifndef RECIPES_PREPARE_H
#define RECIPES_PREPARE_H

#include "recipes/session.h"

/* Shows a module as many of the samples as it wants, spread evenly; all where there are fewer. What it keeps lies in
 * `seen`, until its values are made. */
status prepare_module(peft *p, int module, const examples *x, arena *seen);

/* All fresh modules of a recipe that want it. */
status prepare_modules(session *s, const recipe *r, session_samples *samples, void *context, arena *seen);

#endif
