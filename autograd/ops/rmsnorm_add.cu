/* rmsnorm_add on the device: see rmsnorm_add.c */
#include "autograd/ops/rmsnorm.cuh"

template <class T> static void forward(const op_args *a)
{
    const tensor *x = a->in[0];

    if (op_bound(x) > 0)
        LAUNCH(norm_forward<T>, (unsigned)op_bound(x), threads_for(x->s.d[1]), 0, op_count(a, x), x->s.d[1],
               a->attr->rmsnorm.eps, wide<T>(0), op_values<T>(x), op_values<T>(a->in[1]), op_values<wide<T>>(a->in[2]),
               op_values<T>(a->out[0]), op_values<T>(a->out[1]), op_aux<T>(a));
}

template <class T> static void backward(const op_args *a)
{
    const tensor *s = a->out[0];

    if ((a->gin[0] || a->gin[1]) && op_bound(s) > 0)
        LAUNCH(norm_backward<T>, (unsigned)op_bound(s), threads_for(s->s.d[1]), 0, op_count(a, s), s->s.d[1],
               wide<T>(0), op_values<T>(s), op_values<wide<T>>(a->in[2]), op_aux<T>(a), op_values<T>(a->gout[0]),
               op_values<T>(a->gout[1]), op_values<T>(a->gin[0]), op_values<T>(a->gin[1]), a->fresh[0],
               a->fresh[1]);
    if (a->gin[2] && a->gout[1])
        norm_weight_backward<T>(a, op_count(a, s), s, a->gout[1], a->gin[2]);
}

OP_CUDA(rmsnorm_add, IN0 | IN1)
