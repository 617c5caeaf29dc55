/* step: a rule's kernel. A file optim/<name>.cu includes its rule and says OPTIM_CUDA(name), which makes
 * the function optim_<name>_cuda: one launch for all pieces of all spans. */
#ifndef OPTIM_STEP_CUH
#define OPTIM_STEP_CUH

#include "core/cuda/dialect.cuh"

#include "optim/flat_kernels.h"

#include <cstring>

enum { STEP_BLOCK = 256, STEP_PARTS = 4 }; /* blocks of a piece */

/* Blocks (x: piece, y: part): value i of a piece is thread i's, modulo the threads of its blocks. */
template <class RULE> static __global__ void step_pieces(flat_step a)
{
    const flat_piece   &k = a.pieces[blockIdx.x];
    const flat_factors &s = a.factors[k.span];
    const int           mode = s.mode, count = k.count;
    float              *p = a.p + k.at;
    const float        *g = a.g + k.at;
    float *const        slots[OPTIM_SLOTS] = {a.slot[0] + k.slot[0], a.slot[1] + k.slot[1],
                                              a.slot[2] + k.slot[2], a.slot[3] + k.slot[3]};
    typename RULE::factors f;

    if (mode < 0)
        return;
    static_assert(sizeof f <= sizeof s.f && OPTIM_SLOTS == 4, "factors or slots do not fit");
    memcpy(&f, s.f, sizeof f);
    for (int i = blockIdx.y * STEP_BLOCK + threadIdx.x; i < count; i += STEP_PARTS * STEP_BLOCK)
        RULE::value(f, mode, i, p, g, slots);
}

#define OPTIM_CUDA(name)                                                                           \
    struct name##_rule {                                                                           \
        typedef name##_factors factors;                                                            \
        static __device__ __forceinline__ void value(factors f, int mode, int64_t i, float *p,     \
                                                     const float *g, float *const s[])             \
        {                                                                                          \
            name##_value(f, mode, i, p, g, s);                                                     \
        }                                                                                          \
    };                                                                                             \
    extern "C" __attribute__((visibility("default"))) void optim_##name##_cuda(const flat_step *a) \
    {                                                                                              \
        cuda_begin_operation("step of " #name);                                                    \
        LAUNCH(step_pieces<name##_rule>, dim3((unsigned)a->n_pieces, STEP_PARTS), STEP_BLOCK, 0, *a); \
    }

#endif
