/* columns: y[n,c] = x[n, from + c]
 *
 * dx[n, from + c] += dy[n,c] */
#include "autograd/ops/kernel.h"

status op_columns_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const int64_t from = a->attr->columns.from, width = a->attr->columns.width;

    TRY(op_want_matrix("columns", "x", a->in[0]));
    if (from < 0 || width < 1 || from > a->in[0]->s.d[1] - width)
        return fail(STATUS_SHAPE, "columns: %lld from %lld on are wanted, x has %lld", (long long)width,
                    (long long)from, (long long)a->in[0]->s.d[1]);
    *out = shape_2(a->in[0]->s.d[0], width);
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = a->in[0]->s.d[1], width = a->attr->columns.width;
    const real   *x = (const real *)a->in[0]->v + a->attr->columns.from;
    real         *y = a->out[0]->v;

    for (int64_t n = from; n < to; n++)
        memcpy(y + n * width, x + n * C, (size_t)width * sizeof *y);
}

void op_columns_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->out[0]), op_piece_rows(a->attr->columns.width), forward);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  C = a->gin[0]->s.d[1], width = a->attr->columns.width;
    const real    *dy = a->gout[0]->v;
    real *RESTRICT dx = (real *)a->gin[0]->v + a->attr->columns.from;

    for (int64_t n = from; n < to; n++)
        for (int64_t c = 0; c < width; c++)
            dx[n * C + c] += dy[n * width + c];
}

void op_columns_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, rows_in_use(a->gout[0]), op_piece_rows(a->attr->columns.width), backward);
}
