/* scale on the device: see scale.c */
#include "autograd/ops/kernel.cuh"

template <class T> static void forward(const op_args *a)
{
    const wide<T> factor = (wide<T>)a->attr->scale.factor;
    const T      *x = op_values<T>(a->in[0]);
    T            *y = op_values<T>(a->out[0]);

    over_values(a, a->out[0], [=] __device__(int64_t i) { store(y + i, factor * load(x + i)); });
}

template <class T> static void backward(const op_args *a)
{
    const wide<T> factor = (wide<T>)a->attr->scale.factor;
    const T      *dy = op_values<T>(a->gout[0]);
    T            *dx = op_values<T>(a->gin[0]);
    const bool fresh = a->fresh[0];

    if (dx)
        over_values(a, a->gout[0], [=] __device__(int64_t i) { give(dx + i, factor * load(dy + i), fresh); });
}

OP_CUDA(scale, IN0)
