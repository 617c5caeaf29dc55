/* silu on the device: see silu.c */
#include "autograd/ops/kernel.cuh"

template <class T> static void forward(const op_args *a)
{
    const T *x = op_values<T>(a->in[0]);
    T       *y = op_values<T>(a->out[0]);

    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const wide<T> v = load(x + i);
        store(y + i, v * sigmoid(v));
    });
}

template <class T> static void backward(const op_args *a)
{
    const T *x = op_values<T>(a->in[0]), *dy = op_values<T>(a->gout[0]);
    T       *dx = op_values<T>(a->gin[0]);
    const bool fresh = a->fresh[0];

    if (dx)
        over_values(a, a->gout[0], [=] __device__(int64_t i) {
            const wide<T> v = load(x + i), s = sigmoid(v);
            give(dx + i, load(dy + i) * (s * (1 + v * (1 - s))), fresh);
        });
}

OP_CUDA(silu, IN0)
