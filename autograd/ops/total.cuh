/* total: one sum over all values in use, for sum and the gradient of a factor that all values share.
 *
 * The values are cut into TOTAL_PARTS equal parts, whose sums, in f64, are joined in their order. */
#ifndef AUTOGRAD_OPS_TOTAL_CUH
#define AUTOGRAD_OPS_TOTAL_CUH

#include "autograd/ops/kernel.cuh"

enum { TOTAL_PARTS = 128 };

/* Block b adds f of the values of the b-th part. */
template <class F> static __global__ void total_parts(row_count rows, int64_t row, double *parts, F f)
{
    __shared__ double shared[WARP_LANES];
    const int64_t     n = rows.used() * row, part = (n + TOTAL_PARTS - 1) / TOTAL_PARTS;
    const int64_t     from = blockIdx.x * part, to = from + part < n ? from + part : n;
    double            sum = 0;

    for (int64_t i = from + threadIdx.x; i < to; i += blockDim.x)
        sum += f(i);
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0)
        parts[blockIdx.x] = sum;
}

template <class W> static __global__ void join_total(const double *parts, W *y, bool add)
{
    double sum = 0;

    for (int i = 0; i < TOTAL_PARTS; i++)
        sum += parts[i];
    *y = add ? *y + (W)sum : (W)sum;
}

/* *y = the sum of f(i), a double, over the values in use of t; with `add` it is added. */
template <class W, class F> static void total(const op_args *a, const tensor *t, W *y, bool add, F f)
{
    double *parts = static_cast<double *>(cuda_scratch(SCRATCH_OWN, TOTAL_PARTS * sizeof(double)));

    LAUNCH(total_parts<F>, TOTAL_PARTS, BLOCK, 0, op_count(a, t), op_row_values(t), parts, f);
    LAUNCH(join_total<W>, 1, 1, 0, parts, y, add);
}

#endif
