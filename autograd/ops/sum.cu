/* sum on the device: see sum.c */
#include "autograd/ops/kernel.cuh"

enum { SUM_BLOCKS = 128 };

/* Block b adds the values of the b-th of SUM_BLOCKS equal parts. */
template <class T>
static __global__ void sum_parts(row_count rows, int64_t row, const T *x, double *parts)
{
    __shared__ double shared[WARP_LANES];
    const int64_t     n = rows.used() * row, part = (n + SUM_BLOCKS - 1) / SUM_BLOCKS;
    const int64_t     from = blockIdx.x * part, to = from + part < n ? from + part : n;
    double            sum = 0;

    for (int64_t i = from + threadIdx.x; i < to; i += blockDim.x)
        sum += (double)load(x + i);
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0)
        parts[blockIdx.x] = sum;
}

template <class W> static __global__ void join_parts(const double *parts, W *y)
{
    double sum = 0;

    for (int i = 0; i < SUM_BLOCKS; i++)
        sum += parts[i];
    *y = (W)sum;
}

template <class T> static void forward(const op_args *a)
{
    const tensor *x = a->in[0];
    double       *parts = static_cast<double *>(cuda_scratch(SCRATCH_OWN, SUM_BLOCKS * sizeof(double)));

    LAUNCH(sum_parts<T>, SUM_BLOCKS, BLOCK, 0, op_count(a, x), op_row_values(x),
           op_values<T>(x), parts);
    LAUNCH(join_parts<wide<T>>, 1, 1, 0, parts, op_values<wide<T>>(a->out[0]));
}

template <class T> static void backward(const op_args *a)
{
    const wide<T> *dy = op_values<wide<T>>(a->gout[0]);
    T             *dx = op_values<T>(a->gin[0]);

    if (dx)
        over_values(a, a->in[0], [=] __device__(int64_t i) { add_to(dx + i, *dy); });
}

OP_CUDA(sum, 0)
