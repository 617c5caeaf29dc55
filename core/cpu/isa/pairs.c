/* pairs: panels of bf16 pairs and the ceiling of their products (dpbf16)
 *
 * Two neighbours along k are one 32-bit value, so rows of a, panels and tiles look like those of f32 with
 * half as many k; only the multiply-add differs (tiles.c). */
#include "core/cpu/tile.h"

#include <immintrin.h>

enum { LANES = 16, WIDTH = 48 };

void pack_columns_avx512(const pack_group *g);
void pack_columns_pairs(const pack_group *g);

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
