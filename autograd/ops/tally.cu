/* tally on the device: see tally.c */
#include "autograd/ops/kernel.cuh"

/* A block for an expert. */
template <class W>
static __global__ void count_choices(row_count rows, int64_t k, const W *chosen, const op_run *run, bool anew,
                                     W *counts)
{
    __shared__ W  sums[WARP_LANES];
    const int64_t n = rows.used() * k;
    W             sum = 0;

    if (!run->training)
        return;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        sum += chosen[i] == W(blockIdx.x) ? W(1) : W(0);
    sum = block_sum(sum, sums);
    if (threadIdx.x == 0)
        counts[blockIdx.x] = (anew ? W(0) : counts[blockIdx.x]) + sum;
}

template <class T> static void forward(const op_args *a)
{
    typedef wide<T> W;

    LAUNCH(count_choices<W>, (unsigned)a->in[0]->s.d[0], BLOCK, 0, op_count(a, a->in[1]), a->in[1]->s.d[1],
           op_values<W>(a->in[1]), op_run_there(a), a->attr->tally.anew, op_values<W>(a->in[0]));
}

template <class T> static void backward(const op_args *)
{
}

OP_CUDA(tally, 0)
