/* rope_table on the device: see rope_table.c */
#include "autograd/ops/kernel.cuh"

template <class T, class F> static void fill(const op_args *a, const F *f)
{
    const int64_t  half = a->in[1]->s.d[0];
    const int32_t *positions = op_values_of<int32_t>(a->in[0]);
    wide<T>       *y = op_values<wide<T>>(a->out[0]);
    const tensor   rows = {
          .s = {2, {a->in[0]->s.d[0], half}}, .type = TYPE_I32, .v = NULL, .rows = a->in[0]->rows};

    over_values(a, &rows, [=] __device__(int64_t i) {
        const int64_t n = i / half, c = i % half;
        const double  t = positions[n] * (double)f[c];
        y[n * 2 * half + c] = (wide<T>)cos(t);
        y[n * 2 * half + half + c] = (wide<T>)sin(t);
    });
}

template <class T> static void forward(const op_args *a)
{
    if (a->in[1]->type == TYPE_F64)
        fill<T>(a, op_values<double>(a->in[1]));
    else
        fill<T>(a, op_values<float>(a->in[1]));
}

template <class T> static void backward(const op_args *a)
{
    (void)a;
}

OP_CUDA(rope_table, 0)
