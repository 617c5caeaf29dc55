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

static ALWAYS_INLINE void tile_block(const int rows, const int vectors, const tile *t, int64_t m,
                                     int64_t n)
{
    const real   *a = t->a + m * t->sm, *b = t->b + n;
    real         *c = t->c + m * t->ldc + n;
    const int64_t sm = t->sm, sk = t->sk, ldb = t->ldb, ldc = t->ldc, K = t->k;
    lanes         sum[8][2];

    FOR_TILE_ROWS
        FOR_TILE_VECTORS
            if (t->add)
                LOAD(sum[r][v], c + r * ldc + v * LANES);
            else
                sum[r][v] = (lanes){0};
    for (int64_t k = 0; k < K; k++) {
        lanes column[2];
        FOR_TILE_VECTORS
            LOAD(column[v], b + v * LANES);
        FOR_TILE_ROWS {
            const real value = a[r * sm];
            FOR_TILE_VECTORS
                sum[r][v] += column[v] * value;
        }
        a += sk;
        b += ldb;
    }
    FOR_TILE_ROWS
        FOR_TILE_VECTORS
            STORE(c + r * ldc + v * LANES, sum[r][v]);
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
