/* tiles: register tiles of the f32 product, and of bf16 pairs where TILE_PAIRS is set
 *
 * The tile's sums stay in registers over the whole of k: rows x vectors of them, beside the panel's
 * row and one broadcast value of a. Tall tiles for narrow panels keep enough sums in flight. */
#include "core/cpu/isa/names.h"

#include <string.h>

/* A pair is two bf16 neighbours along k in the place of one f32; the instruction takes subnormal numbers
 * for zero. */
#if defined(TILE_PAIRS)
#include <immintrin.h>
#define ADD_PRODUCT(sum, row, v)                                                                   \
    ((sum) = (vec)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)(row), (__m512bh)_mm512_set1_ps(v)))
#else
#define ADD_PRODUCT(sum, row, v) ((sum) += (row) * (v))
#endif

/* Rows of the panel that are asked for ahead of their use. */
enum { AHEAD = 8 };

static ALWAYS_INLINE void tile(const tile_args *t, const int rows, const int vectors)
{
    const int64_t ldb = t->ldb, lda = t->lda;
    const float  *a = t->a, *b = t->b;
    vec           sum[TILE_ROWS_MAX][TILE_VECTORS];

#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            sum[i][j] = (vec){0};
    for (int64_t k = 0; k < t->k; k++, b += ldb) {
        vec row[TILE_VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            memcpy(&row[j], b + j * TILE_LANES, sizeof row[j]);
            __builtin_prefetch(b + AHEAD * ldb + j * TILE_LANES);
        }
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const float v = a[i * lda + k];
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++)
                ADD_PRODUCT(sum[i][j], row[j], v);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            float *c = t->c + i * t->ldc + j * TILE_LANES;
            vec    s = sum[i][j] * t->alpha, old;
            if (t->add) {
                memcpy(&old, c, sizeof old);
                s += old;
            }
            memcpy(c, &s, sizeof s);
        }
}

#define TILES(X) X(1, 1) X(1, 2) X(1, 4) X(1, 8) X(2, 1) X(2, 2) X(2, 4)
#if TILE_LANES == 16
#define TALL(X) X(1, 14) X(2, 8) X(2, 12) X(3, 1) X(3, 2) X(3, 4) X(3, 8)
#else
#define TALL(X) X(1, 12) X(2, 6)
#endif

#define DEFINE(vectors, rows)                                                                      \
    static void tile_##vectors##x##rows(const tile_args *t)                                        \
    {                                                                                              \
        tile(t, rows, vectors);                                                                    \
    }
TILES(DEFINE)
TALL(DEFINE)

#define ROW(vectors, rows) {vectors, rows, tile_##vectors##x##rows},
const tile_row ISA_NAME(tile_rows)[] = {
#if TILE_LANES == 16
    ROW(1, 14) ROW(1, 8) ROW(1, 4) ROW(1, 2) ROW(1, 1)
    ROW(2, 12) ROW(2, 8) ROW(2, 4) ROW(2, 2) ROW(2, 1)
    ROW(3, 8) ROW(3, 4) ROW(3, 2) ROW(3, 1)
#else
    ROW(1, 12) ROW(1, 8) ROW(1, 4) ROW(1, 2) ROW(1, 1)
    ROW(2, 6) ROW(2, 4) ROW(2, 2) ROW(2, 1)
#endif
    {0, 0, NULL}};
