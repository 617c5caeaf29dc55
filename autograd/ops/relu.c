/* relu: y = max(x, 0)
 *
 * dx += dy where y > 0 */
#include "autograd/ops/kernel.h"

status op_relu_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_real("relu", "x", a->in[0], a->in[0]->s));
    *out = a->in[0]->s;
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const real *x = a->in[0]->v;
    real       *y = a->out[0]->v; /* may be x */

#pragma GCC ivdep
    for (int64_t i = from; i < to; i++)
        y[i] = x[i] < 0 ? 0 : x[i];
}

void op_relu_fwd_cpu(const op_args *a)
{
    op_over(a, values_in_use(a->out[0]), PIECE_VALUES, forward);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const real    *y = a->out[0]->v, *dy = a->gout[0]->v;
    real *RESTRICT dx = a->gin[0]->v;

    for (int64_t i = from; i < to; i++)
        dx[i] += y[i] > 0 ? dy[i] : 0;
}

void op_relu_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, values_in_use(a->gout[0]), PIECE_VALUES, backward);
}
