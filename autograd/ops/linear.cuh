/* linear: the products of linear, lora and linear_lora on the device */
#ifndef AUTOGRAD_OPS_LINEAR_CUH
#define AUTOGRAD_OPS_LINEAR_CUH

#include "autograd/ops/columns.cuh"
#include "autograd/ops/token_sum.cuh"

/* y[N, M] = alpha x[N, K] w[M, K]^T (+ y) (+ bias[M]) */
template <class T>
static void product_turned(const T *x, const T *w, int64_t N, int64_t M, int64_t K, T *y, double alpha,
                           bool accumulate, const T *bias = NULL)
{
    cuda_product p = {};

    p.m = N, p.n = M, p.k = K;
    p.a = x, p.lda = K;
    p.b = w, p.ldb = K, p.b_turned = true;
    p.c = y, p.ldc = M;
    p.type = p.type_c = dtype_of<T>::value;
    p.alpha = alpha;
    p.accumulate = accumulate;
    p.bias = bias;
    cuda_multiply(&p);
}

/* dx[N, K] = alpha dy[N, M] w[M, K] (+ dx) */
template <class T>
static void product_plain(const T *dy, const T *w, int64_t N, int64_t M, int64_t K, T *dx, double alpha,
                          bool accumulate)
{
    cuda_product p = {};

    p.m = N, p.n = K, p.k = M;
    p.a = dy, p.lda = M;
    p.b = w, p.ldb = K;
    p.c = dx, p.ldc = K;
    p.type = p.type_c = dtype_of<T>::value;
    p.alpha = alpha;
    p.accumulate = accumulate;
    cuda_multiply(&p);
}

/* y[n, m] = b[m] */
template <class T> static void spread_bias(const op_args *a, const wide<T> *b, const tensor *y)
{
    const int64_t M = shape_last_of(y);
    T            *v = op_values<T>(y);

    over_values(a, y, [=] __device__(int64_t i) { store(v + i, b[i % M]); });
}

/* A bias that the product adds: one of its own type. An f32 bias of a bf16 product is spread before it. */
template <class T> static const T *product_bias(const tensor *b)
{
    return b && op_is<T>(b) ? op_values<T>(b) : NULL;
}

/* dw[M, K] += dy^T x. A weight made of others is of type T, and so is its gradient, rounded once. */
template <class T>
static void weight_sum(const op_args *a, const tensor *dy, const T *x, int64_t K, const tensor *dw)
{
    const int64_t M = dy->s.d[1];

    if (op_is<wide<T>>(dw)) {
        token_sum<T>(op_count(a, dy), op_values<T>(dy), M, x, K, op_values<wide<T>>(dw), 1);
        return;
    }
    wide<T> *sum = static_cast<wide<T> *>(cuda_scratch(SCRATCH_SUM, (size_t)(M * K) * sizeof(wide<T>)));
    T       *to = op_values<T>(dw);
    over_values(a, dw, [=] __device__(int64_t i) { sum[i] = 0; });
    token_sum<T>(op_count(a, dy), op_values<T>(dy), M, x, K, sum, 1);
    over_values(a, dw, [=] __device__(int64_t i) { add_to(to + i, sum[i]); });
}

/* y = x w^T + b, added to y if it is begun already: inputs x [N,K], w [M,K], b [M] or NULL */
template <class T> static void linear_forward(const op_args *a, bool begun)
{
    const tensor *x = a->in[0], *w = a->in[1], *b = a->in[2];
    const T      *v = static_cast<const T *>(cuda_weight(w, dtype_of<T>::value));
    const bool    spread = b && !begun && !product_bias<T>(b);

    if (spread)
        spread_bias<T>(a, op_values<wide<T>>(b), a->out[0]);
    product_turned<T>(op_values<T>(x), v, op_bound(x), w->s.d[0], w->s.d[1], op_values<T>(a->out[0]), 1,
                      begun || spread, product_bias<T>(b));
}

/* begun: dx holds something already */
template <class T> static void linear_backward(const op_args *a, bool begun)
{
    const tensor *dy = a->gout[0], *w = a->in[1];
    const int64_t M = dy->s.d[1], K = a->in[0]->s.d[1];
    const T      *d = op_values<T>(dy);

    if (a->gin[0])
        product_plain<T>(d, static_cast<const T *>(cuda_weight(w, dtype_of<T>::value)), op_bound(dy), M, K,
                         op_values<T>(a->gin[0]), 1, begun);
    if (a->gin[1])
        weight_sum<T>(a, dy, op_values<T>(a->in[0]), K, a->gin[1]);
    if (a->gin[2])
        add_columns<wide<T>>(op_count(a, dy), M, op_values<wide<T>>(a->gin[2]),
                             [=] __device__(int64_t n, int64_t m) { return load(d + n * M + m); });
}

/* ---- low rank ------------------------------------------------------------------------------------------ */

/* A low-rank part of an operation: x [N,K], a [R,K], b [M,R]; h = x a^T [N,R] in T, kept in `aux`. */
template <class T> struct low_rank {
    const op_args *args;
    const tensor  *x, *a, *b;
    tensor        *da, *db;
    T             *h;
    double         factor;

    int64_t K() const
    {
        return x->s.d[1];
    }
    int64_t R() const
    {
        return a->s.d[0];
    }
    int64_t M() const
    {
        return b->s.d[0];
    }
};

/* The factors in T. f32 factors of a bf16 run are rounded for each use: they are small. */
template <class T> struct factors {
    const T *a, *b;
    T       *dh; /* scratch [N,R] */
};

template <class T> static factors<T> low_rank_open(const low_rank<T> &l)
{
    const int64_t R = l.R(), N = l.x->s.d[0], na = R * l.K(), nb = R * l.M();
    T         *at = static_cast<T *>(cuda_scratch(SCRATCH_LOW, (size_t)(na + nb + N * R + 512) * sizeof(T)));
    factors<T> f = {op_is<T>(l.a) ? static_cast<const T *>(l.a->v) : at,
                    op_is<T>(l.b) ? static_cast<const T *>(l.b->v) : at + (na + 127) / 128 * 128,
                    at + (na + 127) / 128 * 128 + (nb + 127) / 128 * 128};

    if (f.a == at && l.a->v) /* backward has only what it declared to read */
        cuda_weight_rows(l.a, NULL, NULL, R, at, dtype_of<T>::value);
    if (!op_is<T>(l.b) && l.b->v)
        cuda_weight_rows(l.b, NULL, NULL, l.M(), const_cast<T *>(f.b), dtype_of<T>::value);
    return f;
}

/* h = x a^T, then y = factor h b^T (+ y) */
template <class T> static void low_rank_forward(const low_rank<T> &l, T *y, bool accumulate)
{
    const factors<T> f = low_rank_open(l);
    const int64_t    N = op_bound(l.x);

    product_turned<T>(op_values<T>(l.x), f.a, N, l.R(), l.K(), l.h, 1, false);
    product_turned<T>(l.h, f.b, N, l.M(), l.R(), y, l.factor, accumulate);
}

/* db += factor dy^T h, dh = factor dy b, da += dh^T x, dx += dh a (or dx = dh a); dx may be NULL */
template <class T> static void low_rank_backward(const low_rank<T> &l, const tensor *dy, T *dx, bool fresh)
{
    const factors<T> f = low_rank_open(l);
    const int64_t    N = op_bound(dy);
    const T         *d = op_values<T>(dy);

    if (l.db)
        token_sum<T>(op_count(l.args, dy), d, l.M(), l.h, l.R(), op_values<wide<T>>(l.db), l.factor);
    if (!l.da && !dx)
        return;
    product_plain<T>(d, f.b, N, l.M(), l.R(), f.dh, l.factor, false);
    if (l.da)
        token_sum<T>(op_count(l.args, dy), f.dh, l.R(), op_values<T>(l.x), l.K(), op_values<wide<T>>(l.da),
                     1);
    if (dx)
        product_plain<T>(f.dh, f.a, N, l.R(), l.K(), dx, 1, !fresh);
}

#endif
