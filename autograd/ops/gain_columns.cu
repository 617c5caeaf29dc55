/* gain_columns on the device: see gain_columns.c */
#include "autograd/ops/kernel.cuh"

template <class T> static void forward(const op_args *a)
{
    const int64_t  R = shape_last_of(a->out[0]), E = shape_last_of(a->in[1]);
    const int32_t *owner = op_values_of<int32_t>(a->in[2]);
    const T       *u = op_values<T>(a->in[0]);
    const wide<T> *w = op_values<wide<T>>(a->in[1]), *scales = op_values<wide<T>>(a->in[3]);
    T             *v = op_values<T>(a->out[0]);

    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const int64_t e = owner[i % R];
        store(v + i, load(u + i) * (w[i / R * E + e] * scales[e]));
    });
}

template <class T> static void backward(const op_args *a)
{
    const int64_t  R = shape_last_of(a->gout[0]), E = shape_last_of(a->in[1]);
    const int32_t *owner = op_values_of<int32_t>(a->in[2]);
    const T       *dv = op_values<T>(a->gout[0]), *u = op_values<T>(a->in[0]);
    const wide<T> *w = op_values<wide<T>>(a->in[1]), *scales = op_values<wide<T>>(a->in[3]);
    T             *du = op_values<T>(a->gin[0]);
    wide<T>       *dw = op_values<wide<T>>(a->gin[1]);
    const bool     fresh = a->fresh[0];

    if (du)
        over_values(a, a->gin[0], [=] __device__(int64_t i) {
            const int64_t e = owner[i % R];
            give(du + i, load(dv + i) * (w[i / R * E + e] * scales[e]), fresh);
        });
    if (dw)
        over_values(a, a->gin[1], [=] __device__(int64_t i) {
            const int64_t first = i / E * R;
            wide<T>       sum = 0;
            for (int64_t r = 0; r < R; r++)
                if (owner[r] == i % E)
                    sum += load(dv + first + r) * load(u + first + r);
            dw[i] += scales[i % E] * sum;
        });
}

OP_CUDA(gain_columns, IN0)
