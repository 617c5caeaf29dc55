/* pick_rows: y[t,c] = a[rows[t], c] where rows[t] >= 0, else b[-1 - rows[t], c]
 *
 * da[rows[t], c] += dy[t,c], or db[-1 - rows[t], c] */
#include "autograd/ops/kernel.h"

status op_pick_rows_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *x = a->in[0], *rows = a->in[2];

    TRY(op_want_matrix("pick_rows", "a", x));
    TRY(op_want_real("pick_rows", "b", a->in[1], shape_2(shape_rows(a->in[1]->s), x->s.d[1])));
    TRY(op_want_ints("pick_rows", "rows", rows, shape_1(rows->s.n ? rows->s.d[0] : 1)));
    *out = shape_2(rows->s.d[0], x->s.d[1]);
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  M = rows_in_use(a->in[0]), N = rows_in_use(a->in[1]), C = a->in[0]->s.d[1];
    const int32_t *rows = a->in[2]->v;
    real          *y = a->out[0]->v;

    for (int64_t t = from; t < to; t++) {
        CHECK(rows[t] < M && rows[t] >= -N);
        const real *x = rows[t] >= 0 ? (const real *)a->in[0]->v + rows[t] * C
                                     : (const real *)a->in[1]->v + (-1 - (int64_t)rows[t]) * C;
        memcpy(y + t * C, x, (size_t)C * sizeof(real));
    }
}

void op_pick_rows_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->in[2]), op_piece_rows(a->in[0]->s.d[1]), forward);
}

/* Columns from .. to-1: rows are added in their order, whatever the number of threads. */
static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  C = shape_last(a->gout[0]->s), T = rows_in_use(a->in[2]);
    const int32_t *rows = a->in[2]->v;
    const real    *dy = a->gout[0]->v;

    for (int64_t t = 0; t < T; t++) {
        const tensor *to_add = a->gin[rows[t] >= 0 ? 0 : 1];
        const int64_t row = rows[t] >= 0 ? rows[t] : -1 - (int64_t)rows[t];
        if (!to_add)
            continue;
        real *RESTRICT dx = (real *)to_add->v + row * C;
        for (int64_t c = from; c < to; c++)
            dx[c] += dy[t * C + c];
    }
}

void op_pick_rows_bwd_cpu(const op_args *a)
{
    if (a->gin[0] || a->gin[1])
        op_over(a, shape_last(a->gout[0]->s), PIECE_COLUMNS, backward);
}
