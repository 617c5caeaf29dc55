/* rmsnorm on the device: see rmsnorm.c */
#include "autograd/ops/rmsnorm.cuh"

/* Stretches of the weight's length in a row. */
static int64_t stretches(const op_args *a)
{
    return a->in[0]->s.d[1] / a->in[1]->s.d[0];
}

static row_count stretch_count(const op_args *a)
{
    row_count rows = op_count(a, a->in[0]);

    rows.more = stretches(a) - 1;
    return rows;
}

template <class T> static void forward(const op_args *a)
{
    const int64_t C = a->in[1]->s.d[0], n = op_bound(a->in[0]) * stretches(a);

    if (n > 0)
        LAUNCH(norm_forward<T>, (unsigned)n, threads_for(C), 0, stretch_count(a), C, a->attr->rmsnorm.eps,
               (wide<T>)a->attr->rmsnorm.offset, op_values<T>(a->in[0]), (const T *)NULL,
               op_values<wide<T>>(a->in[1]), (T *)NULL, op_values<T>(a->out[0]), op_aux<T>(a));
}

template <class T> static void backward(const op_args *a)
{
    const int64_t C = a->in[1]->s.d[0], n = op_bound(a->in[0]) * stretches(a);

    if (a->gin[0] && n > 0)
        LAUNCH(norm_backward<T>, (unsigned)n, threads_for(C), 0, stretch_count(a), C,
               (wide<T>)a->attr->rmsnorm.offset, op_values<T>(a->in[0]), op_values<wide<T>>(a->in[1]),
               op_aux<T>(a), (const T *)NULL, op_values<T>(a->gout[0]), op_values<T>(a->gin[0]), (T *)NULL,
               a->fresh[0], false);
    if (a->gin[1])
        norm_weight_backward<T>(a, stretch_count(a), a->in[0], a->gout[0], a->gin[1]);
}

OP_CUDA(rmsnorm, IN0)
