/* affine on the device: see affine.c */
#include "autograd/ops/columns.cuh"

template <class T> static void forward(const op_args *a)
{
    const T       *x = op_values<T>(a->in[0]);
    const wide<T> *k = op_values<wide<T>>(a->in[1]), *b = op_values<wide<T>>(a->in[2]);
    T             *y = op_values<T>(a->out[0]);
    const int64_t  C = a->in[0]->s.d[1];
    const wide<T>  factor = (wide<T>)a->attr->affine.factor;

    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const wide<T> v = load(x + i);
        store(y + i, (k ? v * k[i % C] : v) + (b ? factor * b[i % C] : wide<T>(0)));
    });
}

template <class T> static void backward(const op_args *a)
{
    const int64_t   C = shape_last_of(a->gout[0]);
    const row_count rows = op_count(a, a->gout[0]);
    const T        *dy = op_values<T>(a->gout[0]);
    T              *dx = op_values<T>(a->gin[0]);

    if (dx) {
        const wide<T> *k = op_values<wide<T>>(a->in[1]);
        const bool     fresh = a->fresh[0];
        over_values(a, a->gout[0], [=] __device__(int64_t i) {
            give(dx + i, k ? load(dy + i) * k[i % C] : load(dy + i), fresh);
        });
    }
    if (a->gin[1]) {
        const T *x = op_values<T>(a->in[0]);
        add_columns(rows, C, op_values<wide<T>>(a->gin[1]), [=] __device__(int64_t n, int64_t c) -> wide<T> {
            return load(dy + n * C + c) * load(x + n * C + c);
        });
    }
    if (a->gin[2]) {
        const wide<T> factor = (wide<T>)a->attr->affine.factor;
        add_columns(rows, C, op_values<wide<T>>(a->gin[2]), [=] __device__(int64_t n, int64_t c) -> wide<T> {
            return factor * load(dy + n * C + c);
        });
    }
}

OP_CUDA(affine, IN0)
