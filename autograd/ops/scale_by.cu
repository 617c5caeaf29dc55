/* scale_by on the device: see scale_by.c */
#include "autograd/ops/kernel.cuh"

enum { SCALE_BLOCKS = 128 };

template <class T> static void forward(const op_args *a)
{
    const wide<T> *s = op_values<wide<T>>(a->in[1]);
    const T       *x = op_values<T>(a->in[0]);
    T             *y = op_values<T>(a->out[0]);

    over_values(a, a->out[0], [=] __device__(int64_t i) { store(y + i, *s * load(x + i)); });
}

/* Block b adds the products of the b-th of SCALE_BLOCKS equal parts. */
template <class T>
static __global__ void product_parts(row_count rows, int64_t row, const T *x, const T *dy, double *parts)
{
    __shared__ double shared[WARP_LANES];
    const int64_t     n = rows.used() * row, part = (n + SCALE_BLOCKS - 1) / SCALE_BLOCKS;
    const int64_t     from = blockIdx.x * part, to = from + part < n ? from + part : n;
    double            sum = 0;

    for (int64_t i = from + threadIdx.x; i < to; i += blockDim.x)
        sum += (double)load(x + i) * (double)load(dy + i);
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0)
        parts[blockIdx.x] = sum;
}

template <class W> static __global__ void join_products(const double *parts, W *ds)
{
    double sum = 0;

    for (int i = 0; i < SCALE_BLOCKS; i++)
        sum += parts[i];
    *ds += (W)sum;
}

template <class T> static void backward(const op_args *a)
{
    const T   *dy = op_values<T>(a->gout[0]);
    T         *dx = op_values<T>(a->gin[0]);
    const bool fresh = a->fresh[0];

    if (dx) {
        const wide<T> *s = op_values<wide<T>>(a->in[1]);
        over_values(a, a->gout[0], [=] __device__(int64_t i) { give(dx + i, *s * load(dy + i), fresh); });
    }
    if (a->gin[1]) {
        double *parts = static_cast<double *>(cuda_scratch(SCRATCH_OWN, SCALE_BLOCKS * sizeof(double)));
        LAUNCH(product_parts<T>, SCALE_BLOCKS, BLOCK, 0, op_count(a, a->gout[0]), op_row_values(a->gout[0]),
               op_values<T>(a->in[0]), dy, parts);
        LAUNCH(join_products<wide<T>>, 1, 1, 0, parts, op_values<wide<T>>(a->gin[1]));
    }
}

OP_CUDA(scale_by, IN0)
