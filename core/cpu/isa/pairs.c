/* pairs: products of bf16 pairs (dpbf16), for processors that have the instruction
 *
 * Two neighbours along k are one 32-bit value, so rows of a, panels and tiles look like those of f32 with
 * half as many k; only the multiply-add differs. The instruction takes subnormal numbers for zero. */
#include "core/cpu/tile.h"

#include "core/compiler.h"

#include <immintrin.h>
#include <string.h>

enum { LANES = 16, WIDTH = 48, AHEAD = 8 };

extern const tile_row tile_rows_pairs[];
void                  pack_columns_avx512(const pack_group *g);
void                  pack_columns_pairs(const pack_group *g);

float ceiling_pairs(int64_t rounds);

/* 24 * 32 multiply-adds a round. */
float ceiling_pairs(int64_t rounds)
{
    __m512        x[24];
    const __m512  one = _mm512_set1_ps(0.001f);
    const __m512bh a = _mm512_cvtne2ps_pbh(one, one);

#pragma GCC unroll 32
    for (int i = 0; i < 24; i++)
        x[i] = _mm512_set1_ps((float)i);
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 32
        for (int i = 0; i < 24; i++)
            x[i] = _mm512_dpbf16_ps(x[i], a, a);
    }
    float sum = 0;
    for (int i = 0; i < 24; i++)
        sum += _mm512_cvtss_f32(x[i]);
    return sum;
}

static ALWAYS_INLINE void tile(const tile_args *t, const int rows, const int vectors)
{
    const int64_t ldb = t->ldb, lda = t->lda;
    const float  *a = t->a, *b = t->b;
    __m512        sum[TILE_ROWS_MAX][3];

#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            sum[i][j] = _mm512_setzero_ps();
    for (int64_t k = 0; k < t->k; k++, b += ldb) {
        __m512bh row[3];
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++) {
            row[j] = (__m512bh)_mm512_loadu_ps(b + j * LANES);
            __builtin_prefetch(b + AHEAD * ldb + j * LANES);
        }
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const __m512bh v = (__m512bh)_mm512_set1_ps(a[i * lda + k]);
#pragma GCC unroll 3
            for (int j = 0; j < vectors; j++)
                sum[i][j] = _mm512_dpbf16_ps(sum[i][j], row[j], v);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++) {
            float *c = t->c + i * t->ldc + j * LANES;
            __m512 s = _mm512_mul_ps(sum[i][j], _mm512_set1_ps(t->alpha));
            _mm512_storeu_ps(c, t->add ? _mm512_add_ps(_mm512_loadu_ps(c), s) : s);
        }
}

#define SIZES(X)                                                                                   \
    X(1, 14) X(1, 8) X(1, 4) X(1, 2) X(1, 1) X(2, 12) X(2, 8) X(2, 4) X(2, 2) X(2, 1) X(3, 8)      \
    X(3, 4) X(3, 2) X(3, 1)
#define DEFINE(vectors, rows)                                                                      \
    static void tile_##vectors##x##rows(const tile_args *t)                                        \
    {                                                                                              \
        tile(t, rows, vectors);                                                                    \
    }
SIZES(DEFINE)
#define ROW(vectors, rows) {vectors, rows, tile_##vectors##x##rows},
const tile_row tile_rows_pairs[] = {SIZES(ROW){0, 0, NULL}};

/* Rows 2k and 2k+1 of a plain b become one row of pairs; g->k counts pairs. */
static void pack_plain(const pack_group *g)
{
    const uint16_t *b = (const uint16_t *)g->b + 2 * g->k0 * g->ldb + g->n0;
    float          *out = g->out;

    for (int64_t p = 0; p < g->n; p += WIDTH) {
        const int64_t n = g->n - p < WIDTH ? g->n - p : WIDTH, w = (n + LANES - 1) / LANES * LANES;
        for (int64_t k = 0; k < g->k; k++)
            for (int64_t j = 0; j < w; j += LANES) {
                const int64_t   left = n - j;
                const __mmask16 some = left >= LANES ? 0xFFFF : left <= 0 ? 0 : (__mmask16)((1u << left) - 1);
                const uint16_t *low = b + 2 * k * g->ldb + p + j;
                const __m512i   x = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, low));
                const __m512i   y = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, low + g->ldb));
                _mm512_storeu_si512(out + k * w + j, _mm512_or_si512(x, _mm512_slli_epi32(y, 16)));
            }
        out += g->k * w;
    }
}

/* A turned b is turned as the 32-bit values that its pairs are. */
void pack_columns_pairs(const pack_group *g)
{
    pack_group h = *g;

    if (!g->turned) {
        pack_plain(g);
        return;
    }
    h.type = TYPE_F32;
    h.ldb = g->ldb / 2;
    pack_columns_avx512(&h);
}
