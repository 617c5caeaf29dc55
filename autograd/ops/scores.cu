/* scores on the device: see scores.c. A bf16 product has f32 sums, and takes an f32 weight as two bf16 ones, what
 * rounding makes of it and what that leaves: only the gradients are made of rounded values. */
#include "autograd/ops/linear.cuh"

/* c[m, n] (+)= a[m, k] b[n, k]^T with a result in f32 */
template <class T>
static void multiply(const T *a, const T *b, int64_t m, int64_t n, int64_t k, wide<T> *c, bool accumulate)
{
    cuda_product p = {};

    p.m = m, p.n = n, p.k = k;
    p.a = a, p.lda = k;
    p.b = b, p.ldb = k, p.b_turned = true;
    p.c = c, p.ldc = n;
    p.type = dtype_of<T>::value;
    p.type_c = dtype_of<wide<T>>::value;
    p.alpha = 1;
    p.accumulate = accumulate;
    cuda_multiply(&p);
}

template <class T> static void weigh(const op_args *a, const T *x, int64_t N, int64_t M, int64_t K, T *y)
{
    multiply<T>(x, op_values<T>(a->in[1]), N, M, K, y, false);
}

static void weigh(const op_args *a, const bf16 *x, int64_t N, int64_t M, int64_t K, float *y)
{
    const float *w = op_values<float>(a->in[1]);
    bf16        *high = static_cast<bf16 *>(cuda_scratch(SCRATCH_LOW, (size_t)(2 * M * K + 128) * sizeof(bf16)));
    bf16        *low = high + (M * K + 127) / 128 * 128;

    over_values(a, a->in[1], [=] __device__(int64_t i) {
        store(high + i, w[i]);
        store(low + i, w[i] - load(high + i));
    });
    multiply<bf16>(x, high, N, M, K, y, false);
    multiply<bf16>(x, low, N, M, K, y, true);
}

template <class T> static void forward(const op_args *a)
{
    const tensor *x = a->in[0], *w = a->in[1];

    weigh(a, op_values<T>(x), op_bound(x), w->s.d[0], w->s.d[1], op_values<wide<T>>(a->out[0]));
}

/* The upstream gradient in T, of which the last argument tells. */
template <class T> static const T *upstream(const op_args *, const T *dy, const T *)
{
    return dy;
}

static const bf16 *upstream(const op_args *a, const float *dy, const bf16 *)
{
    const tensor *t = a->gout[0];
    bf16         *d = static_cast<bf16 *>(cuda_scratch(SCRATCH_LOW, (size_t)(t->s.d[0] * t->s.d[1]) * sizeof(bf16)));

    over_values(a, t, [=] __device__(int64_t i) { store(d + i, dy[i]); });
    return d;
}

template <class T> static void backward(const op_args *a)
{
    const tensor *dy = a->gout[0], *w = a->in[1];
    const int64_t M = w->s.d[0], K = w->s.d[1];
    const T      *d = upstream(a, op_values<wide<T>>(dy), static_cast<const T *>(NULL));

    if (a->gin[0])
        product_plain<T>(d, static_cast<const T *>(cuda_weight(w, dtype_of<T>::value)), op_bound(dy), M, K,
                         op_values<T>(a->gin[0]), 1, !a->fresh[0]);
    if (a->gin[1])
        token_sum<T>(op_count(a, dy), d, M, op_values<T>(a->in[0]), K, op_values<wide<T>>(a->gin[1]), 1);
}

OP_CUDA(scores, IN0)
