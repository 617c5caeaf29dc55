/* quant_write: f32 values into storage-only types, the other way of core/quant.h.
 *
 * Blocks are made so that quant_expand gives values near the given ones: the scales of a block are searched
 * for the smallest squared error (of q4_k and q6_k the weighted one: large values count more). Values that
 * some block of the type represents exactly come back exactly, so quantising twice is quantising once. The
 * result depends on the values alone. */
#ifndef CORE_QUANT_WRITE_H
#define CORE_QUANT_WRITE_H

#include "core/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* f32, f16, bf16, q8_0, q4_0, q4_1, q4_k and q6_k. */
bool quant_can_write(dtype t);

/* blocks[...] = n values, a whole number of blocks. They must be finite; one that is beyond the type (f16
 * ends at 65504, and so do the scales of a block) makes values that expand to infinity or NaN. */
void quant_write(dtype t, const float *v, int64_t n, void *blocks);

#ifdef __cplusplus
}
#endif
#endif
