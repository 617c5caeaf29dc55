/* pick_rows on the device: see pick_rows.c */
#include "autograd/ops/rows.cuh"

template <class T> static void forward(const op_args *a)
{
    const int64_t  C = a->in[0]->s.d[1];
    const int32_t *rows = op_values_of<int32_t>(a->in[2]);
    const T       *x = op_values<T>(a->in[0]), *other = op_values<T>(a->in[1]);
    T             *y = op_values<T>(a->out[0]);

    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const int64_t row = rows[i / C];
        y[i] = row >= 0 ? x[row * C + i % C] : other[(-1 - row) * C + i % C];
    });
}

template <class T> static void backward(const op_args *a)
{
    if (a->gin[0])
        add_rows<T>(a, a->in[2], a->gout[0], op_values<T>(a->gin[0]));
    if (a->gin[1])
        add_rows<T>(a, a->in[2], a->gout[0], op_values<T>(a->gin[1]), true);
}

OP_CUDA(pick_rows, 0)
