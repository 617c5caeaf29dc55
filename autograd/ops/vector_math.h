/* vector_math: exp, tanh, sigmoid and the normal distribution without branches, so that loops over them become
 * vector code.
 *
 * f32: below 1 ulp for exp, below 3 ulp for tanh and sigmoid; f64 calls the C library. exp: x = n ln 2 + r
 * with |r| <= ln 2 / 2, a polynomial in r, then 2^n in two steps, so that results below the normal
 * range and infinity come out right. The coefficients interpolate at Chebyshev nodes. NaN stays NaN. */
#ifndef AUTOGRAD_OPS_VECTOR_MATH_H
#define AUTOGRAD_OPS_VECTOR_MATH_H

#include "autograd/op.h"

#include <math.h>

#ifdef REAL_IS_F64

static inline real real_exp(real x)
{
    return exp(x);
}

static inline real real_tanh(real x)
{
    return tanh(x);
}

/* Phi(x), the share of a normal distribution below x */
static inline real real_normal(real x)
{
    return 0.5 * erfc(-x * 0x1.6a09e667f3bcdp-1);
}

#else

/* a * b + c: fused where the instruction set has it */
#ifdef __FMA__
#define MUL_ADD(a, b, c) __builtin_fmaf(a, b, c)
#else
#define MUL_ADD(a, b, c) ((a) * (b) + (c))
#endif

static ALWAYS_INLINE float float_of_bits(uint32_t bits)
{
    union {
        uint32_t u;
        float    f;
    } x = {.u = bits};
    return x.f;
}

static ALWAYS_INLINE uint32_t bits_of_float(float f)
{
    union {
        float    f;
        uint32_t u;
    } x = {.f = f};
    return x.u;
}

static ALWAYS_INLINE real real_exp(real x)
{
    const float magic = 0x1.8p23f; /* adding it rounds to a whole number in the low bits */

    x = x < -104.0f ? -104.0f : x;
    x = x > 89.0f ? 89.0f : x;
    const float shifted = MUL_ADD(x, 0x1.715476p+0f, magic), n = shifted - magic;
    const float r = MUL_ADD(n, -0x1.7f7d1cp-20f, MUL_ADD(n, -0x1.62e4p-1f, x));
    float       p = 0x1.6d112cp-10f;
    p = MUL_ADD(p, r, 0x1.120b90p-7f);
    p = MUL_ADD(p, r, 0x1.55551ap-5f);
    p = MUL_ADD(p, r, 0x1.5554dcp-3f);
    p = MUL_ADD(p, r, 0.5f);
    p = MUL_ADD(p, r * r, r) + 1.0f;

    const uint32_t k = bits_of_float(shifted) - 0x4b400000u;  /* n, two's complement */
    const uint32_t half = ((k + 512u) >> 1) - 256u;           /* floor(n / 2) */
    return p * float_of_bits((half + 127u) << 23) * float_of_bits((k - half + 127u) << 23);
}

static ALWAYS_INLINE real real_tanh(real x)
{
    const float a = x < 0 ? -x : x, z = x * x;
    float       p = 0x1.2c83a8p-9f;

    p = MUL_ADD(p, z, -0x1.116a10p-7f);
    p = MUL_ADD(p, z, 0x1.64a976p-6f);
    p = MUL_ADD(p, z, -0x1.ba08c4p-5f);
    p = MUL_ADD(p, z, 0x1.1110eap-3f);
    p = MUL_ADD(p, z, -0x1.555556p-2f);
    const float small = MUL_ADD(p * z, x, x);
    const float large = 1.0f - 2.0f / (real_exp(2.0f * a) + 1.0f);
    return a < 0.625f ? small : x < 0 ? -large : large;
}

/* Phi(x), the share of a normal distribution below x. Phi(-a) exp(a^2/2) (1 + 0.8 a) is a polynomial in
 * (a - 3.5) / (a + 3.5) to 2^-26 of itself up to a = 16, where Phi(-a) is below the smallest number. */
static ALWAYS_INLINE real real_normal(real x)
{
    const float b = x < 0 ? -x : x, a = b > 16.0f ? 16.0f : b, u = (a - 3.5f) / (a + 3.5f);
    float       p = 0x1.ea339ep-14f;

    p = MUL_ADD(p, u, 0x1.bb3edcp-14f);
    p = MUL_ADD(p, u, -0x1.10562cp-10f);
    p = MUL_ADD(p, u, -0x1.74eb8ap-15f);
    p = MUL_ADD(p, u, 0x1.05b362p-7f);
    p = MUL_ADD(p, u, -0x1.4e2ce4p-6f);
    p = MUL_ADD(p, u, 0x1.28ba2ap-6f);
    p = MUL_ADD(p, u, 0x1.a6b8bap-6f);
    p = MUL_ADD(p, u, -0x1.d97d4ep-4f);
    p = MUL_ADD(p, u, 0x1.9dcf6ep-2f);
    const float tail = p / (1.0f + 0.8f * a) * real_exp(-0.5f * a * a);
    return x < 0 ? tail : 1.0f - tail;
}

#endif

/* 1 / (1 + exp(-x)) */
static ALWAYS_INLINE real real_sigmoid(real x)
{
    return 1 / (1 + real_exp(-x));
}

#endif
