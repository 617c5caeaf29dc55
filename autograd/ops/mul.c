/* mul: y = a * b
 *
 * da += dy * b, db += dy * a */
#include "autograd/ops/kernel.h"

status op_mul_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_real("mul", "a", a->in[0], a->in[0]->s));
    TRY(op_want_real("mul", "b", a->in[1], a->in[0]->s));
    *out = a->in[0]->s;
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const real    *x = a->in[0]->v, *z = a->in[1]->v;
    real *RESTRICT y = a->out[0]->v;

    for (int64_t i = from; i < to; i++)
        y[i] = x[i] * z[i];
}

void op_mul_fwd_cpu(const op_args *a)
{
    op_over(a, values_in_use(a->out[0]), PIECE_VALUES, forward);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const real *dy = a->gout[0]->v;

    for (int k = 0; k < 2; k++) { /* one after the other: both may be the same */
        real *RESTRICT dx = op_value(a->gin[k]);
        const real    *other = a->in[1 - k]->v;
        if (dx)
            for (int64_t i = from; i < to; i++)
                dx[i] += dy[i] * other[i];
    }
}

void op_mul_bwd_cpu(const op_args *a)
{
    op_over(a, values_in_use(a->gout[0]), PIECE_VALUES, backward);
}
