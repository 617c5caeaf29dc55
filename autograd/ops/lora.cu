/* lora on the device: see lora.c */
#include "autograd/ops/linear.cuh"

template <class T> static low_rank<T> low_rank_of(const op_args *a)
{
    return low_rank<T>{a, a->in[1], a->in[2], a->in[3], a->gin[2], a->gin[3], reinterpret_cast<T *>(a->aux),
                       a->attr->lora.factor};
}

template <class T> static void forward(const op_args *a)
{
    const T *y = op_values<T>(a->in[0]);
    T       *z = op_values<T>(a->out[0]); /* may be y */

    if (y != z)
        over_values(a, a->out[0], [=] __device__(int64_t i) { z[i] = y[i]; });
    low_rank_forward(low_rank_of<T>(a), z, true);
}

template <class T> static void backward(const op_args *a)
{
    const T *dy = op_values<T>(a->gout[0]);
    T       *dx = op_values<T>(a->gin[0]);
    const bool fresh = a->fresh[0];

    if (dx) /* first: x may be y */
        over_values(a, a->gout[0], [=] __device__(int64_t i) { give(dx + i, load(dy + i), fresh); });
    low_rank_backward(low_rank_of<T>(a), a->gout[0], op_values<T>(a->gin[1]), a->fresh[1]);
}

OP_CUDA(lora, IN0 | IN1)
