/* attention_join on the device: see attention_join.c. A warp for each (row, head). */
#include "autograd/ops/kernel.cuh"

enum { JOIN_WARPS = 8 };

/* Shares of the two; what the second is multiplied with, and the derivative of that by its share. */
template <class W> struct join_shares_of {
    W w1, w2, lse, weight, slope;
};

template <class W> static __device__ __forceinline__ join_shares_of<W> shares(W l1, W l2, bool whole)
{
    const W m = l1 > l2 ? l1 : l2, least = (W)ATTENTION_SHARE_MIN;

    if (m == (W)-INFINITY)
        return {0, 0, m, 0, 0};
    const W    e1 = exp_of(l1 - m), e2 = exp_of(l2 - m), sum = e1 + e2, w2 = e2 / sum;
    const bool small = w2 < least;
    return {e1 / sum, w2, m + log_of(sum), !whole ? w2 : small ? w2 / least : W(1),
            !whole ? W(1) : small ? 1 / least : W(0)};
}

/* One side: values and log-sum-exps, or the gradients of both. */
template <class T> struct join_side {
    T       *y;
    wide<T> *lse;
    bool     assign_y, assign_lse;
};

template <class T>
static __global__ void join_forward(row_count rows, int H, int D, bool whole, join_side<T> one, join_side<T> two,
                                    T *y, wide<T> *lse)
{
    const int64_t item = (int64_t)blockIdx.x * JOIN_WARPS + threadIdx.x / WARP_LANES;
    const int     lane = threadIdx.x % WARP_LANES;

    if (item >= rows.used() * H)
        return;
    const join_shares_of<wide<T>> s = shares(one.lse[item], two.lse[item], whole);
    if (lane == 0)
        lse[item] = s.lse;
    for (int64_t d = item * D + lane; d < (item + 1) * D; d += WARP_LANES)
        store(y + d, s.w1 * load(one.y + d) + s.weight * load(two.y + d));
}

template <class T>
static __global__ void join_backward(row_count rows, int H, int D, bool whole, join_side<T> one, join_side<T> two,
                                     const T *dy, const wide<T> *dlse, join_side<T> d_one, join_side<T> d_two)
{
    typedef wide<T> W;
    const int64_t   item = (int64_t)blockIdx.x * JOIN_WARPS + threadIdx.x / WARP_LANES;
    const int       lane = threadIdx.x % WARP_LANES;
    W               apart = 0;

    if (item >= rows.used() * H)
        return;
    const join_shares_of<W> s = shares(one.lse[item], two.lse[item], whole);
    for (int64_t d = item * D + lane; d < (item + 1) * D; d += WARP_LANES) {
        const W g = dy ? load(dy + d) : W(0);
        apart += g * (load(one.y + d) - s.slope * load(two.y + d));
        if (d_one.y)
            give(d_one.y + d, s.w1 * g, d_one.assign_y);
        if (d_two.y)
            give(d_two.y + d, s.weight * g, d_two.assign_y);
    }
    apart = s.w1 * s.w2 * warp_sum(apart);
    const W both = dlse ? dlse[item] : W(0);
    if (lane == 0 && d_one.lse)
        give(d_one.lse + item, s.w1 * both + apart, d_one.assign_lse);
    if (lane == 0 && d_two.lse)
        give(d_two.lse + item, s.w2 * both - apart, d_two.assign_lse);
}

template <class T> static join_side<T> side_of(const tensor *y, const tensor *lse, bool fresh_y, bool fresh_lse)
{
    return {op_values<T>(y), op_values<wide<T>>(lse), fresh_y, fresh_lse};
}

template <class T> static void forward(const op_args *a)
{
    const int      H = (int)a->in[1]->s.d[1], D = (int)(a->in[0]->s.d[1] / H);
    const unsigned blocks = blocks_for(op_bound(a->out[0]) * H, JOIN_WARPS);

    if (blocks > 0)
        LAUNCH(join_forward<T>, blocks, JOIN_WARPS * WARP_LANES, 0, op_count(a, a->out[0]), H, D,
               a->attr->attention_join.whole, side_of<T>(a->in[0], a->in[1], false, false), side_of<T>(a->in[2], a->in[3], false, false),
               op_values<T>(a->out[0]), op_values<wide<T>>(a->out[1]));
}

template <class T> static void backward(const op_args *a)
{
    const int      H = (int)a->in[1]->s.d[1], D = (int)(a->in[0]->s.d[1] / H);
    const tensor  *g = a->gout[0] ? a->gout[0] : a->gout[1];
    const unsigned blocks = blocks_for(op_bound(g) * H, JOIN_WARPS);

    if (blocks > 0)
        LAUNCH(join_backward<T>, blocks, JOIN_WARPS * WARP_LANES, 0, op_count(a, g), H, D,
               a->attr->attention_join.whole, side_of<T>(a->in[0], a->in[1], false, false), side_of<T>(a->in[2], a->in[3], false, false),
               op_values<T>(a->gout[0]), op_values<wide<T>>(a->gout[1]),
               side_of<T>(a->gin[0], a->gin[1], a->fresh[0], a->fresh[1]),
               side_of<T>(a->gin[2], a->gin[3], a->fresh[2], a->fresh[3]));
}

OP_CUDA(attention_join, IN0 | IN1 | IN2 | IN3)
