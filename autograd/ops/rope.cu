/* rope on the device: see rope.c */
#include "autograd/ops/kernel.cuh"

/* f(x's two places, cos, sin) for every pair of channels in use */
template <class T, class F> static void over_pairs(const op_args *a, const tensor *x, F f)
{
    const int64_t  D = a->in[1]->s.d[1], half = D / 2, pairs = x->s.d[1] / 2;
    const wide<T> *table = op_values<wide<T>>(a->in[1]);
    const tensor   rows = {.s = {2, {x->s.d[0], pairs}}, .type = x->type, .v = NULL, .rows = x->rows};

    over_values(a, &rows, [=] __device__(int64_t i) {
        const int64_t n = i / pairs, h = i % pairs / half, c = i % half, at = n * pairs * 2 + h * D + c;
        f(at, at + half, table[n * D + c], table[n * D + half + c]);
    });
}

template <class T> static void forward(const op_args *a)
{
    const T *x = op_values<T>(a->in[0]);
    T       *y = op_values<T>(a->out[0]); /* may be x */

    over_pairs<T>(a, a->in[0], [=] __device__(int64_t i, int64_t j, wide<T> c, wide<T> s) {
        const wide<T> p = load(x + i), q = load(x + j);
        store(y + i, p * c - q * s);
        store(y + j, q * c + p * s);
    });
}

template <class T> static void backward(const op_args *a)
{
    const T *dy = op_values<T>(a->gout[0]);
    T       *dx = op_values<T>(a->gin[0]);
    const bool fresh = a->fresh[0];

    if (dx)
        over_pairs<T>(a, a->gout[0], [=] __device__(int64_t i, int64_t j, wide<T> c, wide<T> s) {
            const wide<T> p = load(dy + i), q = load(dy + j);
            give(dx + i, p * c + q * s, fresh);
            give(dx + j, q * c - p * s, fresh);
        });
}

OP_CUDA(rope, IN0)
