/* swiglu on the device: see swiglu.c */
#include "autograd/ops/kernel.cuh"

template <class T> static void forward(const op_args *a)
{
    const T *gate = op_values<T>(a->in[0]), *up = op_values<T>(a->in[1]);
    T       *y = op_values<T>(a->out[0]);

    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const wide<T> g = load(gate + i);
        store(y + i, g * sigmoid(g) * load(up + i));
    });
}

template <class T> static void backward(const op_args *a)
{
    const T   *gate = op_values<T>(a->in[0]), *up = op_values<T>(a->in[1]), *dy = op_values<T>(a->gout[0]);
    T         *dgate = op_values<T>(a->gin[0]), *dup = op_values<T>(a->gin[1]);
    const bool fresh_gate = a->fresh[0], fresh_up = a->fresh[1];

    if (!dgate && !dup)
        return;
    over_values(a, a->gout[0], [=] __device__(int64_t i) { /* dgate may be dup */
        const wide<T> g = load(gate + i), s = sigmoid(g), d = load(dy + i);
        if (dgate)
            give(dgate + i, d * load(up + i) * (s * (1 + g * (1 - s))), fresh_gate);
        if (dup)
            give(dup + i, d * (g * s), fresh_up);
    });
}

OP_CUDA(swiglu, IN0 | IN1)
