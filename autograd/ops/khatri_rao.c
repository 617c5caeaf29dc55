/* khatri_rao: products of all pairs of rows, column by column: y[j, k B + b] = a[k,j] * g[b,j], a [R, J], g
 * [B, J]
 *
 * da[k,j] += sum_b dy * g[b,j]
 * dg[b,j] += sum_k dy * a[k,j] */
#include "autograd/ops/kernel.h"

status op_khatri_rao_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *x = a->in[0], *g = a->in[1];

    TRY(op_want_matrix("khatri_rao", "a", x));
    TRY(op_want_matrix("khatri_rao", "g", g));
    TRY(op_want_real("khatri_rao", "g", g, shape_2(g->s.d[0], x->s.d[1])));
    *out = shape_2(x->s.d[1], x->s.d[0] * g->s.d[0]);
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  R = a->in[0]->s.d[0], J = a->in[0]->s.d[1], B = a->in[1]->s.d[0];
    const real    *x = a->in[0]->v, *g = a->in[1]->v;
    real *RESTRICT y = a->out[0]->v;

    for (int64_t j = from; j < to; j++)
        for (int64_t k = 0; k < R; k++)
            for (int64_t b = 0; b < B; b++)
                y[(j * R + k) * B + b] = x[k * J + j] * g[b * J + j];
}

void op_khatri_rao_fwd_cpu(const op_args *a)
{
    op_over(a, a->out[0]->s.d[0], op_piece_rows(a->out[0]->s.d[1]), forward);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t R = a->in[0]->s.d[0], J = a->in[0]->s.d[1], B = a->in[1]->s.d[0];
    const real   *x = a->in[0]->v, *g = a->in[1]->v, *dy = a->gout[0]->v;
    real         *dx = op_value(a->gin[0]), *dg = op_value(a->gin[1]);

    for (int64_t j = from; j < to; j++)
        for (int64_t k = 0; k < R; k++)
            for (int64_t b = 0; b < B; b++) {
                const real d = dy[(j * R + k) * B + b];
                if (dx)
                    dx[k * J + j] += d * g[b * J + j];
                if (dg)
                    dg[b * J + j] += d * x[k * J + j];
            }
}

void op_khatri_rao_bwd_cpu(const op_args *a)
{
    op_over(a, a->gout[0]->s.d[0], op_piece_rows(a->gout[0]->s.d[1]), backward);
}
