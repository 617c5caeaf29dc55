/* attention_scores on the device: see attention_scores.c. Clear, not fast: a thread for each score, and for
 * each row of a gradient. */
#include "autograd/ops/attention.cuh"

template <class T> static __device__ __forceinline__ wide<T> dot(const T *x, const T *y, int D)
{
    wide<T> sum = 0;

    for (int d = 0; d < D; d++)
        sum += load(x + d) * load(y + d);
    return sum;
}

/* The score of q . k; *slope: its derivative. */
template <class W> static __device__ __forceinline__ W score_of(const attention_view &w, W dot, W *slope)
{
    const W s = (W)w.scale * dot, t = w.cap > 0 ? tanh_of(s / (W)w.cap) : W(0);

    *slope = (W)w.scale * (1 - t * t);
    return w.cap > 0 ? (W)w.cap * t : s;
}

/* Does query n see the row of k, of its own sequence? */
static __device__ __forceinline__ bool sees(const attention_view &w, int n, int row)
{
    const int s = w.sequence_of(w.q_offsets, n);
    int       lo, hi;

    if (s < 0 || w.sequence_of(w.k_offsets, row) != s)
        return false;
    w.range(w.position(s, n - w.q_offsets[s]), w.keys(s), &lo, &hi);
    return row - w.k_offsets[s] >= lo && row - w.k_offsets[s] <= hi;
}

static attention_view view_of(const op_args *a)
{
    return attention_view_of(a, 2, a->in[0]->s.d[1] / a->attr->attention.heads);
}

template <class T> static void forward(const op_args *a)
{
    const attention_view w = view_of(a);
    const int64_t        Nk = a->in[1]->s.d[0];
    const T             *q = op_values<T>(a->in[0]), *k = op_values<T>(a->in[1]);
    T                   *s = op_values<T>(a->out[0]);

    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const int64_t at = i / Nk, row = i % Nk, h = at % w.H;
        wide<T>       slope, v = -INFINITY;
        if (w.sequence_of(w.q_offsets, (int)(at / w.H)) < 0)
            return;
        if (sees(w, (int)(at / w.H), (int)row))
            v = score_of<wide<T>>(w, dot<T>(q + at * w.D, k + (row * w.Hk + h / w.G) * w.D, w.D), &slope);
        store(s + i, v);
    });
}

template <class T> static void backward_q(const op_args *a, const attention_view &view)
{
    const attention_view w = view;
    const int64_t        Nk = a->in[1]->s.d[0];
    const T *q = op_values<T>(a->in[0]), *k = op_values<T>(a->in[1]), *ds = op_values<T>(a->gout[0]);
    T       *dq = op_values<T>(a->gin[0]);

    over_values(a, a->in[0], [=] __device__(int64_t i) {
        const int64_t at = i / w.D, h = at % w.H;
        wide<T>       sum = 0, slope;
        for (int64_t row = 0; row < Nk; row++)
            if (sees(w, (int)(at / w.H), (int)row)) {
                const T *key = k + (row * w.Hk + h / w.G) * w.D;
                score_of<wide<T>>(w, dot<T>(q + at * w.D, key, w.D), &slope);
                sum += slope * load(ds + at * Nk + row) * load(key + i % w.D);
            }
        add_to(dq + i, sum);
    });
}

template <class T> static void backward_k(const op_args *a, const attention_view &view)
{
    const attention_view w = view;
    const int64_t        Nk = a->in[1]->s.d[0];
    const row_count      rows = op_count(a, a->in[0]);
    const T *q = op_values<T>(a->in[0]), *k = op_values<T>(a->in[1]), *ds = op_values<T>(a->gout[0]);
    T       *dk = op_values<T>(a->gin[1]);

    over_values(a, a->in[1], [=] __device__(int64_t i) {
        const int64_t row = i / w.D / w.Hk, hk = i / w.D % w.Hk;
        const T      *key = k + (row * w.Hk + hk) * w.D;
        wide<T>       sum = 0, slope;
        for (int64_t n = 0; n < rows.used(); n++)
            for (int64_t h = hk * w.G; sees(w, (int)n, (int)row) && h < (hk + 1) * w.G; h++) {
                const T *query = q + (n * w.H + h) * w.D;
                score_of<wide<T>>(w, dot<T>(query, key, w.D), &slope);
                sum += slope * load(ds + (n * w.H + h) * Nk + row) * load(query + i % w.D);
            }
        add_to(dk + i, sum);
    });
}

template <class T> static void backward(const op_args *a)
{
    if (a->gin[0])
        backward_q<T>(a, view_of(a));
    if (a->gin[1])
        backward_k<T>(a, view_of(a));
}

OP_CUDA(attention_scores, 0)
