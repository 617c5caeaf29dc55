/* mean_rows: y[s] = the mean of the rows from[s] .. to[s] of x, both included; no row lies in two of them
 *
 * dx[n] += dy[s] / (to[s] - from[s] + 1) */
#include "autograd/ops/kernel.h"

status op_mean_rows_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const shape which = a->in[1]->s;

    TRY(op_want_matrix("mean_rows", "x", a->in[0]));
    TRY(op_want_ints("mean_rows", "from", a->in[1], shape_1(which.n ? which.d[0] : 1)));
    TRY(op_want_ints("mean_rows", "to", a->in[2], which));
    *out = shape_2(which.d[0], a->in[0]->s.d[1]);
    *n_aux = 0;
    return STATUS_OK;
}

/* The rows of s. */
static void rows_at(const op_args *a, const tensor *x, int64_t s, int64_t *from, int64_t *n)
{
    *from = ((const int32_t *)a->in[1]->v)[s];
    *n = ((const int32_t *)a->in[2]->v)[s] - *from + 1;
    CHECK(*from >= 0 && *n >= 1 && *from + *n <= rows_in_use(x));
}

static void forward(const op_args *a, int64_t first, int64_t last)
{
    const int64_t C = shape_last(a->in[0]->s);

    for (int64_t s = first; s < last; s++) {
        real   *y = (real *)a->out[0]->v + s * C;
        int64_t from, n;
        rows_at(a, a->in[0], s, &from, &n);
        for (int64_t c = 0; c < C; c += PIECE_COLUMNS) {
            const int64_t width = C - c < PIECE_COLUMNS ? C - c : PIECE_COLUMNS;
            memset(y + c, 0, (size_t)width * sizeof *y);
            op_add_column_sums((const real *)a->in[0]->v + from * C, n, C, c, c + width, y);
        }
        for (int64_t c = 0; c < C; c++)
            y[c] /= (real)n;
    }
}

void op_mean_rows_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->in[1]), 1, forward);
}

static void backward(const op_args *a, int64_t first, int64_t last)
{
    const int64_t C = shape_last(a->gin[0]->s);

    for (int64_t s = first; s < last; s++) {
        const real *dy = (const real *)a->gout[0]->v + s * C;
        int64_t     from, n;
        rows_at(a, a->gin[0], s, &from, &n);
        for (int64_t i = from; i < from + n; i++) {
            real *RESTRICT dx = (real *)a->gin[0]->v + i * C;
            for (int64_t c = 0; c < C; c++)
                dx[c] += dy[c] / (real)n;
        }
    }
}

void op_mean_rows_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, rows_in_use(a->in[1]), 1, backward);
}
