/* ceiling_pairs: products of bf16 pairs (dpbf16) on registers alone */
#include <immintrin.h>
#include <stdint.h>

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
