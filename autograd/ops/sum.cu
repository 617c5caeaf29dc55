/* sum on the device: see sum.c */
#include "autograd/ops/total.cuh"

template <class T> static void forward(const op_args *a)
{
    const T *x = op_values<T>(a->in[0]);

    total(a, a->in[0], op_values<wide<T>>(a->out[0]), false,
          [=] __device__(int64_t i) -> double { return (double)load(x + i); });
}

template <class T> static void backward(const op_args *a)
{
    const wide<T> *dy = op_values<wide<T>>(a->gout[0]);
    T             *dx = op_values<T>(a->gin[0]);

    if (dx)
        over_values(a, a->in[0], [=] __device__(int64_t i) { add_to(dx + i, *dy); });
}

OP_CUDA(sum, 0)
