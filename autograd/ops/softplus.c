/* softplus: y = log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))
 *
 * dx += dy * s, s = 1 / (1 + exp(-x)) */
#include "autograd/ops/kernel.h"
#include "autograd/ops/vector_math.h"

status op_softplus_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_real("softplus", "x", a->in[0], a->in[0]->s));
    *out = a->in[0]->s;
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const real    *x = a->in[0]->v;
    real *RESTRICT y = a->out[0]->v;

    for (int64_t i = from; i < to; i++)
        y[i] = (x[i] < 0 ? 0 : x[i]) + (real)log1p((double)real_exp(x[i] < 0 ? x[i] : -x[i]));
}

void op_softplus_fwd_cpu(const op_args *a)
{
    op_over(a, values_in_use(a->out[0]), PIECE_VALUES, forward);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const real    *x = a->in[0]->v, *dy = a->gout[0]->v;
    real *RESTRICT dx = a->gin[0]->v;

    for (int64_t i = from; i < to; i++)
        dx[i] += dy[i] * real_sigmoid(x[i]);
}

void op_softplus_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, values_in_use(a->gout[0]), PIECE_VALUES, backward);
}
