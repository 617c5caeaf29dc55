/* khatri_rao on the device: see khatri_rao.c */
#include "autograd/ops/kernel.cuh"

template <class T> static void forward(const op_args *a)
{
    typedef wide<T> W;
    const W        *x = op_values<W>(a->in[0]), *g = op_values<W>(a->in[1]);
    T              *y = op_values<T>(a->out[0]);
    const int64_t   R = a->in[0]->s.d[0], J = a->in[0]->s.d[1], B = a->in[1]->s.d[0];

    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const int64_t j = i / (R * B), k = i % (R * B) / B, b = i % B;
        store(y + i, x[k * J + j] * g[b * J + j]);
    });
}

template <class T> static void backward(const op_args *a)
{
    typedef wide<T> W;
    const int64_t   R = a->in[0]->s.d[0], J = a->in[0]->s.d[1], B = a->in[1]->s.d[0];
    const W        *x = op_values<W>(a->in[0]), *g = op_values<W>(a->in[1]);
    const T        *dy = op_values<T>(a->gout[0]);
    W              *dx = op_values<W>(a->gin[0]), *dg = op_values<W>(a->gin[1]);

    if (dx)
        over_values(a, a->gin[0], [=] __device__(int64_t i) {
            const int64_t k = i / J, j = i % J;
            W             sum = 0;
            for (int64_t b = 0; b < B; b++)
                sum += load(dy + (j * R + k) * B + b) * g[b * J + j];
            dx[i] += sum;
        });
    if (dg)
        over_values(a, a->gin[1], [=] __device__(int64_t i) {
            const int64_t b = i / J, j = i % J;
            W             sum = 0;
            for (int64_t k = 0; k < R; k++)
                sum += load(dy + (j * R + k) * B + b) * x[k * J + j];
            dg[i] += sum;
        });
}

OP_CUDA(khatri_rao, 0)
