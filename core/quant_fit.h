/* quant_fit: what the quantisers of blocks share. For core/quant_write*.c alone. */
#ifndef CORE_QUANT_FIT_H
#define CORE_QUANT_FIT_H

#include "core/quant.h"
#include "core/quant_blocks.h"

#include <math.h>

/* Vectors wider than the registers are passed between inlined functions only. */
#pragma GCC diagnostic ignored "-Wpsabi"

/* To the nearest whole number, halves to even; |x| below 2^22. */
static ALWAYS_INLINE float nearest(float x)
{
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

static ALWAYS_INLINE floats16 nearest16(floats16 x)
{
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

/* a where the mask is set, else b. */
static ALWAYS_INLINE floats16 choose16(ints16 mask, floats16 a, floats16 b)
{
    return (floats16)((mask & (ints16)a) | (~mask & (ints16)b));
}

static ALWAYS_INLINE floats16 clamp16(floats16 x, float lo, float hi)
{
    const floats16 least = (floats16){0} + lo, most = (floats16){0} + hi;

    x = choose16(x < least, least, x);
    return choose16(x > most, most, x);
}

static ALWAYS_INLINE floats16 absolute16(floats16 x)
{
    return (floats16)((ints16)x & 0x7FFFFFFF);
}

/* What is not a number becomes lo. */
static ALWAYS_INLINE float clamp(float x, float lo, float hi)
{
    return !(x > lo) ? lo : x > hi ? hi : x;
}

/* Sum of the lanes in a fixed order. */
static ALWAYS_INLINE float sum16(floats16 x)
{
    float sum[8];

    for (int i = 0; i < 8; i++)
        sum[i] = x[i] + x[i + 8];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

/* As a block stores a scale. */
static inline float half(float x)
{
    return f16_to_f32(f32_to_f16(x));
}

/* The same, but what is not zero stays so. */
static inline float half_not_zero(float x)
{
    const float h = half(x);

    return h != 0 || x == 0 ? h : copysignf(0x1p-24f, x);
}

static inline void put_half(uint8_t *to, float x)
{
    const uint16_t h = f32_to_f16(x);

    to[0] = (uint8_t)(h & 255);
    to[1] = (uint8_t)(h >> 8);
}

/* The blocks of core/quant_write_k.c: 256 values each. */
void block_write_q4_k(const float *x, uint8_t *b);
void block_write_q6_k(const float *x, uint8_t *b);

#endif
