/* columns on the device: see columns.c */
#include "autograd/ops/kernel.cuh"

template <class T> static void forward(const op_args *a)
{
    const int64_t C = a->in[0]->s.d[1], width = a->attr->columns.width;
    const T      *x = op_values<T>(a->in[0]) + a->attr->columns.from;
    T            *y = op_values<T>(a->out[0]);

    over_values(a, a->out[0],
                [=] __device__(int64_t i) { store(y + i, load(x + i / width * C + i % width)); });
}

/* The other columns' gradients come from elsewhere, so that none is assigned. */
template <class T> static void backward(const op_args *a)
{
    const int64_t width = a->attr->columns.width;
    const T      *dy = op_values<T>(a->gout[0]);

    if (!a->gin[0])
        return;
    const int64_t C = a->gin[0]->s.d[1];
    T            *dx = op_values<T>(a->gin[0]) + a->attr->columns.from;
    over_values(a, a->gout[0],
                [=] __device__(int64_t i) { add_to(dx + i / width * C + i % width, load(dy + i)); });
}

OP_CUDA(columns, 0)
