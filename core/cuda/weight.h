/* weight: frozen matrices as the device's kernels want them.
 *
 * A weight of the products' own type is used where it lies. Another type, quantised ones among them, is
 * expanded into scratch right before the product; it is never kept as a second copy. */
#ifndef CORE_CUDA_WEIGHT_H
#define CORE_CUDA_WEIGHT_H

#include "core/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The values of w [rows, columns] as `wanted` (f32, bf16 or f64); valid until the next call that expands. */
const void *cuda_weight(const tensor *w, dtype wanted);

/* out[n, columns] = row ids[n] of w, for the first *count (NULL: all) of at most `rows` rows. A number that is
 * no row of w gives NaN. */
void cuda_weight_rows(const tensor *w, const int32_t *ids, const int32_t *count, int64_t rows, void *out,
                      dtype wanted);

#ifdef __cplusplus
}
#endif
#endif
