/* lora_routed on the device: see lora_routed.c. Gathered only where few rows are computed and none has a gradient, or
 * where it is asked for; backward is masked always: its products go through tensor cores. */
#include "autograd/ops/linear.cuh"

/* The choice of each row. */
template <class W> struct choice {
    const W *gates, *chosen;
    int64_t  k;

    /* Which of row n's chosen ranks e is; -1: none */
    __device__ __forceinline__ int64_t place(int64_t n, int64_t e) const
    {
        for (int64_t j = 0; j < k; j++)
            if (chosen[n * k + j] == W(e))
                return j;
        return -1;
    }
};

template <class W> static choice<W> choice_of(const op_args *a)
{
    return {op_values<W>(a->in[4]), op_values<W>(a->in[5]), a->in[5]->s.d[1]};
}

template <class T> static low_rank<T> low_rank_of(const op_args *a)
{
    return low_rank<T>{a, a->in[1], a->in[2], a->in[3], a->gin[2], a->gin[3], NULL, a->attr->lora_routed.factor};
}

/* f(i) for all values of rows in use of t, of `row` values each */
template <class F> static void over_rows(const op_args *a, const tensor *t, int64_t row, F f)
{
    const int64_t n = op_bound(t) * row, most = (int64_t)cuda_processors() * 16;
    const int64_t blocks = blocks_for(n, BLOCK);

    if (n > 0)
        LAUNCH(each_value<F>, (unsigned)(blocks < most ? blocks : most), BLOCK, 0, op_count(a, t), row, f);
}

/* c[m, n] = alpha a[m, k] b, b [n, k] when turned, [k, n] else; c in f32 */
template <class T>
static void multiply(const T *a, const T *b, bool turned, int64_t m, int64_t n, int64_t k, wide<T> *c, double alpha)
{
    cuda_product p = {};

    p.m = m, p.n = n, p.k = k;
    p.a = a, p.lda = k;
    p.b = b, p.ldb = turned ? k : n, p.b_turned = turned;
    p.c = c, p.ldc = n;
    p.type = dtype_of<T>::value;
    p.type_c = dtype_of<wide<T>>::value;
    p.alpha = alpha;
    cuda_multiply(&p);
}

/* [N, R] of all ranks of all rows */
template <class T> static wide<T> *all_ranks(const low_rank<T> &l)
{
    return static_cast<wide<T> *>(cuda_scratch(SCRATCH_SUM, (size_t)(l.x->s.d[0] * l.R()) * sizeof(wide<T>)));
}

/* ---- forward ------------------------------------------------------------------------------------------- */

template <class T> static void masked(const op_args *a, T *y)
{
    typedef wide<T>   W;
    const low_rank<T> l = low_rank_of<T>(a);
    const factors<T>  f = low_rank_open(l);
    const choice<W>   c = choice_of<W>(a);
    const int64_t     N = op_bound(l.x), R = l.R();
    W                *all = all_ranks(l), *h = op_aux<T>(a);
    T                *mid = f.dh;

    multiply<T>(op_values<T>(l.x), f.a, true, N, R, l.K(), all, 1);
    over_rows(a, l.x, R, [=] __device__(int64_t i) {
        const int64_t n = i / R, j = c.place(n, i % R);
        if (j >= 0)
            h[n * c.k + j] = all[i];
        store(mid + i, j >= 0 ? c.gates[n * c.k + j] * all[i] : W(0));
    });
    product_turned<T>(mid, f.b, N, l.M(), R, y, l.factor, true);
}

/* A block for a row, a warp for a chosen rank: h */
template <class T>
static __global__ void gather_inner(row_count rows, int64_t K, choice<wide<T>> c, const T *x, const wide<T> *low,
                                    wide<T> *h)
{
    const int64_t n = blockIdx.x, lane = threadIdx.x % WARP_LANES, warps = blockDim.x / WARP_LANES;

    if (n >= rows.used())
        return;
    for (int64_t j = threadIdx.x / WARP_LANES; j < c.k; j += warps) {
        const wide<T> *row = low + (int64_t)c.chosen[n * c.k + j] * K;
        wide<T>        sum = 0;
        for (int64_t i = lane; i < K; i += WARP_LANES)
            sum += load(x + n * K + i) * row[i];
        sum = warp_sum(sum);
        if (lane == 0)
            h[n * c.k + j] = sum;
    }
}

template <class T> static void gathered(const op_args *a, T *y)
{
    typedef wide<T> W;
    const choice<W> c = choice_of<W>(a);
    const int64_t   N = op_bound(a->in[1]), K = a->in[1]->s.d[1], R = a->in[2]->s.d[0], M = a->in[3]->s.d[0];
    const W        *b = op_values<W>(a->in[3]), factor = (W)a->attr->lora_routed.factor;
    W              *h = op_aux<T>(a);

    if (N == 0)
        return;
    LAUNCH(gather_inner<T>, (unsigned)N, BLOCK, 0, op_count(a, a->in[1]), K, c, op_values<T>(a->in[1]),
           op_values<W>(a->in[2]), h);
    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const int64_t n = i / M, m = i % M;
        W             sum = 0;
        for (int64_t j = 0; j < c.k; j++)
            sum += c.gates[n * c.k + j] * h[n * c.k + j] * b[m * R + (int64_t)c.chosen[n * c.k + j]];
        store(y + i, load(y + i) + factor * sum);
    });
}

template <class T> static void forward(const op_args *a)
{
    const routed_form form = a->attr->lora_routed.form;
    const T          *y = op_values<T>(a->in[0]);
    T                *z = op_values<T>(a->out[0]); /* may be y */

    if (y != z)
        over_values(a, a->out[0], [=] __device__(int64_t i) { z[i] = y[i]; });
    if (form == ROUTED_GATHERED || (form == ROUTED_AUTO && a->run->decoding))
        gathered(a, z);
    else
        masked(a, z);
}

/* ---- backward ------------------------------------------------------------------------------------------ */

/* dgates, da and dx */
template <class T> static void inner_back(const op_args *a, const low_rank<T> &l, const factors<T> &f)
{
    typedef wide<T> W;
    const tensor   *dy = a->gout[0];
    const choice<W> c = choice_of<W>(a);
    const int64_t   N = op_bound(dy), R = l.R();
    const W        *h = op_aux<T>(a);
    W              *all = all_ranks(l), *dgates = op_values<W>(a->gin[4]);
    T              *dh = f.dh, *dx = op_values<T>(a->gin[1]);

    multiply<T>(op_values<T>(dy), f.b, false, N, R, l.M(), all, l.factor);
    if (dgates)
        over_rows(a, dy, c.k, [=] __device__(int64_t i) {
            dgates[i] += h[i] * all[i / c.k * R + (int64_t)c.chosen[i]];
        });
    if (!l.da && !dx)
        return;
    over_rows(a, dy, R, [=] __device__(int64_t i) {
        const int64_t n = i / R, j = c.place(n, i % R);
        store(dh + i, j >= 0 ? c.gates[n * c.k + j] * all[i] : W(0));
    });
    if (l.da)
        token_sum<T>(op_count(a, dy), dh, R, op_values<T>(l.x), l.K(), op_values<W>(l.da), 1);
    if (dx)
        product_plain<T>(dh, f.a, N, R, l.K(), dx, 1, !a->fresh[1]);
}

/* db */
template <class T> static void outer_back(const op_args *a, const low_rank<T> &l, const factors<T> &f)
{
    typedef wide<T> W;
    const tensor   *dy = a->gout[0];
    const choice<W> c = choice_of<W>(a);
    const int64_t   R = l.R();
    const W        *h = op_aux<T>(a);
    T              *mid = f.dh;

    over_rows(a, dy, R, [=] __device__(int64_t i) {
        const int64_t n = i / R, j = c.place(n, i % R);
        store(mid + i, j >= 0 ? c.gates[n * c.k + j] * h[n * c.k + j] : W(0));
    });
    token_sum<T>(op_count(a, dy), op_values<T>(dy), l.M(), mid, R, op_values<W>(l.db), l.factor);
}

template <class T> static void backward(const op_args *a)
{
    const low_rank<T> l = low_rank_of<T>(a);
    const T          *dy = op_values<T>(a->gout[0]);
    T                *dx = op_values<T>(a->gin[0]);
    const bool        fresh = a->fresh[0];

    if (dx) /* first: x may be y */
        over_values(a, a->gout[0], [=] __device__(int64_t i) { give(dx + i, load(dy + i), fresh); });
    if (!a->gin[1] && !a->gin[2] && !a->gin[3] && !a->gin[4])
        return;
    const factors<T> f = low_rank_open(l);
    if (a->gin[1] || a->gin[2] || a->gin[4])
        inner_back<T>(a, l, f);
    if (l.db)
        outer_back<T>(a, l, f);
}

OP_CUDA(lora_routed, IN0 | IN1)
