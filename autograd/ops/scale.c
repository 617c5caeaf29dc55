/* scale: y = factor * x
 *
 * dx += factor * dy */
#include "autograd/ops/kernel.h"

status op_scale_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_real("scale", "x", a->in[0], a->in[0]->s));
    *out = a->in[0]->s;
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const real  factor = (real)a->attr->scale.factor;
    const real *x = a->in[0]->v;
    real       *y = a->out[0]->v; /* may be x */

#pragma GCC ivdep
    for (int64_t i = from; i < to; i++)
        y[i] = factor * x[i];
}

void op_scale_fwd_cpu(const op_args *a)
{
    op_over(a, values_in_use(a->out[0]), PIECE_VALUES, forward);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const real     factor = (real)a->attr->scale.factor;
    const real    *dy = a->gout[0]->v;
    real *RESTRICT dx = a->gin[0]->v;

    for (int64_t i = from; i < to; i++)
        dx[i] += factor * dy[i];
}

void op_scale_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, values_in_use(a->gout[0]), PIECE_VALUES, backward);
}
