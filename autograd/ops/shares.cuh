/* shares: sums over rows that were cut into shares are joined in the shares' order */
#ifndef AUTOGRAD_OPS_SHARES_CUH
#define AUTOGRAD_OPS_SHARES_CUH

#include "autograd/ops/kernel.cuh"

/* sum[i] += alpha times the sum of parts[share, i] over the shares */
template <class W>
static __global__ void join_shares(const W *parts, int shares, int64_t values, W alpha, W *sum)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    W             all = 0;

    if (i >= values)
        return;
    for (int s = 0; s < shares; s++)
        all += parts[s * values + i];
    sum[i] += alpha * all;
}

#endif
