/* lora_gated on the device: see lora_gated.c. A pair is one of the `most` experts that a row may have: its number is
 * n most + slot, its expert -1 where the row has fewer. */
#include "autograd/ops/experts.cuh"

/* The sizes, and what both directions read. */
template <class T> struct gated {
    expert_table   experts;
    row_count      rows;
    int64_t        E, K, M, R, most;
    const T       *x;
    const wide<T> *values, *w, *scales;
    int32_t       *of; /* expert of each pair */

    __device__ __forceinline__ wide<T> weight(int64_t pair) const
    {
        return w[pair / most * E + of[pair]] * scales[of[pair]];
    }
};

/* A thread for a row lists its experts. */
template <class W>
static __global__ void list_experts(row_count rows, int64_t E, int64_t most, const W *w, int32_t *of)
{
    const int64_t n = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int64_t       slot = 0;

    if (n >= rows.used())
        return;
    for (int64_t e = 0; e < E; e++)
        if (w[n * E + e] != 0 && slot < most)
            of[n * most + slot++] = (int32_t)e;
    for (; slot < most; slot++)
        of[n * most + slot] = -1;
}

template <class T> static gated<T> gated_of(const op_args *a, const tensor *y)
{
    typedef wide<T> W;
    const int64_t   most = a->attr->experts.most, pairs = op_capacity(y) * most;
    void           *of = cuda_scratch(SCRATCH_LOW, (size_t)(2 * pairs + 1) * sizeof(int32_t));
    const gated<T>  g = {{op_values_of<int32_t>(a->in[4])},
                         op_count(a, y),
                         shape_last_of(a->in[3]),
                         shape_last_of(a->in[1]),
                         shape_last_of(y),
                         a->attr->experts.rank,
                         most,
                         op_values<T>(a->in[1]),
                         op_values<W>(a->in[2]),
                         op_values<W>(a->in[3]),
                         op_values<W>(a->in[5]),
                         static_cast<int32_t *>(of)};

    if (op_bound(y) > 0)
        LAUNCH(list_experts<W>, blocks_for(op_bound(y), BLOCK), BLOCK, 0, g.rows, g.E, most, g.w, g.of);
    return g;
}

/* A block for a row, a warp for a value: to[pair, r] = v[n] A_e[r], v [N, K], or if `high` v[n] B_e[, r], v [N, M] */
template <class T> static __global__ void thin_pairs(gated<T> g, const T *v, bool high, wide<T> *to)
{
    const int64_t n = blockIdx.x, lane = threadIdx.x % WARP_LANES, warps = blockDim.x / WARP_LANES;
    const int64_t C = high ? g.M : g.K;

    if (n >= g.rows.used())
        return;
    for (int64_t pair = n * g.most; pair < (n + 1) * g.most && g.of[pair] >= 0; pair++) {
        const int64_t  e = g.of[pair], rank = g.experts.rank(e);
        const wide<T> *f = g.values + (high ? g.experts.high(e) : g.experts.low(e));
        for (int64_t r = threadIdx.x / WARP_LANES; r < rank; r += warps) {
            wide<T> sum = 0;
            for (int64_t c = lane; c < C; c += WARP_LANES)
                sum += load(v + n * C + c) * f[high ? c * rank + r : r * C + c];
            sum = warp_sum(sum);
            if (lane == 0)
                to[pair * g.R + r] = sum;
        }
    }
}

template <class T> static void thin(const tensor *rows, const gated<T> &g, const T *v, bool high, wide<T> *to)
{
    const int64_t blocks = op_bound(rows);

    if (blocks > 0)
        LAUNCH(thin_pairs<T>, (unsigned)blocks, (unsigned)BLOCK, 0, g, v, high, to);
}

template <class T> static void forward(const op_args *a)
{
    typedef wide<T> W;
    const gated<T>  g = gated_of<T>(a, a->out[0]);
    const T        *y = op_values<T>(a->in[0]);
    T              *z = op_values<T>(a->out[0]); /* may be y */
    W              *h = op_aux<T>(a);

    thin<T>(a->in[1], g, g.x, false, h);
    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const int64_t first = i / g.M * g.most, m = i % g.M;
        W             all = 0;
        for (int64_t pair = first; pair < first + g.most && g.of[pair] >= 0; pair++) {
            const int64_t rank = g.experts.rank(g.of[pair]);
            const W      *b = g.values + g.experts.high(g.of[pair]) + m * rank;
            W             sum = 0;
            for (int64_t r = 0; r < rank; r++)
                sum += h[pair * g.R + r] * b[r];
            all += g.weight(pair) * sum;
        }
        store(z + i, load(y + i) + all);
    });
}

/* A thread for a pair: dw, and dh becomes that of h. */
template <class T> static __global__ void weigh_pairs(gated<T> g, const wide<T> *h, wide<T> *dh, wide<T> *dw)
{
    const int64_t pair = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (pair >= g.rows.used() * g.most || g.of[pair] < 0)
        return;
    const int64_t e = g.of[pair], rank = g.experts.rank(e);
    wide<T>       sum = 0;
    for (int64_t r = 0; r < rank; r++) {
        if (dw)
            sum += dh[pair * g.R + r] * h[pair * g.R + r];
        dh[pair * g.R + r] *= g.weight(pair);
    }
    if (dw)
        dw[pair / g.most * g.E + e] += g.scales[e] * sum;
}

/* A thread for an expert: its pairs in their order, behind those of the experts before it. first [E + 1] */
template <class T> static __global__ void sort_pairs(gated<T> g, int32_t *order, int32_t *first)
{
    const int64_t pairs = g.rows.used() * g.most;

    for (int64_t e = threadIdx.x; e < g.E; e += blockDim.x) {
        int32_t before = 0, own = 0;
        for (int64_t p = 0; p < pairs; p++) {
            before += g.of[p] >= 0 && g.of[p] < e;
            own += g.of[p] == e;
        }
        first[e] = before;
        if (e + 1 == g.E)
            first[g.E] = before + own;
        for (int64_t p = 0; p < pairs; p++)
            if (g.of[p] == e)
                order[before++] = (int32_t)p;
    }
}

/* dA_e += dh^T x and dB_e += dy^T (w h) over the pairs of each expert */
template <class T>
static void add_factors(const gated<T> &g, int64_t pairs, const T *dy, const wide<T> *h, const wide<T> *dh,
                        wide<T> *dv)
{
    typedef wide<T> W;
    int32_t        *order = g.of + pairs;
    int32_t        *first = static_cast<int32_t *>(cuda_scratch(SCRATCH_SUM, (size_t)(g.E + 1) * sizeof(int32_t)));
    const auto      every = [&](int64_t n) { return row_count{NULL, NULL, 0, n, 0}; };
    const auto      blocks = [&](int64_t n) {
        const int64_t most = (int64_t)cuda_processors() * 16, all = blocks_for(n, BLOCK);
        return (unsigned)(all < most ? all : most);
    };
    const int64_t low = g.E * g.R * g.K, high = g.E * g.R * g.M;

    LAUNCH(sort_pairs<T>, 1, BLOCK, 0, g, order, first);
    const auto give_low = [=] __device__(int64_t i) {
        const int64_t e = i / (g.R * g.K), r = i / g.K % g.R, k = i % g.K;
        W             sum = 0;
        if (r >= g.experts.rank(e) || first[e] == first[e + 1])
            return;
        for (int32_t p = first[e]; p < first[e + 1]; p++)
            sum += dh[order[p] * g.R + r] * load(g.x + order[p] / g.most * g.K + k);
        dv[g.experts.low(e) + r * g.K + k] += sum;
    };
    const auto give_high = [=] __device__(int64_t i) {
        const int64_t e = i / (g.R * g.M), m = i / g.R % g.M, r = i % g.R, rank = g.experts.rank(e);
        W             sum = 0;
        if (r >= rank || first[e] == first[e + 1])
            return;
        for (int32_t p = first[e]; p < first[e + 1]; p++)
            sum += g.weight(order[p]) * h[order[p] * g.R + r] * load(dy + order[p] / g.most * g.M + m);
        dv[g.experts.high(e) + m * rank + r] += sum;
    };
    LAUNCH(each_value<decltype(give_low)>, blocks(low), BLOCK, 0, every(low), (int64_t)1, give_low);
    LAUNCH(each_value<decltype(give_high)>, blocks(high), BLOCK, 0, every(high), (int64_t)1, give_high);
}

template <class T> static void backward(const op_args *a)
{
    typedef wide<T> W;
    const T        *dy = op_values<T>(a->gout[0]);
    T              *dx = op_values<T>(a->gin[0]), *dxx = op_values<T>(a->gin[1]);
    const bool      fresh = a->fresh[0], fresh_x = a->fresh[1];
    const int64_t   pairs = op_capacity(a->gout[0]) * a->attr->experts.most;

    if (dx) /* first: x may be y */
        over_values(a, a->gout[0], [=] __device__(int64_t i) { give(dx + i, load(dy + i), fresh); });
    if (!a->gin[1] && !a->gin[2] && !a->gin[3])
        return;
    const gated<T> g = gated_of<T>(a, a->gout[0]);
    const W       *h = op_aux<T>(a);
    W *dh = static_cast<W *>(cuda_scratch(SCRATCH_OWN, (size_t)(pairs * g.R + 1) * sizeof(W)));
    thin<T>(a->gout[0], g, dy, true, dh);
    const int64_t used = op_bound(a->gout[0]) * g.most;
    if (used > 0)
        LAUNCH(weigh_pairs<T>, blocks_for(used, BLOCK), BLOCK, 0, g, h, dh, op_values<W>(a->gin[3]));
    if (a->gin[2])
        add_factors<T>(g, pairs, dy, h, dh, op_values<W>(a->gin[2]));
    if (dxx)
        over_values(a, a->gin[1], [=] __device__(int64_t i) {
            const int64_t first = i / g.K * g.most, k = i % g.K;
            W             sum = 0;
            for (int64_t pair = first; pair < first + g.most && g.of[pair] >= 0; pair++) {
                const int64_t rank = g.experts.rank(g.of[pair]);
                const W      *low = g.values + g.experts.low(g.of[pair]);
                for (int64_t r = 0; r < rank; r++)
                    sum += dh[pair * g.R + r] * low[r * g.K + k];
            }
            give(dxx + i, sum, fresh_x);
        });
}

OP_CUDA(lora_gated, IN0 | IN1)
