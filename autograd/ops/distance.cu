/* distance on the device: see distance.c */
#include "autograd/ops/total.cuh"

template <class T> static void forward(const op_args *a)
{
    typedef wide<T> W;
    const W        *x = op_values<W>(a->in[0]), *from = op_values<W>(a->in[1]);

    total(a, a->in[0], op_values<W>(a->out[0]), false, [=] __device__(int64_t i) -> double {
        const double d = (double)x[i] - (double)from[i];
        return d < 0 ? -d : d;
    });
}

template <class T> static void backward(const op_args *a)
{
    typedef wide<T> W;
    const W        *x = op_values<W>(a->in[0]), *from = op_values<W>(a->in[1]), *dy = op_values<W>(a->gout[0]);
    W              *dx = op_values<W>(a->gin[0]);

    if (dx)
        over_values(a, a->in[0], [=] __device__(int64_t i) {
            dx[i] += x[i] > from[i] ? *dy : x[i] < from[i] ? -*dy : (W)0;
        });
}

OP_CUDA(distance, 0)
