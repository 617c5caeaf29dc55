/* waves on the device: see waves.c */
#include "autograd/ops/kernel.cuh"

template <class T> static void forward(const op_args *a)
{
    const int64_t  M = a->out[0]->s.d[0], C = a->out[0]->s.d[1];
    const int32_t *p = op_values_of<int32_t>(a->in[0]);
    const bool     sine = a->attr->waves.sine;
    T             *y = op_values<T>(a->out[0]);

    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const double angle = 6.283185307179586 * (double)(i / C * p[i % C] % M) / (double)M;
        store(y + i, (wide<T>)(sine ? sin(angle) : cos(angle)));
    });
}

template <class T> static void backward(const op_args *)
{
}

OP_CUDA(waves, 0)
