/* path: which instruction set the products run on, chosen once */
#ifndef CORE_CPU_PATH_H
#define CORE_CPU_PATH_H

#include "core/cpu/tile.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The set in use: what matmul_use or CAMBIUM_ISA named, else the best that this CPU can run. */
const tile_set *path_tiles(void);

/* True when this build has the set and this CPU can run it. */
bool path_runs(const char *name);

/* The set for bf16 pairs (dpbf16) beside it: tiles and panels of 32-bit pairs; NULL where there is none. */
const tile_set *path_pairs(void);

#ifdef __cplusplus
}
#endif
#endif
