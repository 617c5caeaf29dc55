/* gather_rows: y[t,c] = x[rows[t], c]
 *
 * dx[rows[t], c] += dy[t,c] */
#include "autograd/ops/kernel.h"

status op_gather_rows_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *rows = a->in[1];

    TRY(op_want_matrix("gather_rows", "x", a->in[0]));
    TRY(op_want_ints("gather_rows", "rows", rows, shape_1(rows->s.n ? rows->s.d[0] : 1)));
    *out = shape_2(rows->s.d[0], a->in[0]->s.d[1]);
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  N = rows_in_use(a->in[0]), C = a->in[0]->s.d[1];
    const int32_t *rows = a->in[1]->v;
    const real    *x = a->in[0]->v;
    real          *y = a->out[0]->v;

    for (int64_t t = from; t < to; t++) {
        CHECK(rows[t] >= 0 && rows[t] < N);
        memcpy(y + t * C, x + rows[t] * C, (size_t)C * sizeof(real));
    }
}

void op_gather_rows_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->in[1]), op_piece_rows(a->in[0]->s.d[1]), forward);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  C = shape_last(a->gout[0]->s), T = rows_in_use(a->in[1]);
    const int32_t *rows = a->in[1]->v;
    const real    *dy = a->gout[0]->v;
    real *RESTRICT dx = a->gin[0]->v;

    for (int64_t t = 0; t < T; t++)
        for (int64_t c = from; c < to; c++)
            dx[rows[t] * C + c] += dy[t * C + c];
}

void op_gather_rows_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, shape_last(a->gout[0]->s), PIECE_COLUMNS, backward);
}
