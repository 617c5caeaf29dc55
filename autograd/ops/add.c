/* add: y = a + b
 *
 * da += dy, db += dy; a gradient the tape handed on is NULL here */
#include "autograd/ops/kernel.h"

status op_add_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_real("add", "a", a->in[0], a->in[0]->s));
    TRY(op_want_real("add", "b", a->in[1], a->in[0]->s));
    *out = a->in[0]->s;
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const real *x = a->in[0]->v, *z = a->in[1]->v;
    real       *y = a->out[0]->v; /* may be x or z */

#pragma GCC ivdep
    for (int64_t i = from; i < to; i++)
        y[i] = x[i] + z[i];
}

void op_add_fwd_cpu(const op_args *a)
{
    op_over(a, values_in_use(a->out[0]), PIECE_VALUES, forward);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const real *dy = a->gout[0]->v;

    for (int k = 0; k < 2; k++) {
        real *RESTRICT dx = op_value(a->gin[k]);
        if (dx)
            for (int64_t i = from; i < to; i++)
                dx[i] += dy[i];
    }
}

void op_add_bwd_cpu(const op_args *a)
{
    op_over(a, values_in_use(a->gout[0]), PIECE_VALUES, backward);
}
