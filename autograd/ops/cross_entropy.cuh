/* cross_entropy: losses and their gradients from rows of logits, for cross_entropy and cross_entropy_head on
 * the device; a block for each row */
#ifndef AUTOGRAD_OPS_CROSS_ENTROPY_CUH
#define AUTOGRAD_OPS_CROSS_ENTROPY_CUH

#include "autograd/ops/kernel.cuh"

/* Rows in use: of the first input and of the targets. */
static inline row_count loss_count_of(const op_args *a, const tensor *x, const tensor *targets)
{
    return row_count{op_count_there(a, x), op_count_there(a, targets), 0, targets->s.d[0], 0};
}

static inline int64_t loss_rows(const tensor *x, const tensor *targets)
{
    const int64_t n = op_bound(x), m = op_bound(targets);

    return n < m ? n : m;
}

/* The loss of the block's row, from its V logits; *m: the largest, *s: log of the sum of exp(x - m), *rest: the
 * share of the words beside the target. All threads get them. Sums are in f64. */
template <class T>
static __device__ double row_loss(const T *x, int64_t V, int64_t target, wide<T> *m, wide<T> *s,
                                  wide<T> *rest, double *shared)
{
    double top = -INFINITY, others = 0;

    for (int64_t v = threadIdx.x; v < V; v += blockDim.x)
        top = (double)load(x + v) > top ? (double)load(x + v) : top;
    top = block_max(top, shared);
    for (int64_t v = threadIdx.x; v < V; v += blockDim.x)
        others += v == target ? 0 : (double)exp_of(load(x + v) - (wide<T>)top);
    others = block_sum(others, shared);
    const double own = (double)load(x + target), total = others + exp(own - top);
    *m = (wide<T>)top;
    *s = (wide<T>)log(total);
    *rest = (wide<T>)(others / total);
    return own == top ? log1p(others) : log(total) + (top - own);
}

/* *sum = sum of each[T] in f64; each past the rows in use becomes zero. One block. */
template <class W> static __global__ void sum_losses(row_count rows, W *each, W *sum)
{
    __shared__ double shared[WARP_LANES];
    const int64_t     n = rows.used();
    double            all = 0;

    for (int64_t t = threadIdx.x; t < rows.capacity; t += blockDim.x)
        if (t < n)
            all += (double)each[t];
        else
            each[t] = 0;
    all = block_sum(all, shared);
    if (threadIdx.x == 0)
        *sum = (W)all;
}

#endif
