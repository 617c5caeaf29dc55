/* cut on the device: see cut.c */
#include "autograd/ops/kernel.cuh"

template <class T> static void forward(const op_args *a)
{
    typedef wide<T> W;
    const W        *x = op_values<W>(a->in[0]), *k = op_values<W>(a->in[1]);
    W              *y = op_values<W>(a->out[0]);
    const int64_t   C = a->in[0]->s.d[1], N = a->out[0]->s.d[1];

    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const W v = x[i / N * C + i % N];
        y[i] = k ? v * k[i / N] : v;
    });
}

/* A block for a row. */
template <class W>
static __global__ void row_sums(int64_t C, int64_t N, const W *x, const W *dy, W *dk)
{
    __shared__ W  shared[WARP_LANES];
    const int64_t m = blockIdx.x;
    W             sum = 0;

    for (int64_t n = threadIdx.x; n < N; n += blockDim.x)
        sum += dy[m * N + n] * x[m * C + n];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0)
        dk[m] += sum;
}

template <class T> static void backward(const op_args *a)
{
    typedef wide<T> W;
    const W        *dy = op_values<W>(a->gout[0]);
    W              *dx = op_values<W>(a->gin[0]), *dk = op_values<W>(a->gin[1]);
    const int64_t   C = a->in[0]->s.d[1], M = a->gout[0]->s.d[0], N = a->gout[0]->s.d[1];

    if (dx) {
        const W *k = op_values<W>(a->in[1]);
        over_values(a, a->gout[0],
                    [=] __device__(int64_t i) { dx[i / N * C + i % N] += k ? dy[i] * k[i / N] : dy[i]; });
    }
    if (dk && M > 0)
        LAUNCH(row_sums<W>, (unsigned)M, threads_for(N), 0, C, N, op_values<W>(a->in[0]), dy, dk);
}

OP_CUDA(cut, 0)
