/* gather_rows on the device: see gather_rows.c */
#include "autograd/ops/rows.cuh"

template <class T> static void forward(const op_args *a)
{
    const int64_t  C = a->in[0]->s.d[1];
    const int32_t *rows = op_values_of<int32_t>(a->in[1]);
    const T       *x = op_values<T>(a->in[0]);
    T             *y = op_values<T>(a->out[0]);

    over_values(a, a->out[0], [=] __device__(int64_t i) { y[i] = x[rows[i / C] * C + i % C]; });
}

template <class T> static void backward(const op_args *a)
{
    if (a->gin[0])
        add_rows<T>(a, a->in[1], a->gout[0], op_values<T>(a->gin[0]));
}

OP_CUDA(gather_rows, 0)
