/* scatter_rows on the device: see scatter_rows.c */
#include "autograd/ops/kernel.cuh"

template <class T> static void forward(const op_args *a)
{
    const int64_t  C = a->in[0]->s.d[1];
    const int32_t *slots = op_values_of<int32_t>(a->in[2]);
    const T       *x = op_values<T>(a->in[1]);
    T             *cache = op_values<T>(a->in[0]);

    over_values(a, a->in[1], [=] __device__(int64_t i) { cache[slots[i / C] * C + i % C] = x[i]; });
}

template <class T> static void backward(const op_args *a)
{
    (void)a;
}

OP_CUDA(scatter_rows, 0)
