/* add on the device: see add.c */
#include "autograd/ops/kernel.cuh"

template <class T> static void forward(const op_args *a)
{
    const T *x = op_values<T>(a->in[0]), *z = op_values<T>(a->in[1]);
    T       *y = op_values<T>(a->out[0]);

    over_values(a, a->out[0], [=] __device__(int64_t i) { store(y + i, load(x + i) + load(z + i)); });
}

template <class T> static void backward(const op_args *a)
{
    const T *dy = op_values<T>(a->gout[0]);

    for (int k = 0; k < 2; k++) { /* one after the other: both may be the same */
        const bool fresh = a->fresh[k];
        T         *dx = op_values<T>(a->gin[k]);
        if (dx)
            over_values(a, a->gout[0], [=] __device__(int64_t i) { give(dx + i, load(dy + i), fresh); });
    }
}

OP_CUDA(add, IN0 | IN1)
