/* rmsnorm on the device: see rmsnorm.c */
#include "autograd/ops/rmsnorm.cuh"

template <class T> static void forward(const op_args *a)
{
    const tensor *x = a->in[0];

    if (op_bound(x) > 0)
        LAUNCH(norm_forward<T>, (unsigned)op_bound(x), threads_for(x->s.d[1]), 0, op_count(a, x), x->s.d[1],
               a->attr->rmsnorm.eps, op_values<T>(x), (const T *)NULL, op_values<wide<T>>(a->in[1]),
               (T *)NULL, op_values<T>(a->out[0]), op_aux<T>(a));
}

template <class T> static void backward(const op_args *a)
{
    const tensor *x = a->in[0];

    if (a->gin[0] && op_bound(x) > 0)
        LAUNCH(norm_backward<T>, (unsigned)op_bound(x), threads_for(x->s.d[1]), 0, op_count(a, x), x->s.d[1],
               op_values<T>(x), op_values<wide<T>>(a->in[1]), op_aux<T>(a), (const T *)NULL,
               op_values<T>(a->gout[0]), op_values<T>(a->gin[0]), (T *)NULL, a->fresh[0], false);
    if (a->gin[1])
        norm_weight_backward<T>(a, x, a->gout[0], a->gin[1]);
}

OP_CUDA(rmsnorm, IN0)
