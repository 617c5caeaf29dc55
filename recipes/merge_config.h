/* merge_config: config.json of a trunk that got a head for classes from an adapter. */
#ifndef RECIPES_MERGE_CONFIG_H
#define RECIPES_MERGE_CONFIG_H

#include "recipes/session.h"

/* Changes s->w.config: the architecture with the head of s->m, and the classes' names that the adapter remembers. */
status merge_config(session *s, const char *adapter);

#endif
