/* scale_by on the device: see scale_by.c */
#include "autograd/ops/total.cuh"

template <class T> static void forward(const op_args *a)
{
    const wide<T> *s = op_values<wide<T>>(a->in[1]);
    const T       *x = op_values<T>(a->in[0]);
    T             *y = op_values<T>(a->out[0]);

    over_values(a, a->out[0], [=] __device__(int64_t i) { store(y + i, *s * load(x + i)); });
}

template <class T> static void backward(const op_args *a)
{
    const T   *dy = op_values<T>(a->gout[0]);
    T         *dx = op_values<T>(a->gin[0]);
    const bool fresh = a->fresh[0];

    if (dx) {
        const wide<T> *s = op_values<wide<T>>(a->in[1]);
        over_values(a, a->gout[0], [=] __device__(int64_t i) { give(dx + i, *s * load(dy + i), fresh); });
    }
    if (a->gin[1]) {
        const T *x = op_values<T>(a->in[0]);
        total(a, a->gout[0], op_values<wide<T>>(a->gin[1]), true,
              [=] __device__(int64_t i) -> double { return (double)load(x + i) * (double)load(dy + i); });
    }
}

OP_CUDA(scale_by, IN0)
