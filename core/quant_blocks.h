/* quant_blocks: what a block of each storage-only type means, for the CPU and for CUDA.
 *
 * A block function expands one block; every product is rounded before the sum that follows it (whoever
 * includes this is compiled without contraction). Half bytes: where a format keeps two 4-bit values in a
 * byte, value i lies in the low and value i + (half the group) in the high half. */
#ifndef CORE_QUANT_BLOCKS_H
#define CORE_QUANT_BLOCKS_H

#include "core/compiler.h"

#include <stdint.h>
#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#ifdef __CUDACC__
#define QUANT_FN static __device__ __forceinline__
#else
#define QUANT_FN static ALWAYS_INLINE UNUSED
#endif

QUANT_FN uint32_t bits_of(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    return u;
}

QUANT_FN float float_of(uint32_t u)
{
    float x;

    memcpy(&x, &u, sizeof x);
    return x;
}

/* f16; subnormals go through an integer product, so that it holds where subnormal floats are flushed. */
QUANT_FN float half_value(uint16_t x)
{
    const uint32_t sign = (uint32_t)(x & 0x8000u) << 16, m = x & 0x7FFFu;
    const uint32_t quiet = m > 0x7C00u ? 0x400000u : 0; /* as the processors' instruction has it */
    const uint32_t normal = m < 0x7C00u ? (m << 13) + 0x38000000u : m << 13 | 0x7F800000u | quiet;

    return float_of(sign | (m < 0x400u ? bits_of((float)m * 0x1p-24f) : normal));
}

QUANT_FN uint16_t u16_at(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

QUANT_FN float half_at(const uint8_t *p)
{
#if defined(__F16C__)
    return _cvtsh_ss(u16_at(p));
#else
    return half_value(u16_at(p));
#endif
}

/* Plain types, as blocks of one value. */
QUANT_FN void block_f32(const uint8_t *b, float *out)
{
    memcpy(out, b, 4);
}

QUANT_FN void block_f64(const uint8_t *b, float *out)
{
    double v;

    memcpy(&v, b, 8);
    *out = (float)v;
}

QUANT_FN void block_bf16(const uint8_t *b, float *out)
{
    *out = float_of((uint32_t)u16_at(b) << 16);
}

QUANT_FN void block_f16(const uint8_t *b, float *out)
{
    *out = half_at(b);
}

#ifdef __CUDACC__

/* q4_0: d, 16 bytes; (q - 8) * d */
QUANT_FN void block_q4_0(const uint8_t *b, float *out)
{
    const float d = half_at(b);

    for (int i = 0; i < 16; i++) {
        out[i] = (float)((b[2 + i] & 15) - 8) * d;
        out[i + 16] = (float)((b[2 + i] >> 4) - 8) * d;
    }
}

/* q4_1: d, m, 16 bytes; q * d + m */
QUANT_FN void block_q4_1(const uint8_t *b, float *out)
{
    const float d = half_at(b), m = half_at(b + 2);

    for (int i = 0; i < 16; i++) {
        out[i] = (float)(b[4 + i] & 15) * d + m;
        out[i + 16] = (float)(b[4 + i] >> 4) * d + m;
    }
}

#else

typedef VECTOR(uint8_t, 16) bytes16;
typedef VECTOR(int32_t, 64) ints16;
typedef VECTOR(float, 64) floats16;

/* The low and the high halves of 16 bytes as numbers. */
QUANT_FN void half_bytes(const uint8_t *q, floats16 *low, floats16 *high)
{
    bytes16 v;

    memcpy(&v, q, sizeof v);
    *low = __builtin_convertvector(__builtin_convertvector(v & 15, ints16), floats16);
    *high = __builtin_convertvector(__builtin_convertvector(v >> 4, ints16), floats16);
}

/* q4_0: d, 16 bytes; (q - 8) * d */
QUANT_FN void block_q4_0(const uint8_t *b, float *out)
{
    const float d = half_at(b);
    floats16    low, high;

    half_bytes(b + 2, &low, &high);
    low = (low - 8) * d;
    high = (high - 8) * d;
    memcpy(out, &low, sizeof low);
    memcpy(out + 16, &high, sizeof high);
}

/* q4_1: d, m, 16 bytes; q * d + m */
QUANT_FN void block_q4_1(const uint8_t *b, float *out)
{
    const float d = half_at(b), m = half_at(b + 2);
    floats16    low, high;

    half_bytes(b + 4, &low, &high);
    low = low * d + m;
    high = high * d + m;
    memcpy(out, &low, sizeof low);
    memcpy(out + 16, &high, sizeof high);
}

#endif

QUANT_FN uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* q5_0: d, 32 fifth bits, 16 bytes; (q - 16) * d */
QUANT_FN void block_q5_0(const uint8_t *b, float *out)
{
    const float    d = half_at(b);
    const uint32_t high = u32_at(b + 2);

    for (int i = 0; i < 16; i++) {
        const int low = b[6 + i] & 15, top = b[6 + i] >> 4;
        out[i] = (float)((low | (int)(high >> i & 1) << 4) - 16) * d;
        out[i + 16] = (float)((top | (int)(high >> (i + 16) & 1) << 4) - 16) * d;
    }
}

/* q5_1: d, m, 32 fifth bits, 16 bytes; q * d + m */
QUANT_FN void block_q5_1(const uint8_t *b, float *out)
{
    const float    d = half_at(b), m = half_at(b + 2);
    const uint32_t high = u32_at(b + 4);

    for (int i = 0; i < 16; i++) {
        const int low = b[8 + i] & 15, top = b[8 + i] >> 4;
        out[i] = (float)(low | (int)(high >> i & 1) << 4) * d + m;
        out[i + 16] = (float)(top | (int)(high >> (i + 16) & 1) << 4) * d + m;
    }
}

/* q8_0: d, 32 signed bytes; q * d */
QUANT_FN void block_q8_0(const uint8_t *b, float *out)
{
    const float d = half_at(b);

    for (int i = 0; i < 32; i++)
        out[i] = (float)(int8_t)b[2 + i] * d;
}

/* q2_k: 16 bytes (scale, minimum) of 4 bits, 64 bytes of 2-bit values, d, dmin; groups of 16:
 * (d * scale) * q - (dmin * minimum). 32 bytes hold four runs of 32 values, one a bit pair. */
QUANT_FN void block_q2_k(const uint8_t *b, float *out)
{
    const float d = half_at(b + 80), dmin = half_at(b + 82);

    for (int g = 0; g < 16; g++) {
        const float    dl = d * (float)(b[g] & 15), ml = dmin * (float)(b[g] >> 4);
        const uint8_t *q = b + 16 + g / 8 * 32 + g % 2 * 16;
        const int      shift = g / 2 % 4 * 2;
        for (int i = 0; i < 16; i++)
            out[16 * g + i] = dl * (float)(q[i] >> shift & 3) - ml;
    }
}

/* q3_k: 32 bytes of third bits, 64 bytes of 2-bit values, 16 scales of 6 bits, d; groups of 16:
 * (d * (scale - 32)) * (q - 4), where a set third bit adds the 4 back. */
QUANT_FN void block_q3_k(const uint8_t *b, float *out)
{
    const uint8_t *scales = b + 96;
    const float    d = half_at(b + 108);

    for (int g = 0; g < 16; g++) {
        const int      low = scales[g % 8] >> (g / 8 * 4) & 15;
        const int      top = scales[8 + g % 4] >> (g / 4 * 2) & 3;
        const float    dl = d * (float)((low | top << 4) - 32);
        const uint8_t *q = b + 32 + g / 8 * 32 + g % 2 * 16, *high = b + g % 2 * 16;
        const int      shift = g / 2 % 4 * 2, bit = g / 2;
        for (int i = 0; i < 16; i++)
            out[16 * g + i] = dl * (float)((q[i] >> shift & 3) - (high[i] >> bit & 1 ? 0 : 4));
    }
}

/* The 6-bit scale and minimum of group g of 8, out of 12 bytes (q4_k, q5_k). */
QUANT_FN void scale_min(const uint8_t *s, int g, float *scale, float *min)
{
    if (g < 4) {
        *scale = (float)(s[g] & 63);
        *min = (float)(s[g + 4] & 63);
    } else {
        *scale = (float)((s[g + 4] & 15) | (s[g - 4] >> 6) << 4);
        *min = (float)((s[g + 4] >> 4) | (s[g] >> 6) << 4);
    }
}

/* q4_k: d, dmin, 12 bytes of scales, 128 bytes; groups of 32: (d * scale) * q - (dmin * minimum) */
QUANT_FN void block_q4_k(const uint8_t *b, float *out)
{
    const float d = half_at(b), dmin = half_at(b + 2);

    for (int g = 0; g < 8; g++) {
        const uint8_t *q = b + 16 + g / 2 * 32;
        const int      shift = g % 2 * 4;
        float          scale, min;

        scale_min(b + 4, g, &scale, &min);
        const float dl = d * scale, ml = dmin * min;
        for (int i = 0; i < 32; i++)
            out[32 * g + i] = dl * (float)(q[i] >> shift & 15) - ml;
    }
}

/* q5_k: as q4_k, with 32 bytes of fifth bits (bit g for group g) before the 128 bytes */
QUANT_FN void block_q5_k(const uint8_t *b, float *out)
{
    const float    d = half_at(b), dmin = half_at(b + 2);
    const uint8_t *high = b + 16;

    for (int g = 0; g < 8; g++) {
        const uint8_t *q = b + 48 + g / 2 * 32;
        const int      shift = g % 2 * 4;
        float          scale, min;

        scale_min(b + 4, g, &scale, &min);
        const float dl = d * scale, ml = dmin * min;
        for (int i = 0; i < 32; i++)
            out[32 * g + i] = dl * (float)((q[i] >> shift & 15) | (high[i] >> g & 1) << 4) - ml;
    }
}

/* q6_k: 128 bytes of low 4 bits, 64 bytes of high 2 bits, 16 signed scales, d; groups of 16:
 * (d * scale) * (q - 32) */
QUANT_FN void block_q6_k(const uint8_t *b, float *out)
{
    const uint8_t *scales = b + 192;
    const float    d = half_at(b + 208);

    for (int g = 0; g < 16; g++) {
        const float    dl = d * (float)(int8_t)scales[g];
        const uint8_t *low = b + g / 8 * 64 + g % 4 * 16, *high = b + 128 + g / 8 * 32 + g % 2 * 16;
        const int      low_shift = g / 4 % 2 * 4, high_shift = g / 2 % 4 * 2;
        for (int i = 0; i < 16; i++) {
            const int q = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
            out[16 * g + i] = dl * (float)(q - 32);
        }
    }
}

/* The 16 values of iq4_nl and iq4_xs. */
QUANT_FN const float *iq4_values(void)
{
    static const float values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};

    return values;
}

/* 32 values from 16 bytes through a table of 16, times d */
QUANT_FN void table_32(const float *table, const uint8_t *q, float d, float *out)
{
    for (int i = 0; i < 16; i++) {
        out[i] = d * table[q[i] & 15];
        out[i + 16] = d * table[q[i] >> 4];
    }
}

/* iq4_nl: d, 16 bytes */
QUANT_FN void block_iq4_nl(const uint8_t *b, float *out)
{
    table_32(iq4_values(), b + 2, half_at(b), out);
}

/* iq4_xs: d, high 2 bits and low 4 bits of 8 scales, 128 bytes; groups of 32: d * (scale - 32) */
QUANT_FN void block_iq4_xs(const uint8_t *b, float *out)
{
    const float d = half_at(b);
    const int   high = u16_at(b + 2);

    for (int g = 0; g < 8; g++) {
        const int scale = (b[4 + g / 2] >> (g % 2 * 4) & 15) | (high >> (2 * g) & 3) << 4;
        table_32(iq4_values(), b + 8 + 16 * g, d * (float)(scale - 32), out + 32 * g);
    }
}

/* mxfp4: a power of two 2^(e - 128), 16 bytes of twice the 4-bit floats (OCP Microscaling v1.0) */
QUANT_FN void block_mxfp4(const uint8_t *b, float *out)
{
    static const float twice[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    const uint32_t     e = b[0];
    const uint32_t     half = e < 2 ? 0x00200000u << e : (e - 1) << 23;

    table_32(twice, b + 1, float_of(half), out);
}

/* X(TYPE, name of its block function) for every type that holds real numbers; f64 apart */
#define REAL_TYPES(X)                                                                              \
    REAL_TYPES_BELOW_F64(X)                                                                        \
    X(F64, f64)
#define REAL_TYPES_BELOW_F64(X)                                                                    \
    X(F32, f32)                                                                                    \
    X(BF16, bf16)                                                                                  \
    X(F16, f16)                                                                                    \
    X(Q4_0, q4_0)                                                                                  \
    X(Q4_1, q4_1)                                                                                  \
    X(Q5_0, q5_0)                                                                                  \
    X(Q5_1, q5_1)                                                                                  \
    X(Q8_0, q8_0)                                                                                  \
    X(Q2_K, q2_k)                                                                                  \
    X(Q3_K, q3_k)                                                                                  \
    X(Q4_K, q4_k)                                                                                  \
    X(Q5_K, q5_k)                                                                                  \
    X(Q6_K, q6_k)                                                                                  \
    X(IQ4_NL, iq4_nl)                                                                              \
    X(IQ4_XS, iq4_xs)                                                                              \
    X(MXFP4, mxfp4)

/* Block and byte sizes of core/types.def, as constants the loops are compiled with. */
enum {
#define TYPE(name, block, bytes, text) VALUES_##name = block, BYTES_##name = bytes,
#include "core/types.def"
#undef TYPE
};


#endif
