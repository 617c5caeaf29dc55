/* matmul: the CPU's matrix product, packed in panels and dispatched by instruction set.
 *
 *     c[m, n] (+)= alpha * sum_k a[m, k] * b[k, n]  (+ bias[n])  (+ a thin product)
 *
 * Every element is summed over k in one fixed order by one thread, whatever m, the number of threads
 * or the place of the row: a row's result does not depend on how many rows there are.
 *
 * With `decode`, products of up to MATMUL_DECODE_ROWS rows with a weight [n, k] take a path that reads
 * the weight once and expands it in registers. It sums k in lanes: its bits are another path's bits, but
 * depend neither on m (up to that number) nor on threads. Other products take no notice of the wish. */
#ifndef CORE_CPU_MATMUL_H
#define CORE_CPU_MATMUL_H

#include "core/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MATMUL_DECODE_ROWS = 24 };

/* c += factor (a A^T) B^T, beside a product that takes the decode path, or, when that has no b, alone: c
 * then stays and gets no bias. All in f32. */
typedef struct matmul_low_rank {
    const float *a, *b; /* A [rank, k], B [n, rank] */
    int64_t      rank;
    double       factor;
    float       *h;     /* [m, rank], written */
} matmul_low_rank;

/* A second product of thin factors that is added while a tile of c is near: alpha a[m, k] b[k, n], all
 * f32, a not turned; b is [n, k] when turned. */
typedef struct matmul_thin {
    int64_t     k;
    const void *a;
    int64_t     lda;
    const void *b;
    int64_t     ldb;
    bool        b_turned;
    double      alpha;
} matmul_thin;

typedef struct matmul {
    int64_t     m, n, k;
    const void *a;       /* [m, k] with row stride lda, or [k, m] when a_turned; type_a f32 or bf16 */
    dtype       type_a;
    int64_t     lda;     /* in values */
    bool        a_turned;
    const void *b;       /* b_turned: [n, k], a weight [out, in]; else [k, n]. Any type; quantised */
    dtype       type_b;  /* rows are whole blocks and are expanded inside the panel */
    int64_t     ldb;     /* in values */
    bool        b_turned;
    void       *c;       /* [m, n], row stride ldc; type_c f32 or bf16 (rounded once, at the end) */
    dtype       type_c;
    int64_t     ldc;
    double      alpha;      /* 1 for a plain product */
    bool        accumulate; /* add to c, else overwrite */
    const float *bias;      /* [n] added once, or NULL */
    bool        decode;     /* few rows at memory speed, in another order of k; see above */
    const matmul_low_rank *low_rank; /* or NULL; not NULL only where matmul_decodes */
    const matmul_thin *thin; /* added too, or NULL; c must be f32 */
} matmul;

/* All threads. m, n or k may be 0 (k = 0 gives c = bias, or leaves an accumulated c as it is). */
void matmul_run(const matmul *p);

/* True when p takes the decode path: it is wished for, rows are few and f32, b is turned, c is f32. */
bool matmul_decodes(const matmul *p);

/* The same definition in f64 for gradient checks: a, b, c, bias are double, types are ignored. */
void matmul_run_f64(const matmul *p);

/* The instruction-set paths this build has and this CPU can run, best first: "avx512bf16", "avx512",
 * "avx2", "sse2"; elsewhere "generic". matmul_use(name) forces one (tests, CAMBIUM_ISA); NULL: the best. False
 * when the CPU or the build lacks it. */
const char *matmul_path(void);
int         matmul_paths(const char *names[8]);
bool        matmul_use(const char *name);

#ifdef __cplusplus
}
#endif
#endif
