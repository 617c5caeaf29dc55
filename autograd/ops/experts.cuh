/* experts: see experts.h, on the device */
#ifndef AUTOGRAD_OPS_EXPERTS_CUH
#define AUTOGRAD_OPS_EXPERTS_CUH

#include "autograd/ops/kernel.cuh"

#include "autograd/ops.h"

struct expert_table {
    const int32_t *v;

    __device__ __forceinline__ int64_t rank(int64_t e) const
    {
        return v[3 * e];
    }
    __device__ __forceinline__ int64_t low(int64_t e) const
    {
        return (int64_t)v[3 * e + 1] * EXPERT_STEP;
    }
    __device__ __forceinline__ int64_t high(int64_t e) const
    {
        return (int64_t)v[3 * e + 2] * EXPERT_STEP;
    }
};

#endif
