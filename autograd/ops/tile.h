/* tile: the small product inside attention, in registers.
 *
 *     c[m, n] (+)= sum_k a(m, k) b[k, n]
 *
 * a's element (m, k) is a[m * sm + k * sk], so it is read from where it lies, turned or not; n is a
 * whole number of vectors. An element's sum is one chain over k, whatever tile it falls into. */
#ifndef AUTOGRAD_OPS_TILE_H
#define AUTOGRAD_OPS_TILE_H

#include "autograd/ops/kernel.h"

/* Accumulators: TILE_ROWS x 2 vectors. */
#if defined(__AVX512F__)
enum { TILE_ROWS = 8 };
#else
enum { TILE_ROWS = 4 };
#endif

typedef struct tile {
    int64_t     m, n, k;
    const real *a;
    int64_t     sm, sk;
    const real *b;
    int64_t     ldb;
    real       *c;
    int64_t     ldc;
    bool        add;
} tile;

#define TILE_FOR(i, n, unroll) _Pragma(unroll) for (int i = 0; i < n; i++)
#define FOR_TILE_ROWS TILE_FOR(r, rows, "GCC unroll 8")
#define FOR_TILE_VECTORS TILE_FOR(v, vectors, "GCC unroll 2")

/* Row r of what begins at base[0], rows being `stride` bytes apart; base[1] is four rows on. Two pointers
 * and two strides reach eight rows, and the compiler has registers for them. */
static ALWAYS_INLINE char *tile_at(char *const base[2], const int r, const int64_t stride, const int64_t three)
{
    return base[r / 4] + (r % 4 == 0 ? 0 : r % 4 == 1 ? stride : r % 4 == 2 ? 2 * stride : three);
}

static ALWAYS_INLINE void tile_sum(const tile *t, const int rows, const int vectors, int64_t m, int64_t n,
                                   const int64_t step, lanes sum[8][2])
{
    const int64_t stride = t->sm * (int64_t)sizeof(real), three = 3 * stride, ldb = t->ldb;
    const real   *b = t->b + n;
    char         *base[2] = {(char *)(t->a + m * t->sm), (char *)(t->a + (m + 4) * t->sm)};

    for (int64_t k = 0; k < t->k; k++) {
        lanes column[2];
        FOR_TILE_VECTORS
            LOAD(column[v], b + v * LANES);
        FOR_TILE_ROWS {
            const real value = *(const real *)tile_at(base, r, stride, three);
            FOR_TILE_VECTORS
                sum[r][v] += column[v] * value;
        }
        base[0] += step * (int64_t)sizeof(real);
        base[1] += step * (int64_t)sizeof(real);
        b += ldb;
        KEEP_POINTER(base[0]);
        KEEP_POINTER(base[1]);
    }
}

static ALWAYS_INLINE void tile_block(const int rows, const int vectors, const tile *t, int64_t m,
                                     int64_t n)
{
    const int64_t stride = t->ldc * (int64_t)sizeof(real), three = 3 * stride;
    char         *c[2] = {(char *)(t->c + m * t->ldc + n), (char *)(t->c + (m + 4) * t->ldc + n)};
    lanes         sum[8][2];

    KEEP_POINTER(c[0]);
    KEEP_POINTER(c[1]);
    FOR_TILE_ROWS
        FOR_TILE_VECTORS
            if (t->add)
                LOAD(sum[r][v], tile_at(c, r, stride, three) + v * LANE_BYTES);
            else
                sum[r][v] = (lanes){0};
    tile_sum(t, rows, vectors, m, n, t->sk, sum);
    FOR_TILE_ROWS
        FOR_TILE_VECTORS
            STORE(tile_at(c, r, stride, three) + v * LANE_BYTES, sum[r][v]);
}

#define TILE_BLOCK(rows, vectors)                                                                  \
    static NO_INLINE UNUSED void tile_##rows##x##vectors(const tile *t, int64_t m, int64_t n)      \
    {                                                                                              \
        tile_block(rows, vectors, t, m, n);                                                        \
    }
TILE_BLOCK(8, 2)
TILE_BLOCK(8, 1)
TILE_BLOCK(4, 2)
TILE_BLOCK(4, 1)
TILE_BLOCK(1, 2)
TILE_BLOCK(1, 1)

static inline void tile_run(const tile *t)
{
    for (int64_t n = 0; n < t->n;) {
        const bool two = n + 2 * LANES <= t->n;
        int64_t    m = 0;

        for (; TILE_ROWS == 8 && m + 8 <= t->m; m += 8)
            two ? tile_8x2(t, m, n) : tile_8x1(t, m, n);
        for (; m + 4 <= t->m; m += 4)
            two ? tile_4x2(t, m, n) : tile_4x1(t, m, n);
        for (; m < t->m; m++)
            two ? tile_1x2(t, m, n) : tile_1x1(t, m, n);
        n += two ? 2 * LANES : LANES;
    }
}

#endif
