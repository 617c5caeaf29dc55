/* quant: scalar conversions and the expansion of storage-only types
 *
 * A block function expands one block; every product is rounded before the sum that follows it (the
 * library is compiled without contraction). Half bytes: where a format keeps two 4-bit values in a
 * byte, value i lies in the low and value i + (half the group) in the high half. */
#include "core/quant.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include <string.h>

static uint32_t bits_of(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float x;

    memcpy(&x, &u, sizeof x);
    return x;
}

uint16_t f32_to_bf16(float x)
{
    const uint32_t u = bits_of(x);

    if ((u & 0x7FFFFFFFu) > 0x7F800000u)
        return (uint16_t)(u >> 16 | 0x40); /* quiet NaN; rounding could carry it into infinity */
    return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1)) >> 16);
}

float bf16_to_f32(uint16_t x)
{
    return float_of((uint32_t)x << 16);
}

uint16_t f32_to_f16(float x)
{
    const uint32_t u = bits_of(x), sign = u >> 16 & 0x8000u, magnitude = u & 0x7FFFFFFFu;

    if (magnitude > 0x7F800000u)
        return (uint16_t)(sign | 0x7E00u | (magnitude >> 13 & 0x3FFu));
    if (magnitude >= 0x47800000u) /* 65536 and more; 65520..65536 rounds up into infinity below */
        return (uint16_t)(sign | 0x7C00u);
    if (magnitude >= 0x38800000u) { /* normal: 2^-14 and more */
        const uint32_t r = magnitude - 0x38000000u;
        return (uint16_t)(sign | (r + 0xFFFu + (r >> 13 & 1)) >> 13);
    }
    if (magnitude < 0x33000000u) /* below half of the smallest subnormal, 2^-25 */
        return (uint16_t)sign;

    const uint32_t shift = 126 - (magnitude >> 23), mantissa = (magnitude & 0x7FFFFFu) | 0x800000u;
    const uint32_t half = 1u << (shift - 1), whole = mantissa >> shift;
    return (uint16_t)(sign | (whole + ((mantissa & (2 * half - 1)) + (whole & 1) > half)));
}

/* Subnormals go through an integer product, so that it holds where subnormal floats are flushed. */
float f16_to_f32(uint16_t x)
{
    const uint32_t sign = (uint32_t)(x & 0x8000u) << 16, m = x & 0x7FFFu;
    const uint32_t quiet = m > 0x7C00u ? 0x400000u : 0; /* as the processors' instruction has it */
    const uint32_t normal = m < 0x7C00u ? (m << 13) + 0x38000000u : m << 13 | 0x7F800000u | quiet;

    return float_of(sign | (m < 0x400u ? bits_of((float)m * 0x1p-24f) : normal));
}

static ALWAYS_INLINE uint16_t u16_at(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static ALWAYS_INLINE float half_at(const uint8_t *p)
{
#if defined(__F16C__)
    return _cvtsh_ss(u16_at(p));
#else
    return f16_to_f32(u16_at(p));
#endif
}

/* Plain types, as blocks of one value. */
static ALWAYS_INLINE void block_f32(const uint8_t *b, float *out)
{
    memcpy(out, b, 4);
}

static ALWAYS_INLINE void block_f64(const uint8_t *b, float *out)
{
    double v;

    memcpy(&v, b, 8);
    *out = (float)v;
}

static ALWAYS_INLINE void block_bf16(const uint8_t *b, float *out)
{
    *out = bf16_to_f32(u16_at(b));
}

static ALWAYS_INLINE void block_f16(const uint8_t *b, float *out)
{
    *out = half_at(b);
}

typedef VECTOR(uint8_t, 16) bytes16;
typedef VECTOR(int32_t, 64) ints16;
typedef VECTOR(float, 64) floats16;

/* The low and the high halves of 16 bytes as numbers. */
static ALWAYS_INLINE void half_bytes(const uint8_t *q, floats16 *low, floats16 *high)
{
    bytes16 v;

    memcpy(&v, q, sizeof v);
    *low = __builtin_convertvector(__builtin_convertvector(v & 15, ints16), floats16);
    *high = __builtin_convertvector(__builtin_convertvector(v >> 4, ints16), floats16);
}

/* q4_0: d, 16 bytes; (q - 8) * d */
static ALWAYS_INLINE void block_q4_0(const uint8_t *b, float *out)
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
static ALWAYS_INLINE void block_q4_1(const uint8_t *b, float *out)
{
    const float d = half_at(b), m = half_at(b + 2);
    floats16    low, high;

    half_bytes(b + 4, &low, &high);
    low = low * d + m;
    high = high * d + m;
    memcpy(out, &low, sizeof low);
    memcpy(out + 16, &high, sizeof high);
}

static ALWAYS_INLINE uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* q5_0: d, 32 fifth bits, 16 bytes; (q - 16) * d */
static ALWAYS_INLINE void block_q5_0(const uint8_t *b, float *out)
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
static ALWAYS_INLINE void block_q5_1(const uint8_t *b, float *out)
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
static ALWAYS_INLINE void block_q8_0(const uint8_t *b, float *out)
{
    const float d = half_at(b);

    for (int i = 0; i < 32; i++)
        out[i] = (float)(int8_t)b[2 + i] * d;
}

/* q2_k: 16 bytes (scale, minimum) of 4 bits, 64 bytes of 2-bit values, d, dmin; groups of 16:
 * (d * scale) * q - (dmin * minimum). 32 bytes hold four runs of 32 values, one a bit pair. */
static ALWAYS_INLINE void block_q2_k(const uint8_t *b, float *out)
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
static ALWAYS_INLINE void block_q3_k(const uint8_t *b, float *out)
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
static ALWAYS_INLINE void scale_min(const uint8_t *s, int g, float *scale, float *min)
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
static ALWAYS_INLINE void block_q4_k(const uint8_t *b, float *out)
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
static ALWAYS_INLINE void block_q5_k(const uint8_t *b, float *out)
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
static ALWAYS_INLINE void block_q6_k(const uint8_t *b, float *out)
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

static const float iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};

/* 32 values from 16 bytes through a table of 16, times d */
static ALWAYS_INLINE void table_32(const float table[16], const uint8_t *q, float d, float *out)
{
    for (int i = 0; i < 16; i++) {
        out[i] = d * table[q[i] & 15];
        out[i + 16] = d * table[q[i] >> 4];
    }
}

/* iq4_nl: d, 16 bytes */
static ALWAYS_INLINE void block_iq4_nl(const uint8_t *b, float *out)
{
    table_32(iq4_values, b + 2, half_at(b), out);
}

/* iq4_xs: d, high 2 bits and low 4 bits of 8 scales, 128 bytes; groups of 32: d * (scale - 32) */
static ALWAYS_INLINE void block_iq4_xs(const uint8_t *b, float *out)
{
    const float d = half_at(b);
    const int   high = u16_at(b + 2);

    for (int g = 0; g < 8; g++) {
        const int scale = (b[4 + g / 2] >> (g % 2 * 4) & 15) | (high >> (2 * g) & 3) << 4;
        table_32(iq4_values, b + 8 + 16 * g, d * (float)(scale - 32), out + 32 * g);
    }
}

/* mxfp4: a power of two 2^(e - 128), 16 bytes of twice the 4-bit floats (OCP Microscaling v1.0) */
static ALWAYS_INLINE void block_mxfp4(const uint8_t *b, float *out)
{
    static const float twice[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    const uint32_t     e = b[0];
    const uint32_t     half = e < 2 ? 0x00200000u << e : (e - 1) << 23;

    table_32(twice, b + 1, float_of(half), out);
}

#define REAL_TYPES(X)                                                                              \
    X(F32, f32)                                                                                    \
    X(BF16, bf16)                                                                                  \
    X(F64, f64)                                                                                    \
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

#define EXPAND(NAME, name)                                                                         \
    static void expand_##name(const uint8_t *RESTRICT b, int64_t blocks, float *RESTRICT out)      \
    {                                                                                              \
        for (int64_t i = 0; i < blocks; i++)                                                       \
            block_##name(b + i * BYTES_##NAME, out + i * VALUES_##NAME);                           \
    }
REAL_TYPES(EXPAND)

static void (*const expanders[TYPE_COUNT])(const uint8_t *b, int64_t blocks, float *out) = {
#define ROW(NAME, name) [TYPE_##NAME] = expand_##name,
    REAL_TYPES(ROW)};

bool quant_is_real(dtype t)
{
    return t < TYPE_COUNT && expanders[t] != NULL;
}

void quant_expand(dtype t, const void *blocks, int64_t n, float *out)
{
    CHECK(quant_is_real(t));
    CHECK(n >= 0 && n % dtype_block(t) == 0);
    expanders[t](blocks, n / dtype_block(t), out);
}
