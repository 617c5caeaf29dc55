/* with_golden_hostile: readers that open a file and touch every byte they were given of it */
#ifndef TESTS_WITH_GOLDEN_HOSTILE_H
#define TESTS_WITH_GOLDEN_HOSTILE_H

#include "core/arena.h"

status hostile_gguf(arena *a, const char *path);
status hostile_safetensors(arena *a, const char *path);
status hostile_trunk(arena *a, const char *path); /* the weights of a model */

#endif
