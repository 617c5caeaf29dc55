/* softplus on the device: see softplus.c */
#include "autograd/ops/kernel.cuh"

template <class T> static void forward(const op_args *a)
{
    const T *x = op_values<T>(a->in[0]);
    T       *y = op_values<T>(a->out[0]);

    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const wide<T> v = load(x + i);
        store(y + i, (v < 0 ? 0 : v) + log1p_of(exp_of(v < 0 ? v : -v)));
    });
}

template <class T> static void backward(const op_args *a)
{
    const T   *x = op_values<T>(a->in[0]), *dy = op_values<T>(a->gout[0]);
    T         *dx = op_values<T>(a->gin[0]);
    const bool fresh = a->fresh[0];

    if (dx)
        over_values(a, a->gout[0],
                    [=] __device__(int64_t i) { give(dx + i, load(dy + i) * sigmoid(load(x + i)), fresh); });
}

OP_CUDA(softplus, IN0)
