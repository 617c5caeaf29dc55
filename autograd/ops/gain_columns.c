/* gain_columns: v[n,r] = u[n,r] w[n,e] scales[e], e = owner[r]: the columns of an expert lie one beside another
 *
 * du[n,r] += dv[n,r] w[n,e] scales[e], dw[n,e] += scales[e] sum_r dv[n,r] u[n,r] over its columns */
#include "autograd/ops/kernel.h"

status op_gain_columns_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *u = a->in[0], *w = a->in[1];

    TRY(op_want_matrix("gain_columns", "u", u));
    TRY(op_want_matrix("gain_columns", "w", w));
    TRY(op_want_real("gain_columns", "w", w, shape_2(u->s.d[0], w->s.d[1])));
    TRY(op_want_ints("gain_columns", "owner", a->in[2], shape_1(u->s.d[1])));
    TRY(op_want_real("gain_columns", "scales", a->in[3], shape_1(w->s.d[1])));
    *out = u->s;
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  R = a->out[0]->s.d[1], E = a->in[1]->s.d[1];
    const int32_t *owner = a->in[2]->v;
    const real    *u = a->in[0]->v, *w = a->in[1]->v, *scales = a->in[3]->v;
    real          *v = a->out[0]->v;

    for (int64_t n = from; n < to; n++)
        for (int64_t r = 0; r < R; r++)
            v[n * R + r] = u[n * R + r] * (w[n * E + owner[r]] * scales[owner[r]]);
}

void op_gain_columns_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->out[0]), op_piece_rows(a->out[0]->s.d[1]), forward);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  R = a->gout[0]->s.d[1], E = a->in[1]->s.d[1];
    const int32_t *owner = a->in[2]->v;
    const real    *dv = a->gout[0]->v, *u = a->in[0]->v, *w = a->in[1]->v, *scales = a->in[3]->v;
    real          *du = op_value(a->gin[0]), *dw = op_value(a->gin[1]);

    for (int64_t n = from; n < to; n++)
        for (int64_t r = 0; r < R; r++) {
            const int64_t i = n * R + r, at = n * E + owner[r];
            if (du)
                du[i] += dv[i] * (w[at] * scales[owner[r]]);
            if (dw)
                dw[at] += scales[owner[r]] * (dv[i] * u[i]);
        }
}

void op_gain_columns_bwd_cpu(const op_args *a)
{
    if (a->gin[0] || a->gin[1])
        op_over(a, rows_in_use(a->gout[0]), op_piece_rows(a->gout[0]->s.d[1]), backward);
}
