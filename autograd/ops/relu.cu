/* relu on the device: see relu.c */
#include "autograd/ops/kernel.cuh"

template <class T> static void forward(const op_args *a)
{
    const T *x = op_values<T>(a->in[0]);
    T       *y = op_values<T>(a->out[0]); /* may be x */

    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const wide<T> v = load(x + i);
        store(y + i, v < 0 ? 0 : v);
    });
}

template <class T> static void backward(const op_args *a)
{
    const T   *y = op_values<T>(a->out[0]), *dy = op_values<T>(a->gout[0]);
    T         *dx = op_values<T>(a->gin[0]);
    const bool fresh = a->fresh[0];

    if (dx)
        over_values(a, a->gout[0], [=] __device__(int64_t i) {
            give(dx + i, load(y + i) > 0 ? load(dy + i) : wide<T>(0), fresh);
        });
}

OP_CUDA(relu, IN0)
