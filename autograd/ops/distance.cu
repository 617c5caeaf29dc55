/* distance on the device: see distance.c */
#include "autograd/ops/total.cuh"

/* x0 is as wide as x, or, expanded from how it is stored, as activations are. */
template <class T, class S> static void forward_from(const op_args *a)
{
    typedef wide<T> W;
    const W        *x = op_values<W>(a->in[0]);
    const S        *from = op_values<S>(a->in[1]);

    total(a, a->in[0], op_values<W>(a->out[0]), false, [=] __device__(int64_t i) -> double {
        const double d = (double)x[i] - (double)load(from + i);
        return d < 0 ? -d : d;
    });
}

template <class T> static void forward(const op_args *a)
{
    if (op_is<T>(a->in[1]))
        forward_from<T, T>(a);
    else
        forward_from<T, wide<T>>(a);
}

template <class T, class S> static void backward_from(const op_args *a)
{
    typedef wide<T> W;
    const W        *x = op_values<W>(a->in[0]), *dy = op_values<W>(a->gout[0]);
    const S        *from = op_values<S>(a->in[1]);
    W              *dx = op_values<W>(a->gin[0]);

    over_values(a, a->in[0], [=] __device__(int64_t i) {
        const W x0 = load(from + i);
        dx[i] += x[i] > x0 ? *dy : x[i] < x0 ? -*dy : (W)0;
    });
}

template <class T> static void backward(const op_args *a)
{
    if (!a->gin[0])
        return;
    if (op_is<T>(a->in[1]))
        backward_from<T, T>(a);
    else
        backward_from<T, wide<T>>(a);
}

OP_CUDA(distance, 0)
