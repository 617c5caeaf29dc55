/* expand: y = w as values, from the type w is stored in
 *
 * dw += dy */
#include "autograd/ops/kernel.h"

status op_expand_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *w = a->in[0];

    if (w->s.n == 1)
        TRY(op_want_real("expand", "w", w, w->s));
    else
        TRY(op_want_weight("expand", "w", w, -1, shape_last(w->s)));
    *out = w->s;
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const tensor *w = a->in[0];
    const int64_t C = shape_last(w->s);
    real         *y = a->out[0]->v;

    if (w->type == REAL_TYPE)
        memcpy(y + from * C, (const real *)w->v + from * C, (size_t)((to - from) * C) * sizeof *y);
    else
        for (int64_t r = from; r < to; r++)
            op_weight_row(w, r, y + r * C);
}

void op_expand_fwd_cpu(const op_args *a)
{
    const int64_t C = shape_last(a->in[0]->s);

    op_over(a, shape_count(a->in[0]->s) / (C > 0 ? C : 1), op_piece_rows(C), forward);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const real    *dy = a->gout[0]->v;
    real *RESTRICT dw = a->gin[0]->v;

    for (int64_t i = from; i < to; i++)
        dw[i] += dy[i];
}

void op_expand_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, shape_count(a->gout[0]->s), PIECE_VALUES, backward);
}
