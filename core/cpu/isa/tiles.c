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

/* Lines of c that a tile writes are asked for before its sums begin. */
static ALWAYS_INLINE void ask_for_c(const tile_args *t, const int rows, const int vectors)
{
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            __builtin_prefetch(t->c + i * t->ldc + j * TILE_LANES, 1);
}

/* Rows of a are reached from every fourth one: two pointers and two strides for eight rows, which
 * leaves the compiler registers to keep them in. */
static ALWAYS_INLINE float row_value(const char *const base[], const int i, const int64_t l, const int64_t l3)
{
    const char *from = base[i / 4] + (i % 4 == 0 ? 0 : i % 4 == 1 ? l : i % 4 == 2 ? 2 * l : l3);

    return *(const float *)from;
}

static ALWAYS_INLINE void add_products(const tile_args *t, const int64_t ldb, const int rows, const int vectors,
                                       vec sum[][TILE_VECTORS])
{
    const int64_t l = t->lda * (int64_t)sizeof(float), l3 = 3 * l;
    const float  *b = t->b;
    const char   *base[TILE_ROWS_MAX / 4];

#pragma GCC unroll 4
    for (int i = 0; i < (rows + 3) / 4; i++)
        base[i] = (const char *)t->a + 4 * i * l;
    for (int64_t k = 0; k < t->k; k++, b += ldb) {
        vec row[TILE_VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            memcpy(&row[j], b + j * TILE_LANES, sizeof row[j]);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const float v = row_value(base, i, l, l3);
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++)
                ADD_PRODUCT(sum[i][j], row[j], v);
        }
#pragma GCC unroll 4
        for (int i = 0; i < (rows + 3) / 4; i++) {
            base[i] += sizeof(float);
            KEEP_POINTER(base[i]);
        }
    }
}

/* The same where the rows of a are one value apart and b is a panel. */
static ALWAYS_INLINE void add_packed(const tile_args *t, const int rows, const int vectors,
                                     vec sum[][TILE_VECTORS])
{
    const float *a = t->a, *b = t->b;

    for (int64_t k = 0; k < t->k; k++) {
        vec row[TILE_VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            memcpy(&row[j], b + j * TILE_LANES, sizeof row[j]);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const float v = a[i];
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++)
                ADD_PRODUCT(sum[i][j], row[j], v);
        }
        a += t->step;
        b += vectors * TILE_LANES;
        KEEP_POINTER(a);
        KEEP_POINTER(b);
    }
}

static ALWAYS_INLINE void tile(const tile_args *t, const int rows, const int vectors)
{
    vec sum[TILE_ROWS_MAX][TILE_VECTORS];

    ask_for_c(t, rows, vectors);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            sum[i][j] = (vec){0};
    if (t->step != 1)
        add_packed(t, rows, vectors, sum);
    else if (t->ldb == vectors * TILE_LANES)
        add_products(t, vectors * TILE_LANES, rows, vectors, sum);
    else
        add_products(t, t->ldb, rows, vectors, sum);
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
