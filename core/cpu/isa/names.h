/* names: the symbols of the files that are compiled once per instruction set (TILE_ISA) */
#ifndef CORE_CPU_ISA_NAMES_H
#define CORE_CPU_ISA_NAMES_H

#include "core/compiler.h"
#include "core/cpu/tile.h"

#if defined(__AVX512F__)
#define TILE_LANES 16
#define TILE_VECTORS 3 /* of a full panel */
#elif defined(__AVX__)
#define TILE_LANES 8
#define TILE_VECTORS 2
#else
#define TILE_LANES 4
#define TILE_VECTORS 2
#endif

#define ISA_JOIN_(a, b) a##_##b
#define ISA_JOIN(a, b) ISA_JOIN_(a, b)
#define ISA_NAME(a) ISA_JOIN(a, TILE_ISA)

extern const tile_row ISA_NAME(tile_rows)[];
void ISA_NAME(pack_columns)(const pack_group *g);
void ISA_NAME(copy_rows)(const void *a, dtype type, int64_t lda, bool turned, int64_t m, int64_t k,
                         float *out, int64_t ldo);
void ISA_NAME(dot_rows)(const dot_args *d);

typedef VECTOR(float, 4 * TILE_LANES) vec;

#endif
