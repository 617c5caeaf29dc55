/* nearest: the valid names that a misspelt one may have meant */
#ifndef RECIPES_NEAREST_H
#define RECIPES_NEAREST_H

#include "core/arena.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Edits (insertion, deletion, substitution, swap of two neighbours) that turn a into b: Damerau's
 * distance in its optimal-string-alignment form. Texts longer than 128 bytes count as far away. */
int name_distance(const char *a, const char *b);

/* True when `given` is within 2 edits of `name`, or within a third of the longer one's length. */
bool name_is_near(const char *given, const char *name);

/* "did you mean 'warmup'?" with every name at the smallest near distance (at most four), or "valid:
 * a, b, c" when none is near. In the arena; NULL after fail. */
const char *name_hint(arena *a, const char *given, const char *const *names, int n);

#ifdef __cplusplus
}
#endif
#endif
