/* safetensors: values of the format's narrow types in wider ones
 *
 * The 8-bit floats are those of "FP8 formats for deep learning" (Micikevicius et al. 2022): E4M3 has no
 * infinity and one NaN a sign, E5M2 is f16 cut short. All their values are bf16 values. */
#include "core/quant.h"
#include "core/safetensors.h"

#include <math.h>
#include <string.h>

static float value_e4m3(uint8_t b)
{
    const int   e = b >> 3 & 15, m = b & 7;
    const float size = e == 15 && m == 7 ? NAN
                       : e == 0          ? ldexpf((float)m, -9)
                                         : ldexpf((float)(8 + m), e - 10);

    return b & 0x80 ? -size : size;
}

static float value_e5m2(uint8_t b)
{
    return f16_to_f32((uint16_t)(b << 8));
}

static status widen_floats(arena *a, const safetensors_entry *e, float (*value)(uint8_t b), tensor *out)
{
    const uint8_t *from = e->v;
    uint16_t       table[256], *to;

    for (int i = 0; i < 256; i++)
        table[i] = f32_to_bf16(value((uint8_t)i));
    TRY_TAKE(to, a, e->bytes);
    for (size_t i = 0; i < e->bytes; i++)
        to[i] = table[from[i]];
    *out = (tensor){.s = e->t.s, .type = TYPE_BF16, .v = to};
    return STATUS_OK;
}

static status widen_integers(arena *a, const safetensors_entry *e, size_t bytes, tensor *out)
{
    const size_t n = e->bytes / bytes;
    int32_t     *to;

    TRY_TAKE(to, a, n);
    for (size_t i = 0; i < n; i++) {
        int16_t wide;
        if (bytes == 2)
            memcpy(&wide, (const uint8_t *)e->v + 2 * i, 2);
        else
            wide = ((const int8_t *)e->v)[i];
        to[i] = wide;
    }
    *out = (tensor){.s = e->t.s, .type = TYPE_I32, .v = to};
    return STATUS_OK;
}

static status widen_bools(const safetensors_entry *e, tensor *out)
{
    const uint8_t *v = e->v;

    for (size_t i = 0; i < e->bytes; i++)
        if (v[i] > 1)
            return fail(STATUS_FORMAT, "tensor %.200s: value %zu is %d, a BOOL must be 0 or 1", e->name, i,
                        v[i]);
    *out = (tensor){.s = e->t.s, .type = TYPE_U8, .v = (void *)(uintptr_t)e->v};
    return STATUS_OK;
}

status safetensors_widen(arena *a, const safetensors_entry *e, tensor *out, bool *widened)
{
    *widened = e->opaque && !e->many_sizes;
    if (*widened && strcmp(e->type_name, "F8_E4M3") == 0)
        return widen_floats(a, e, value_e4m3, out);
    if (*widened && strcmp(e->type_name, "F8_E5M2") == 0)
        return widen_floats(a, e, value_e5m2, out);
    if (*widened && strcmp(e->type_name, "I8") == 0)
        return widen_integers(a, e, 1, out);
    if (*widened && strcmp(e->type_name, "I16") == 0)
        return widen_integers(a, e, 2, out);
    if (*widened && strcmp(e->type_name, "BOOL") == 0)
        return widen_bools(e, out);
    *widened = false;
    return STATUS_OK;
}
