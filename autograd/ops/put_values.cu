/* put_values on the device: see put_values.c */
#include "autograd/ops/kernel.cuh"

template <class T, class S> static void put(const op_args *a)
{
    const int32_t *places = op_values_of<int32_t>(a->in[2]);
    const wide<T> *v = op_values<wide<T>>(a->in[1]);
    const S       *w = op_values<S>(a->in[0]);
    S             *y = op_values<S>(a->out[0]);

    if (y != w)
        over_values(a, a->out[0], [=] __device__(int64_t i) { y[i] = w[i]; });
    over_values(a, a->in[1], [=] __device__(int64_t e) { store(y + places[e], v[e]); });
}

/* w is stored as activations are, or wider. */
template <class T> static void forward(const op_args *a)
{
    if (op_is<T>(a->in[0]))
        put<T, T>(a);
    else
        put<T, wide<T>>(a);
}

template <class T, class G> static void gather(const op_args *a)
{
    const int32_t *places = op_values_of<int32_t>(a->in[2]);
    const G       *dy = op_values<G>(a->gout[0]);
    wide<T>       *dv = op_values<wide<T>>(a->gin[1]);
    const bool     fresh = a->fresh[1];

    over_values(a, a->gin[1], [=] __device__(int64_t e) { give(dv + e, load(dy + places[e]), fresh); });
}

template <class T> static void backward(const op_args *a)
{
    if (!a->gin[1])
        return;
    if (op_is<T>(a->gout[0]))
        gather<T, T>(a);
    else
        gather<T, wide<T>>(a);
}

OP_CUDA(put_values, IN1)
