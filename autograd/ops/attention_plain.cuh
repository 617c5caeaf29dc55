/* attention_plain: attention in any type, for heads of any size, pages, windows and caps: a warp for each
 * (query, head), and in backward also for each (key, key head).
 *
 * A lane has one of 32 keys (or queries) for scores, and every 32nd channel for sums over them. dq and
 * (dk, dv) are made by two kernels, each sum by one warp in order: no atomics. A bias table's gradient has a third:
 * a warp sums the buckets of one head over a share of the queries. */
#ifndef AUTOGRAD_OPS_ATTENTION_PLAIN_CUH
#define AUTOGRAD_OPS_ATTENTION_PLAIN_CUH

#include "autograd/ops/attention.cuh"
#include "autograd/ops/shares.cuh"

enum { ATTENTION_WARPS = 4 };

template <class T> static __device__ __forceinline__ wide<T> row_dot(const wide<T> *x, const T *y, int D)
{
    wide<T> sum = 0;

    for (int d = 0; d < D; d++)
        sum += x[d] * load(y + d);
    return sum;
}

/* The bias table [buckets, H], by value into kernels; NULL: none. */
template <class T> struct attention_bias {
    const wide<T> *table;
    int            H, buckets;
    relative       near;

    /* Of head h for a key at distance d from the query. */
    __device__ __forceinline__ wide<T> at(int d, int h) const
    {
        return table ? table[relative_bucket(&near, d) * H + h] : wide<T>(0);
    }
};

template <class T> static attention_bias<T> attention_bias_of(const op_args *a)
{
    const tensor     *t = a->in[7];
    attention_bias<T> b = {};

    if (!t)
        return b;
    b.table = op_values<wide<T>>(t);
    b.H = a->attr->attention.heads;
    b.buckets = (int)(op_capacity(t) * op_row_values(t) / b.H);
    relative_open(&b.near, b.buckets, a->attr->attention.reach, a->attr->attention.both);
    return b;
}

/* A score from q . k, and what its gradient is multiplied with. */
template <class W> static __device__ __forceinline__ W cap_score(const attention_view &w, W dot, W *slope)
{
    const W s = (W)w.scale * dot;

    *slope = (W)w.scale;
    if (!(w.cap > 0))
        return s;
    const W t = tanh_of(s / (W)w.cap);
    *slope *= 1 - t * t;
    return (W)w.cap * t;
}

/* Shared memory of a warp: `rows` rows of D values. */
template <class W> static __device__ __forceinline__ W *warp_rows(W *shared, int rows, int D)
{
    return shared + (int64_t)(threadIdx.x / WARP_LANES) * rows * D;
}

/* ---- forward ------------------------------------------------------------------------------------------ */

template <class T>
static __global__ void plain_forward(attention_view w, attention_bias<T> bias, int N, const T *q, const T *k,
                                     const T *v, T *y, wide<T> *lse)
{
    typedef wide<T> W;
    DYNAMIC_SHARED(W, shared);
    const int     lane = threadIdx.x % WARP_LANES, D = w.D;
    const int64_t item = (int64_t)blockIdx.x * ATTENTION_WARPS + threadIdx.x / WARP_LANES;
    const int     n = (int)(item / w.H), h = (int)(item % w.H);
    const int     s = n < N ? w.sequence_of(w.q_offsets, n) : -1;
    W            *row = warp_rows(shared, 2, D), *sums = row + D;
    W             m = -INFINITY, total = 0, slope;
    int           lo, hi, position;

    if (s < 0)
        return;
    for (int d = lane; d < D; d += WARP_LANES) {
        row[d] = load(q + item * D + d);
        sums[d] = 0;
    }
    __syncwarp();
    position = w.position(s, n - w.q_offsets[s]);
    w.range(position, w.keys(s), &lo, &hi);
    for (int j0 = lo; j0 <= hi; j0 += WARP_LANES) {
        const int  j = j0 + lane;
        const bool there = j <= hi;
        const W    score =
            there ? cap_score(w, row_dot<T>(row, k + (w.key_row(s, j) * w.Hk + h / w.G) * D, D), &slope) +
                        bias.at(j - position, h)
                     : (W)-INFINITY;
        const W top = warp_max(score), now = top > m ? top : m,
                shrink = m == (W)-INFINITY ? 0 : exp_of(m - now);
        const W p = there ? exp_of(score - now) : W(0);
        m = now;
        total = total * shrink + warp_sum(p);
        for (int d = lane; d < D; d += WARP_LANES)
            sums[d] *= shrink;
        for (int i = 0; i < WARP_LANES && j0 + i <= hi; i++) {
            const W  weight = __shfl_sync(~0u, p, i);
            const T *value = v + (w.key_row(s, j0 + i) * w.Hk + h / w.G) * D;
            for (int d = lane; d < D; d += WARP_LANES)
                sums[d] += weight * load(value + d);
        }
    }
    for (int d = lane; d < D; d += WARP_LANES)
        store(y + item * D + d, total > 0 ? sums[d] / total : W(0));
    if (lane == 0)
        lse[item] = total > 0 ? m + log_of(total) : (W)-INFINITY;
}

/* ---- backward ----------------------------------------------------------------------------------------- */

/* shift[n, h] = dy . y - dlse, what every dp of the row is lessened by */
template <class T>
static __global__ void plain_shift(attention_view w, int N, const T *y, const T *dy, const wide<T> *dlse,
                                   wide<T> *shift)
{
    const int     lane = threadIdx.x % WARP_LANES;
    const int64_t item = (int64_t)blockIdx.x * ATTENTION_WARPS + threadIdx.x / WARP_LANES;
    wide<T>       sum = 0;

    if (item / w.H >= N || w.sequence_of(w.q_offsets, (int)(item / w.H)) < 0)
        return;
    for (int d = lane; dy && d < w.D; d += WARP_LANES)
        sum += load(dy + item * w.D + d) * load(y + item * w.D + d);
    sum = warp_sum(sum);
    if (lane == 0)
        shift[item] = sum - (dlse ? dlse[item] : 0);
}

template <class T>
static __global__ void plain_backward_q(attention_view w, attention_bias<T> bias, int N, const T *q, const T *k,
                                        const T *v, const T *dy, const wide<T> *lse, const wide<T> *shift, T *dq)
{
    typedef wide<T> W;
    DYNAMIC_SHARED(W, shared);
    const int     lane = threadIdx.x % WARP_LANES, D = w.D;
    const int64_t item = (int64_t)blockIdx.x * ATTENTION_WARPS + threadIdx.x / WARP_LANES;
    const int     n = (int)(item / w.H), h = (int)(item % w.H);
    const int     s = n < N ? w.sequence_of(w.q_offsets, n) : -1;
    W            *row = warp_rows(shared, 3, D), *up = row + D, *sums = up + D, slope = 0;
    int           lo, hi, position;

    if (s < 0)
        return;
    for (int d = lane; d < D; d += WARP_LANES) {
        row[d] = load(q + item * D + d);
        up[d] = dy ? load(dy + item * D + d) : W(0);
        sums[d] = 0;
    }
    __syncwarp();
    position = w.position(s, n - w.q_offsets[s]);
    w.range(position, w.keys(s), &lo, &hi);
    for (int j0 = lo; j0 <= hi; j0 += WARP_LANES) {
        W ds = 0;
        if (j0 + lane <= hi) {
            const int64_t at = (w.key_row(s, j0 + lane) * w.Hk + h / w.G) * D;
            const W       score =
                cap_score(w, row_dot<T>(row, k + at, D), &slope) + bias.at(j0 + lane - position, h);
            ds = exp_of(score - lse[item]) * (row_dot<T>(up, v + at, D) - shift[item]) * slope;
        }
        for (int i = 0; i < WARP_LANES && j0 + i <= hi; i++) {
            const W  weight = __shfl_sync(~0u, ds, i);
            const T *key = k + (w.key_row(s, j0 + i) * w.Hk + h / w.G) * D;
            for (int d = lane; d < D; d += WARP_LANES)
                sums[d] += weight * load(key + d);
        }
    }
    for (int d = lane; d < D; d += WARP_LANES)
        add_to(dq + item * D + d, sums[d]);
}

/* Sums of one key over the queries of sequence s that see its key j. */
template <class T> struct key_sums {
    wide<T> *key, *value, *dk, *dv; /* [D] in shared memory */
};

template <class T>
static __device__ void add_queries(const attention_view &w, const attention_bias<T> &bias, int s, int j, int hk,
                                   const T *q, const T *dy, const wide<T> *lse, const wide<T> *shift,
                                   const key_sums<T> &b)
{
    typedef wide<T> W;
    const int lane = threadIdx.x % WARP_LANES, D = w.D, first = w.q_offsets[s], start = w.position(s, 0);
    const int n = w.q_offsets[s + 1] - first, keys = w.keys(s);
    const int from =
        (w.causal || w.window) && j - start > 0 ? j - start : 0; /* earlier ones do not see key j */
    W slope = 0;

    for (int64_t i0 = (int64_t)from * w.G; i0 < (int64_t)n * w.G; i0 += WARP_LANES) {
        const int64_t i = i0 + lane;
        const int     query = (int)(i / w.G), h = hk * w.G + (int)(i % w.G);
        const int64_t item = (int64_t)(first + query) * w.H + h;
        W             p = 0, ds = 0;
        int           lo = 0, hi = -1;
        if (query < n)
            w.range(start + query, keys, &lo, &hi);
        if (lo <= j && j <= hi) {
            const W score =
                cap_score(w, row_dot<T>(b.key, q + item * D, D), &slope) + bias.at(j - start - query, h);
            p = exp_of(score - lse[item]);
            ds = p * ((dy ? row_dot<T>(b.value, dy + item * D, D) : W(0)) - shift[item]) * slope;
        }
        if (!__ballot_sync(~0u, p != 0))
            continue;
        for (int l = 0; l < WARP_LANES && i0 + l < (int64_t)n * w.G; l++) {
            const W       weight = __shfl_sync(~0u, p, l), change = __shfl_sync(~0u, ds, l);
            const int64_t at = ((int64_t)(first + (i0 + l) / w.G) * w.H + hk * w.G + (i0 + l) % w.G) * D;
            for (int d = lane; weight != 0 && d < D; d += WARP_LANES) {
                b.dk[d] += change * load(q + at + d);
                if (dy)
                    b.dv[d] += weight * load(dy + at + d);
            }
        }
    }
}

/* A warp for each row of k and key head; rows: of k. A page may belong to several sequences. */
template <class T>
static __global__ void plain_backward_kv(attention_view w, attention_bias<T> bias, int64_t rows, const T *q,
                                         const T *k, const T *v, const T *dy, const wide<T> *lse,
                                         const wide<T> *shift, T *dk, T *dv)
{
    typedef wide<T> W;
    DYNAMIC_SHARED(W, shared);
    const int     lane = threadIdx.x % WARP_LANES, D = w.D;
    const int64_t item = (int64_t)blockIdx.x * ATTENTION_WARPS + threadIdx.x / WARP_LANES;
    const int     row = (int)(item / w.Hk), hk = (int)(item % w.Hk);
    W            *at = warp_rows(shared, 4, D);
    key_sums<T>   b = {at, at + D, at + 2 * D, at + 3 * D};
    bool          seen = false;

    if (row >= rows)
        return;
    for (int d = lane; d < D; d += WARP_LANES) {
        b.key[d] = load(k + item * D + d);
        b.value[d] = load(v + item * D + d);
        b.dk[d] = b.dv[d] = 0;
    }
    __syncwarp();
    if (!w.blocks) {
        const int s = w.sequence_of(w.k_offsets, row);
        seen = s >= 0;
        if (seen)
            add_queries<T>(w, bias, s, row - w.k_offsets[s], hk, q, dy, lse, shift, b);
    } else
        for (int s = 0; s < w.sequences(); s++)
            for (int j = row % PAGE_KEYS; j < w.keys(s); j += PAGE_KEYS)
                if (w.blocks[s * w.n_blocks + j / PAGE_KEYS] == row / PAGE_KEYS) {
                    seen = true;
                    add_queries<T>(w, bias, s, j, hk, q, dy, lse, shift, b);
                }
    for (int d = lane; seen && d < D; d += WARP_LANES) {
        if (dk)
            add_to(dk + item * D + d, b.dk[d]);
        if (dv)
            add_to(dv + item * D + d, b.dv[d]); /* may be dk */
    }
}

/* Shares of the queries for the table's gradient: a warp each, a head. */
enum { BIAS_SHARES = 64 };

/* parts[share, bucket, h] = the ds of the bucket over the share's queries. A bucket belongs to a lane. */
template <class T>
static __global__ void plain_backward_bias(attention_view w, attention_bias<T> bias, row_count queries, const T *q,
                                           const T *k, const T *v, const T *dy, const wide<T> *lse,
                                           const wide<T> *shift, wide<T> *parts)
{
    typedef wide<T> W;
    DYNAMIC_SHARED(W, shared);
    const int lane = threadIdx.x % WARP_LANES, D = w.D, B = bias.buckets;
    const int item = (int)(blockIdx.x * ATTENTION_WARPS + threadIdx.x / WARP_LANES), share = item / w.H,
              h = item % w.H;
    const int N = (int)queries.used(), each = (N + BIAS_SHARES - 1) / BIAS_SHARES;
    W        *sums = shared + (int64_t)(threadIdx.x / WARP_LANES) * (2 * D + B), *row = sums + B, *up = row + D;

    if (share >= BIAS_SHARES)
        return;
    for (int b = lane; b < B; b += WARP_LANES)
        sums[b] = 0;
    for (int n = share * each; n < (share + 1) * each && n < N; n++) {
        const int s = w.sequence_of(w.q_offsets, n);
        W         slope;
        int       lo, hi;
        if (s < 0)
            continue;
        const int64_t at = (int64_t)n * w.H + h;
        const int     position = w.position(s, n - w.q_offsets[s]);
        __syncwarp();
        for (int d = lane; d < D; d += WARP_LANES) {
            row[d] = load(q + at * D + d);
            up[d] = dy ? load(dy + at * D + d) : W(0);
        }
        __syncwarp();
        w.range(position, w.keys(s), &lo, &hi);
        for (int j0 = lo; j0 <= hi; j0 += WARP_LANES) {
            W   ds = 0;
            int bucket = 0;
            if (j0 + lane <= hi) {
                const int64_t key = (w.key_row(s, j0 + lane) * w.Hk + h / w.G) * D;
                bucket = relative_bucket(&bias.near, j0 + lane - position);
                ds = exp_of(cap_score(w, row_dot<T>(row, k + key, D), &slope) + bias.table[bucket * w.H + h] -
                            lse[at]) *
                     (row_dot<T>(up, v + key, D) - shift[at]);
            }
            for (int i = 0; i < WARP_LANES && j0 + i <= hi; i++) {
                const W   value = __shfl_sync(~0u, ds, i);
                const int to = __shfl_sync(~0u, bucket, i);
                if (to % WARP_LANES == lane)
                    sums[to] += value;
            }
        }
    }
    for (int b = lane; b < B; b += WARP_LANES)
        parts[((int64_t)share * B + b) * w.H + h] = sums[b];
}

/* ---- launches ------------------------------------------------------------------------------------------ */

template <class T> static size_t warp_bytes(const attention_view &w, int rows)
{
    return (size_t)(ATTENTION_WARPS * rows * w.D) * sizeof(wide<T>);
}

template <class T> static void attention_plain_forward(const op_args *a, const attention_view &w)
{
    const int64_t N = op_bound(a->in[0]);

    if (N > 0)
        LAUNCH(plain_forward<T>, blocks_for(N * w.H, ATTENTION_WARPS), ATTENTION_WARPS * WARP_LANES,
               warp_bytes<T>(w, 2), w, attention_bias_of<T>(a), (int)N, op_values<T>(a->in[0]),
               op_values<T>(a->in[1]), op_values<T>(a->in[2]), op_values<T>(a->out[0]),
               op_values<wide<T>>(a->out[1]));
}

/* shift [N, H], in scratch */
template <class T> static wide<T> *plain_shifts(const op_args *a, const attention_view &w)
{
    const int64_t N = op_bound(a->in[0]);
    wide<T>      *shift =
        static_cast<wide<T> *>(cuda_scratch(SCRATCH_OWN, (size_t)(a->in[0]->s.d[0] * w.H) * sizeof(wide<T>)));

    LAUNCH(plain_shift<T>, blocks_for(N * w.H, ATTENTION_WARPS), ATTENTION_WARPS * WARP_LANES, 0, w, (int)N,
           op_values<T>(a->out[0]), op_values<T>(a->gout[0]), op_values<wide<T>>(a->gout[1]), shift);
    return shift;
}

template <class T>
static void plain_bias_gradient(const op_args *a, const attention_view &w, const attention_bias<T> &bias,
                                const wide<T> *shift)
{
    const int64_t values = (int64_t)bias.buckets * w.H;
    const size_t  shared = (size_t)(ATTENTION_WARPS * (2 * w.D + bias.buckets)) * sizeof(wide<T>);
    wide<T>      *parts =
        static_cast<wide<T> *>(cuda_scratch(SCRATCH_LOW, (size_t)(BIAS_SHARES * values) * sizeof(wide<T>)));

    LAUNCH(plain_backward_bias<T>, blocks_for((int64_t)BIAS_SHARES * w.H, ATTENTION_WARPS),
           ATTENTION_WARPS * WARP_LANES, shared, w, bias, op_count(a, a->in[0]), op_values<T>(a->in[0]),
           op_values<T>(a->in[1]), op_values<T>(a->in[2]), op_values<T>(a->gout[0]), op_values<wide<T>>(a->out[1]),
           shift, parts);
    LAUNCH(join_shares<wide<T>>, blocks_for(values, BLOCK), BLOCK, 0, parts, BIAS_SHARES, values, wide<T>(1),
           op_values<wide<T>>(a->gin[7]));
}

template <class T> static void attention_plain_backward(const op_args *a, const attention_view &w)
{
    const int64_t  N = op_bound(a->in[0]), keys = op_bound(a->in[1]);
    const T       *q = op_values<T>(a->in[0]), *k = op_values<T>(a->in[1]), *v = op_values<T>(a->in[2]);
    const T       *dy = op_values<T>(a->gout[0]);
    const wide<T> *lse = op_values<wide<T>>(a->out[1]);
    const unsigned threads = ATTENTION_WARPS * WARP_LANES;

    if (N == 0 || keys == 0)
        return;
    const wide<T>          *shift = plain_shifts<T>(a, w);
    const attention_bias<T> bias = attention_bias_of<T>(a);
    if (a->gin[0])
        LAUNCH(plain_backward_q<T>, blocks_for(N * w.H, ATTENTION_WARPS), threads, warp_bytes<T>(w, 3), w, bias,
               (int)N, q, k, v, dy, lse, shift, op_values<T>(a->gin[0]));
    if (a->gin[1] || a->gin[2])
        LAUNCH(plain_backward_kv<T>, blocks_for(keys * w.Hk, ATTENTION_WARPS), threads, warp_bytes<T>(w, 4),
               w, bias, keys, q, k, v, dy, lse, shift, op_values<T>(a->gin[1]), op_values<T>(a->gin[2]));
    if (a->gin[7])
        plain_bias_gradient<T>(a, w, bias, shift);
}

#endif
