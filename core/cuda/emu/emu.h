/* emu: CUDA's language for g++, so that every .cu file runs and is tested on machines without a GPU.
 *
 * Only what the kernels of this project use, with the meaning that NVIDIA's programming guide gives it;
 * a kernel that needs more adds it here, with a test in tests/test_emu.cc. */
#ifndef CORE_CUDA_EMU_EMU_H
#define CORE_CUDA_EMU_EMU_H

#include "core/cuda/emu/fibers.h"

#include <cmath>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
/* blocks run one after another, so that a static is as good as a block's own memory; those of the whole
 * plug-in lie together, so that fibers.cc can fill them before each block */
#define __shared__ static __attribute__((section("emu_shared")))

#define threadIdx (emu::at.thread)
#define blockIdx (emu::at.block)
#define blockDim (emu::at.block_size)
#define gridDim (emu::at.grid_size)

/* ---- vectors ----------------------------------------------------------------------------------- */

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

static inline float2 make_float2(float x, float y)
{
    return float2{x, y};
}

/* ---- bf16 ---------------------------------------------------------------------------------------- */

struct __nv_bfloat16 {
    uint16_t bits;
};

static inline float __uint_as_float(unsigned u)
{
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

static inline unsigned __float_as_uint(float f)
{
    unsigned u;

    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float __bfloat162float(__nv_bfloat16 x)
{
    return __uint_as_float((unsigned)x.bits << 16);
}

static inline __nv_bfloat16 __float2bfloat16(float x)
{
    const unsigned u = __float_as_uint(x);

    if ((u & 0x7fffffffu) > 0x7f800000u)
        return __nv_bfloat16{0x7fff};
    return __nv_bfloat16{(uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16)};
}

/* ---- functions ------------------------------------------------------------------------------------ */

#define __syncthreads() ((void)emu::barrier(0, __FILE__, __LINE__))
#define __syncthreads_count(p) emu::barrier(!!(p), __FILE__, __LINE__)
#define __syncthreads_or(p) (emu::barrier(!!(p), __FILE__, __LINE__) != 0)

static inline void __syncwarp(unsigned mask = ~0u)
{
    emu::warp_barrier(mask);
}

namespace emu {

template <class T> T from_lane(unsigned mask, T value, int lane)
{
    static_assert(sizeof(T) <= sizeof(slot), "too large for a shuffle");
    slot s = {};

    memcpy(&s, &value, sizeof value);
    s = exchange(mask, s, lane);
    memcpy(&value, &s, sizeof value);
    return value;
}

} // namespace emu

template <class T> static inline T __shfl_xor_sync(unsigned mask, T value, int bits)
{
    return emu::from_lane(mask, value, (emu::at.number % 32) ^ bits);
}

template <class T> static inline T __shfl_sync(unsigned mask, T value, int lane)
{
    return emu::from_lane(mask, value, lane & 31);
}

template <class T> static inline T __shfl_up_sync(unsigned mask, T value, int by)
{
    const int lane = emu::at.number % 32;

    return emu::from_lane(mask, value, lane >= by ? lane - by : lane);
}

template <class T> static inline T __shfl_down_sync(unsigned mask, T value, int by)
{
    const int lane = emu::at.number % 32;

    return emu::from_lane(mask, value, lane + by < 32 ? lane + by : lane);
}

static inline unsigned __ballot_sync(unsigned mask, int vote)
{
    return emu::ballot(mask, vote != 0);
}

#endif
