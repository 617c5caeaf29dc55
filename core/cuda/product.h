/* product: matrix products on the device through cuBLASLt, row by row as everywhere in this project.
 *
 *     c[m, n] = alpha op(a)[m, k] op(b)[k, n] (+ c) (+ bias[n])
 *
 * a is [m, k], or [k, m] when turned; b is [k, n], or [n, k] when turned, like a weight. Sums are f32 (f64
 * in f64); TF32 is never used. Which algorithm cuBLASLt takes is decided once a shape, and kept. */
#ifndef CORE_CUDA_PRODUCT_H
#define CORE_CUDA_PRODUCT_H

#include "core/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cuda_product {
    int64_t     m, n, k;
    const void *a;
    dtype       type; /* of a and b: f32, bf16, f64 */
    int64_t     lda;
    bool        a_turned;
    const void *b;
    int64_t     ldb;
    bool        b_turned;
    void       *c;
    dtype       type_c; /* f32 or `type` */
    int64_t     ldc;
    double      alpha;
    bool        accumulate;
    const void *bias; /* [n] of `type_c`, or NULL */
} cuda_product;

void cuda_multiply(const cuda_product *p);

#ifdef __cplusplus
}
#endif
#endif
