/* weight: a thread expands a block; compiled without contraction, so that the values are the format's */
#include "core/cuda/dialect.cuh"

#include "core/cuda/weight.h"
#include "core/quant_blocks.h"

#include <cmath>

enum { THREADS = 128 };

/* out[i] = x, in the type that is wanted: known at run time, so that each storage type is compiled once */
template <class X> static __device__ __forceinline__ void put(void *out, dtype wanted, int64_t i, X x)
{
    if (wanted == TYPE_BF16)
        static_cast<bf16 *>(out)[i] = __float2bfloat16((float)x);
    else if (wanted == TYPE_F32)
        static_cast<float *>(out)[i] = (float)x;
    else
        static_cast<double *>(out)[i] = (double)x;
}

/* One of the storage types: its block, and the function that expands it. */
template <dtype type> struct format;
#define FORMAT(NAME, name)                                                                                   \
    template <> struct format<TYPE_##NAME> {                                                                 \
        typedef float value;                                                                                 \
        enum { values = VALUES_##NAME, bytes = BYTES_##NAME };                                               \
        static __device__ __forceinline__ void expand(const uint8_t *b, float *out)                          \
        {                                                                                                    \
            block_##name(b, out);                                                                            \
        }                                                                                                    \
    };
REAL_TYPES_BELOW_F64(FORMAT)
template <> struct format<TYPE_F64> {
    typedef double value;
    enum { values = 1, bytes = 8 };
    static __device__ __forceinline__ void expand(const uint8_t *b, double *out)
    {
        memcpy(out, b, sizeof *out);
    }
};

/* A row of `blocks` blocks becomes a row of out; row n is row ids[n] of w, of `most` (ids NULL: row n). */
template <dtype type>
static __global__ void expand_rows(const uint8_t *w, int64_t most, int64_t blocks, const int32_t *ids,
                                   const int32_t *count, int64_t rows, void *out, dtype wanted)
{
    enum { values = format<type>::values };
    const int64_t used = count ? *count : rows, step = (int64_t)gridDim.x * blockDim.x;

    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < used * blocks; i += step) {
        const int64_t                n = i / blocks, row = ids ? ids[n] : n;
        const bool                   there = row >= 0 && row < most;
        typename format<type>::value v[values];
        if (there)
            format<type>::expand(w + (row * blocks + i % blocks) * format<type>::bytes, v);
        for (int k = 0; k < values; k++)
            put(out, wanted, i * values + k, there ? v[k] : NAN);
    }
}

template <dtype type>
static void run(const tensor *w, const int32_t *ids, const int32_t *count, int64_t rows, void *out, dtype wanted)
{
    const int64_t blocks = w->s.d[1] / format<type>::values, work = (rows * blocks + THREADS - 1) / THREADS;
    const int64_t most = (int64_t)cuda_processors() * 32;

    if (work > 0)
        LAUNCH(expand_rows<type>, (unsigned)(work < most ? work : most), THREADS, 0,
               static_cast<const uint8_t *>(w->v), w->s.d[0], blocks, ids, count, rows, out, wanted);
}

void cuda_weight_rows(const tensor *w, const int32_t *ids, const int32_t *count, int64_t rows, void *out,
                      dtype wanted)
{
    switch (w->type) {
#define CASE(NAME, name)                                                                           \
    case TYPE_##NAME: run<TYPE_##NAME>(w, ids, count, rows, out, wanted); break;
        REAL_TYPES(CASE)
    default: cuda_fail("expanding a weight: type %d holds no real numbers", (int)w->type);
    }
}

const void *cuda_weight(const tensor *w, dtype wanted)
{
    const size_t size = wanted == TYPE_F64 ? 8 : wanted == TYPE_BF16 ? 2 : 4;

    if (w->type == wanted)
        return w->v;
    void *out = cuda_scratch(SCRATCH_WEIGHT, (size_t)(w->s.d[0] * w->s.d[1]) * size);
    cuda_weight_rows(w, NULL, NULL, w->s.d[0], out, wanted);
    return out;
}
