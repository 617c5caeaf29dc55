/* expand on the device: see expand.c */
#include "autograd/ops/kernel.cuh"

template <class T> static void forward(const op_args *a)
{
    tensor rows = *a->in[0];

    if (rows.s.n == 1) { /* one row */
        rows.s.n = 2;
        rows.s.d[1] = rows.s.d[0];
        rows.s.d[0] = 1;
    }
    cuda_weight_rows(&rows, NULL, NULL, rows.s.d[0], a->out[0]->v, dtype_of<T>::value);
}

template <class T> static void backward(const op_args *a)
{
    const T    *dy = op_values<T>(a->gout[0]);
    wide<T>    *dw = op_values<wide<T>>(a->gin[0]);
    const bool  fresh = a->fresh[0];

    if (dw)
        over_values(a, a->gout[0], [=] __device__(int64_t i) { give(dw + i, load(dy + i), fresh); });
}

OP_CUDA(expand, IN0)
