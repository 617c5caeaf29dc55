/* quant: scalar conversions and the expansion of storage-only types */
#include "core/quant.h"

#include "core/quant_blocks.h"

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

float f16_to_f32(uint16_t x)
{
    return half_value(x);
}

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
