/* route on the device: see route.c */
#include "autograd/ops/kernel.cuh"
#include "autograd/ops/route.h"

/* The scores of a row. */
template <class W> struct row_scores {
    const W *z, *b;
    int64_t  p, r;
    bool     in_weight;

    __device__ __forceinline__ W share(int64_t i) const
    {
        return sigmoid(z[i / p]);
    }
    __device__ __forceinline__ W score(int64_t i) const
    {
        return share(i) + b[i];
    }
    __device__ __forceinline__ W weight(int64_t i) const
    {
        return in_weight ? score(i) : share(i);
    }
};

template <class W> static row_scores<W> scores_of(const op_args *a)
{
    const int64_t r = a->in[1]->s.d[0];

    return {op_values<W>(a->in[0]), op_values<W>(a->in[1]), r / a->in[0]->s.d[1], r, a->attr->route.in_weight};
}

/* A block for a row, its scores in shared memory: a thread keeps an expert if fewer than k come before it, and finds
 * its place among the kept ones. */
template <class W>
static __global__ void route_rows(row_count rows, row_scores<W> s, int64_t Z, int64_t k, W *gates, W *chosen)
{
    DYNAMIC_SHARED(W, score); /* [r], then a mark [r] */
    __shared__ W  sums[WARP_LANES];
    const int64_t n = blockIdx.x, r = s.r;
    W            *mark = score + r, *g = gates + n * k, *c = chosen + n * k, sum = 0;

    if (n >= rows.used())
        return;
    s.z += n * Z;
    for (int64_t i = threadIdx.x; i < r; i += blockDim.x)
        score[i] = s.score(i);
    __syncthreads();
    for (int64_t i = threadIdx.x; i < r; i += blockDim.x) {
        int64_t before = 0;
        for (int64_t j = 0; j < r; j++)
            before += score[j] > score[i] || (score[j] == score[i] && j < i);
        mark[i] = before < k;
        sum += before < k ? s.weight(i) : W(0);
    }
    sum = block_sum(sum, sums);
    sum = sum > W(ROUTE_LEAST) ? sum : W(ROUTE_LEAST);
    __syncthreads();
    for (int64_t i = threadIdx.x; i < r; i += blockDim.x) {
        int64_t at = 0;
        if (mark[i] == 0)
            continue;
        for (int64_t j = 0; j < i; j++)
            at += mark[j] != 0;
        if (at < k) {
            c[at] = W(i);
            g[at] = k == 1 ? W(1) : W(k) * s.weight(i) / sum;
        }
    }
}

template <class T> static void forward(const op_args *a)
{
    typedef wide<T>     W;
    const row_scores<W> s = scores_of<W>(a);
    const int64_t       N = op_bound(a->in[0]);

    if (N > 0)
        LAUNCH(route_rows<W>, (unsigned)N, threads_for(s.r), (size_t)(2 * s.r) * sizeof(W), op_count(a, a->in[0]), s,
               a->in[0]->s.d[1], a->attr->route.active, op_values<W>(a->out[0]), op_values<W>(a->out[1]));
}

/* A thread for a row. */
template <class W>
static __global__ void route_back(row_count rows, row_scores<W> s, int64_t Z, int64_t k, const W *chosen, const W *dg,
                                  W *dz)
{
    const int64_t n = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    W             sum = 0, along = 0;

    if (n >= rows.used())
        return;
    s.z += n * Z, chosen += n * k, dg += n * k, dz += n * Z;
    for (int64_t j = 0; j < k; j++)
        sum += s.weight((int64_t)chosen[j]);
    const bool kept = !(sum > W(ROUTE_LEAST));
    sum = kept ? W(ROUTE_LEAST) : sum;
    for (int64_t j = 0; j < k && !kept; j++)
        along += dg[j] * s.weight((int64_t)chosen[j]) / sum;
    for (int64_t j = 0; j < k; j++) {
        const int64_t i = (int64_t)chosen[j];
        const W       share = s.share(i);
        dz[i / s.p] += W(k) / sum * (dg[j] - along) * share * (1 - share);
    }
}

template <class T> static void backward(const op_args *a)
{
    typedef wide<T> W;
    const int64_t   N = a->gout[0] ? op_bound(a->gout[0]) : 0, k = a->attr->route.active;

    if (N > 0 && a->gin[0] && k > 1)
        LAUNCH(route_back<W>, blocks_for(N, 128), 128, 0, op_count(a, a->gout[0]), scores_of<W>(a), a->in[0]->s.d[1],
               k, op_values<W>(a->out[1]), op_values<W>(a->gout[0]), op_values<W>(a->gin[0]));
}

OP_CUDA(route, 0)
