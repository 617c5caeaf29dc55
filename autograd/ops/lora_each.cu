/* lora_each on the device: see lora_each.c */
#include "autograd/ops/kernel.cuh"

/* Which rows belong to which sequence; those behind the last belong to none. */
struct sequences {
    const int32_t *offsets;
    row_count      ends; /* one more than there are sequences */

    __device__ __forceinline__ int64_t of(int64_t row) const
    {
        return sequence_at(offsets, ends.used() - 1, row);
    }
};

/* The sizes, and what both directions read. */
template <class T> struct each {
    sequences      seqs;
    int64_t        K, R, M;
    const T       *x;
    const wide<T> *a, *b;
    wide<T>        factor;
};

template <class T> static each<T> each_of(const op_args *a, const tensor *y)
{
    return {{op_values_of<int32_t>(a->in[4]), op_count(a, a->in[4])},
            a->in[1]->s.d[1],
            shape_last_of(a->in[2]),
            shape_last_of(y),
            op_values<T>(a->in[1]),
            op_values<wide<T>>(a->in[2]),
            op_values<wide<T>>(a->in[3]),
            (wide<T>)a->attr->lora.factor};
}

/* A block for a row, a warp for a value: to = factor v f[s], v [N, C], f[s] [C, R], or [R, C] when turned */
template <class T>
static __global__ void thin_rows(row_count rows, sequences seqs, int64_t C, int64_t R, bool turned, wide<T> factor,
                                 const T *v, const wide<T> *f, wide<T> *to)
{
    const int64_t n = blockIdx.x, lane = threadIdx.x % WARP_LANES, warps = blockDim.x / WARP_LANES;

    if (n >= rows.used())
        return;
    const wide<T> *own = f + seqs.of(n) * C * R;
    for (int64_t r = threadIdx.x / WARP_LANES; r < R; r += warps) {
        wide<T> sum = 0;
        for (int64_t i = lane; i < C; i += WARP_LANES)
            sum += load(v + n * C + i) * own[turned ? r * C + i : i * R + r];
        sum = warp_sum(sum);
        if (lane == 0)
            to[n * R + r] = factor * sum;
    }
}

template <class T>
static void thin(const op_args *a, const tensor *rows, const each<T> &e, int64_t C, bool turned, wide<T> factor,
                 const T *v, const wide<T> *f, wide<T> *to)
{
    const int64_t blocks = op_bound(rows);

    if (blocks > 0)
        LAUNCH(thin_rows<T>, (unsigned)blocks, (unsigned)BLOCK, 0, op_count(a, rows), e.seqs, C, e.R, turned, factor,
               v, f, to);
}

template <class T> static void forward(const op_args *a)
{
    const each<T>  e = each_of<T>(a, a->out[0]);
    const T       *y = op_values<T>(a->in[0]);
    T             *z = op_values<T>(a->out[0]); /* may be y */
    wide<T>       *h = op_aux<T>(a);

    thin<T>(a, a->in[1], e, e.K, false, 1, e.x, e.a, h);
    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const int64_t  n = i / e.M, m = i % e.M;
        const wide<T> *own = e.b + e.seqs.of(n) * e.R * e.M;
        wide<T>        sum = 0;
        for (int64_t r = 0; r < e.R; r++)
            sum += h[n * e.R + r] * own[r * e.M + m];
        store(z + i, load(y + i) + e.factor * sum);
    });
}

/* db[s, r, m] += factor sum over the sequence's rows of h[n, r] dy[n, m] */
template <class T> static void add_high(const op_args *a, const each<T> &e, const T *dy)
{
    const wide<T> *h = op_aux<T>(a);
    wide<T>       *db = op_values<wide<T>>(a->gin[3]);

    over_values(a, a->gin[3], [=] __device__(int64_t i) {
        const int64_t s = i / (e.R * e.M), r = i / e.M % e.R, m = i % e.M;
        wide<T>       sum = 0;
        for (int64_t n = e.seqs.offsets[s]; n < e.seqs.offsets[s + 1]; n++)
            sum += h[n * e.R + r] * load(dy + n * e.M + m);
        db[i] += e.factor * sum;
    });
}

/* da[s, k, r] += sum over the sequence's rows of x[n, k] dh[n, r] */
template <class T> static void add_low(const op_args *a, const each<T> &e, const wide<T> *dh)
{
    wide<T> *da = op_values<wide<T>>(a->gin[2]);

    over_values(a, a->gin[2], [=] __device__(int64_t i) {
        const int64_t s = i / (e.K * e.R), k = i / e.R % e.K, r = i % e.R;
        wide<T>       sum = 0;
        for (int64_t n = e.seqs.offsets[s]; n < e.seqs.offsets[s + 1]; n++)
            sum += load(e.x + n * e.K + k) * dh[n * e.R + r];
        da[i] += sum;
    });
}

/* dx[n, k] = sum_r dh[n, r] a[s, k, r], added unless fresh */
template <class T> static void give_x(const op_args *a, const each<T> &e, const wide<T> *dh)
{
    T         *dx = op_values<T>(a->gin[1]);
    const bool fresh = a->fresh[1];

    over_values(a, a->gin[1], [=] __device__(int64_t i) {
        const int64_t  n = i / e.K, k = i % e.K;
        const wide<T> *own = e.a + (e.seqs.of(n) * e.K + k) * e.R;
        wide<T>        sum = 0;
        for (int64_t r = 0; r < e.R; r++)
            sum += dh[n * e.R + r] * own[r];
        give(dx + i, sum, fresh);
    });
}

template <class T> static void backward(const op_args *a)
{
    const each<T> e = each_of<T>(a, a->gout[0]);
    const T      *dy = op_values<T>(a->gout[0]);
    T            *dx = op_values<T>(a->gin[0]);
    const bool    fresh = a->fresh[0];

    if (dx) /* first: x may be y */
        over_values(a, a->gout[0], [=] __device__(int64_t i) { give(dx + i, load(dy + i), fresh); });
    if (a->gin[3])
        add_high<T>(a, e, dy);
    if (!a->gin[1] && !a->gin[2])
        return;
    wide<T> *dh = static_cast<wide<T> *>(
        cuda_scratch(SCRATCH_OWN, (size_t)(a->gout[0]->s.d[0] * e.R) * sizeof(wide<T>)));
    thin<T>(a, a->gout[0], e, e.M, true, e.factor, dy, e.b, dh);
    if (a->gin[2])
        add_low<T>(a, e, dh);
    if (a->gin[1])
        give_x<T>(a, e, dh);
}

OP_CUDA(lora_each, IN0 | IN1)
