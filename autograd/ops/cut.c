/* cut: the first rows and columns of a matrix, its rows scaled: y[m,n] = x[m,n] * k[m]; k may be absent
 *
 * dx[m,n] += dy[m,n] * k[m]
 * dk[m]   += sum_n dy[m,n] * x[m,n] */
#include "autograd/ops/kernel.h"

status op_cut_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *x = a->in[0], *k = a->in[1];
    const int64_t rows = a->attr->cut.rows, columns = a->attr->cut.columns;

    TRY(op_want_matrix("cut", "x", x));
    if (rows < 0 || rows > x->s.d[0] || columns < 0 || columns > x->s.d[1])
        return fail(STATUS_SHAPE, "cut: %lld rows and %lld columns are wanted of %s", (long long)rows,
                    (long long)columns, shape_text(x->s));
    if (k && (k->type != REAL_TYPE || shape_count(k->s) != rows))
        return fail(STATUS_SHAPE, "cut: k is %s %s, must be %lld values of %s", dtype_name(k->type),
                    shape_text(k->s), (long long)rows, dtype_name(REAL_TYPE));
    *out = shape_2(rows, columns);
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  C = a->in[0]->s.d[1], N = a->out[0]->s.d[1];
    const real    *x = a->in[0]->v, *k = op_value(a->in[1]);
    real *RESTRICT y = a->out[0]->v;

    for (int64_t m = from; m < to; m++) {
        const real scale = k ? k[m] : 1;
        for (int64_t n = 0; n < N; n++)
            y[m * N + n] = x[m * C + n] * scale;
    }
}

void op_cut_fwd_cpu(const op_args *a)
{
    op_over(a, a->out[0]->s.d[0], op_piece_rows(a->out[0]->s.d[1]), forward);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  C = a->in[0]->s.d[1], N = a->gout[0]->s.d[1];
    const real    *x = a->in[0]->v, *k = op_value(a->in[1]), *dy = a->gout[0]->v;
    real *RESTRICT dx = op_value(a->gin[0]);
    real          *dk = op_value(a->gin[1]);

    for (int64_t m = from; m < to; m++) {
        const real scale = dx && k ? k[m] : 1;
        for (int64_t n = 0; dx && n < N; n++)
            dx[m * C + n] += dy[m * N + n] * scale;
        if (dk)
            dk[m] += op_dot(dy + m * N, x + m * C, N);
    }
}

void op_cut_bwd_cpu(const op_args *a)
{
    op_over(a, a->gout[0]->s.d[0], op_piece_rows(a->gout[0]->s.d[1]), backward);
}
