/* path: which instruction set the products run on, chosen once */
#ifndef CORE_CPU_PATH_H
#define CORE_CPU_PATH_H

#include "core/cpu/tile.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The set in use: what matmul_use or CAMBIUM_ISA named, else the best that this CPU can run. */
const tile_set *path_tiles(void);

/* True when the set in use has products of bf16 pairs (dpbf16). */
bool path_pairs(void);

#ifdef __cplusplus
}
#endif
#endif
