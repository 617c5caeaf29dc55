/* gelu on the device: see gelu.c */
#include "autograd/ops/kernel.cuh"

static constexpr double SLOPE = 1.5957691216057308, CUBE = 0.044715, QUICK = 1.702;

/* Phi(x) */
template <class W> static __device__ __forceinline__ W normal(W x)
{
    return W(0.5) * erfc_of(x * W(-0.70710678118654752));
}

/* x within -most .. most; NaN stays */
template <class W> static __device__ __forceinline__ W cut(W x, W most)
{
    return x > most ? most : x < -most ? -most : x;
}

template <class W> static __device__ __forceinline__ W value(W x, gelu_kind kind)
{
    if (kind == GELU_ERF)
        return x * normal(x);
    return x * sigmoid(kind == GELU_QUICK ? W(QUICK) * x : W(SLOPE) * (x + W(CUBE) * x * x * x));
}

/* d(x s(g)) / dx, where s' = s (1 - s) is made without the difference */
template <class W> static __device__ __forceinline__ W sigmoid_slope(W x, W g, W dg)
{
    const W e = exp_of(g < 0 ? g : -g), d = 1 / (1 + e);

    return (g < 0 ? e * d : d) + x * (e * d * d * dg);
}

template <class W> static __device__ __forceinline__ W slope(W x, gelu_kind kind)
{
    if (kind == GELU_ERF) {
        const W v = cut(x, W(40));
        return normal(v) + v * W(0.39894228040143268) * exp_of(W(-0.5) * v * v);
    }
    if (kind == GELU_TANH) {
        const W v = cut(x, W(16));
        return sigmoid_slope(v, W(SLOPE) * (v + W(CUBE) * v * v * v), W(SLOPE) * (1 + 3 * W(CUBE) * v * v));
    }
    return sigmoid_slope(x, W(QUICK) * x, W(QUICK));
}

template <class T> static void forward(const op_args *a)
{
    const T        *x = op_values<T>(a->in[0]);
    T              *y = op_values<T>(a->out[0]);
    const gelu_kind kind = a->attr->gelu.kind;

    over_values(a, a->out[0], [=] __device__(int64_t i) { store(y + i, value(load(x + i), kind)); });
}

template <class T> static void backward(const op_args *a)
{
    const T        *x = op_values<T>(a->in[0]), *dy = op_values<T>(a->gout[0]);
    T              *dx = op_values<T>(a->gin[0]);
    const gelu_kind kind = a->attr->gelu.kind;
    const bool      fresh = a->fresh[0];

    if (dx)
        over_values(a, a->gout[0], [=] __device__(int64_t i) {
            give(dx + i, load(dy + i) * slope(load(x + i), kind), fresh);
        });
}

OP_CUDA(gelu, IN0)
