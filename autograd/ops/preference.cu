/* preference on the device: see preference.c */
#include "autograd/ops/total.cuh"

/* beta h and dloss/dh; a block for each pair */
template <class W>
static __global__ void pairs(row_count count, const W *each, const int32_t *offsets, const W *reference, double beta,
                             double smoothing, bool squared, bool by_token, W *margins, W *aux)
{
    __shared__ double shared[WARP_LANES];
    const int64_t     i = blockIdx.x;
    double            l[2];

    if (i >= count.used()) {
        if (threadIdx.x == 0)
            margins[i] = 0;
        return;
    }
    for (int k = 0; k < 2; k++) {
        const int32_t from = offsets[2 * i + k], to = offsets[2 * i + k + 1];
        double        sum = 0;
        for (int32_t t = from + (int32_t)threadIdx.x; t < to; t += (int32_t)blockDim.x)
            sum -= (double)each[t];
        sum = block_sum(sum, shared);
        l[k] = by_token ? sum / (to - from) : sum;
    }
    if (threadIdx.x > 0)
        return;
    const double h = l[0] - l[1] - (double)reference[i];
    margins[i] = (W)(beta * h);
    aux[i] = (W)(squared ? 2 * (h - 1 / (2 * beta)) : beta * (smoothing - 1 / (1 + exp(beta * h))));
}

static __device__ __forceinline__ double softplus(double x)
{
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

template <class T> static void forward(const op_args *a)
{
    typedef wide<T> W;
    const double    beta = a->attr->preference.beta, smoothing = a->attr->preference.smoothing;
    const bool      squared = a->attr->preference.squared;
    W              *margins = op_values<W>(a->out[1]), *aux = op_aux<T>(a);

    if (op_capacity(a->in[2]) == 0)
        return;
    LAUNCH(pairs<W>, (unsigned)op_capacity(a->in[2]), BLOCK, 0, op_count(a, a->in[2]), op_values<W>(a->in[0]),
           op_values_of<int32_t>(a->in[1]), op_values<W>(a->in[2]), beta, smoothing, squared,
           a->attr->preference.by_token, margins, aux);
    total(a, a->in[2], op_values<W>(a->out[0]), false, [=] __device__(int64_t i) -> double {
        const double x = (double)margins[i], far = (double)aux[i] / 2;
        return squared ? far * far : (1 - smoothing) * softplus(-x) + smoothing * softplus(x);
    });
}

/* A block for each sequence. */
template <class W>
static __global__ void spread(row_count count, const int32_t *offsets, double beta, bool by_token, const W *aux,
                              const W *dsum, const W *dmargins, W *deach)
{
    const int64_t s = blockIdx.x;

    if (s + 2 > count.used())
        return;
    const int32_t from = offsets[s], to = offsets[s + 1];
    double        g = dsum ? (double)*dsum * (double)aux[s / 2] : 0;
    g += dmargins ? beta * (double)dmargins[s / 2] : 0;
    g = (s % 2 ? g : -g) / (by_token ? to - from : 1);
    for (int32_t t = from + (int32_t)threadIdx.x; t < to; t += (int32_t)blockDim.x)
        deach[t] += (W)g;
}

template <class T> static void backward(const op_args *a)
{
    typedef wide<T> W;
    const int64_t   P = (op_capacity(a->in[1]) - 1) / 2;

    if (a->gin[0] && P > 0)
        LAUNCH(spread<W>, (unsigned)(2 * P), BLOCK, 0, op_count(a, a->in[1]), op_values_of<int32_t>(a->in[1]),
               a->attr->preference.beta, a->attr->preference.by_token, op_aux<T>(a), op_values<W>(a->gout[0]),
               op_values<W>(a->gout[1]), op_values<W>(a->gin[0]));
}

OP_CUDA(preference, 0)
