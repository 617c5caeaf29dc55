/* dora_gain on the device: see dora_gain.c */
#include "autograd/ops/kernel.cuh"

/* A block for a row. */
template <class W>
static __global__ void gains(int64_t C, int64_t R, W factor, const W *g, const W *w, const W *low, const W *high,
                             W *y, W *norms)
{
    __shared__ W  shared[WARP_LANES];
    const int64_t m = blockIdx.x;
    W             sum = 0;

    for (int64_t c = threadIdx.x; c < C; c += blockDim.x) {
        W x = w[m * C + c];
        for (int64_t r = 0; r < R; r++)
            x += factor * high[m * R + r] * low[r * C + c];
        sum += x * x;
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) {
        norms[m] = sqrt(sum);
        y[m] = g[m] / norms[m];
    }
}

template <class T> static void forward(const op_args *a)
{
    typedef wide<T> W;
    const int64_t   M = a->in[1]->s.d[0], C = a->in[1]->s.d[1];
    const W        *w = static_cast<const W *>(cuda_weight(a->in[1], dtype_of<W>::value));

    if (M > 0)
        LAUNCH(gains<W>, (unsigned)M, threads_for(C), 0, C, a->in[2]->s.d[0], (W)a->attr->lora.factor,
               op_values<W>(a->in[0]), w, op_values<W>(a->in[2]), op_values<W>(a->in[3]), op_values<W>(a->out[0]),
               op_aux<T>(a));
}

template <class T> static void backward(const op_args *a)
{
    const wide<T> *dy = op_values<wide<T>>(a->gout[0]), *norms = op_aux<T>(a);
    wide<T>       *dg = op_values<wide<T>>(a->gin[0]);
    const bool     fresh = a->fresh[0];

    if (dg)
        over_values(a, a->gout[0], [=] __device__(int64_t m) { give(dg + m, dy[m] / norms[m], fresh); });
}

OP_CUDA(dora_gain, IN0)
