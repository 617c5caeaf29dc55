/* dialect: what every .cu file includes: CUDA as nvcc has it, or as core/cuda/emu has it for g++.
 *
 *     LAUNCH(kernel, grid, block, shared_bytes, arguments ...)   on the stream of the program
 *     DYNAMIC_SHARED(float, tile);                               the block's `shared_bytes`
 *
 * PTX goes through functions of core/cuda/mma.cuh, which have an emulated twin. A kernel never allocates,
 * never prints and adds in a fixed order: no floating-point atomics. */
#ifndef CORE_CUDA_DIALECT_CUH
#define CORE_CUDA_DIALECT_CUH

#include "core/cuda/runtime.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>

#define DYNAMIC_SHARED(type, name)                                                                 \
    extern __shared__ __align__(128) unsigned char dynamic_shared_bytes[];                         \
    type *name = reinterpret_cast<type *>(dynamic_shared_bytes)
#define LAUNCH(kernel, grid, block, shared, ...)                                                   \
    do {                                                                                           \
        if (cuda_begin_launch(#kernel)) {                                                          \
            if ((shared) > 48 << 10)                                                               \
                cuda_allow_shared((const void *)(kernel), (shared));                               \
            (kernel)<<<(grid), (block), (shared), cuda_stream()>>>(__VA_ARGS__);                   \
            cuda_end_launch();                                                                     \
        }                                                                                          \
    } while (0)
#else
#include "core/cuda/emu/emu.h"

#define DYNAMIC_SHARED(type, name) type *name = reinterpret_cast<type *>(emu::dynamic_shared)
#define LAUNCH(kernel, grid, block, shared, ...)                                                   \
    do {                                                                                           \
        if (cuda_begin_launch(#kernel)) {                                                          \
            emu::launch(#kernel, (grid), (block), (shared), kernel, __VA_ARGS__);                  \
            cuda_end_launch();                                                                     \
        }                                                                                          \
    } while (0)

namespace emu {
/* The stand-in of the runtime: runs body now, or puts it into the graph that is being captured. */
void submit(const char *name, dim3 grid, dim3 block, size_t shared, std::function<void()> body);

template <class... P, class... A>
void launch(const char *name, dim3 grid, dim3 block, size_t shared, void (*kernel)(P...), A... arguments)
{
    submit(name, grid, block, shared, [=] { kernel(arguments...); });
}
} // namespace emu
#endif

typedef __nv_bfloat16 bf16;

enum { WARP_LANES = 32 };

/* ---- values in memory, computed with as float or double ------------------------------------------------ */

static __device__ __forceinline__ float load(const float *p)
{
    return *p;
}

static __device__ __forceinline__ double load(const double *p)
{
    return *p;
}

static __device__ __forceinline__ float load(const bf16 *p)
{
    return __bfloat162float(*p);
}

static __device__ __forceinline__ void store(float *p, float x)
{
    *p = x;
}

static __device__ __forceinline__ void store(double *p, double x)
{
    *p = x;
}

static __device__ __forceinline__ void store(bf16 *p, float x)
{
    *p = __float2bfloat16(x);
}

#endif
