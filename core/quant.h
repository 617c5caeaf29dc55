/* quant: storage-only types expanded to f32, exactly as their formats define it.
 *
 * Expansion is f32 arithmetic in the reference's order without fused multiply-add, so it is equal to
 * the definition bit for bit on every path. */
#ifndef CORE_QUANT_H
#define CORE_QUANT_H

#include "core/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out[n] = the n values that begin at a block border; `blocks` points to the first block. Handles
 * every type of core/types.def that holds real numbers (f32, bf16, f64, f16 and all block types);
 * n is a whole number of blocks. */
void quant_expand(dtype t, const void *blocks, int64_t n, float *out);

/* True when `t` holds real numbers, so that quant_expand takes it. */
bool quant_is_real(dtype t);

/* Scalar conversions: round to nearest even; NaN stays NaN. */
uint16_t f32_to_bf16(float x);
float    bf16_to_f32(uint16_t x);
uint16_t f32_to_f16(float x);
float    f16_to_f32(uint16_t x);

#ifdef __cplusplus
}
#endif
#endif
