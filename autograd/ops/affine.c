/* affine: y[n,c] = x[n,c] * k[c] + f * b[c], f a number; without k or without b that part is left out
 *
 * dx[n,c] += dy[n,c] * k[c]
 * dk[c]   += sum_n dy[n,c] * x[n,c]
 * db[c]   += f * sum_n dy[n,c] */
#include "autograd/ops/kernel.h"

/* C values in any shape: files have [C], [C, 1] and [1, C]. */
static status want_values(const char *name, const tensor *t, int64_t C)
{
    if (t && (t->type != REAL_TYPE || shape_count(t->s) != C))
        return fail(STATUS_SHAPE, "affine: %s is %s %s, must be %lld values of %s", name, dtype_name(t->type),
                    shape_text(t->s), (long long)C, dtype_name(REAL_TYPE));
    return STATUS_OK;
}

status op_affine_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const shape x = a->in[0]->s;

    TRY(op_want_matrix("affine", "x", a->in[0]));
    TRY(want_values("k", a->in[1], x.d[1]));
    TRY(want_values("b", a->in[2], x.d[1]));
    *out = x;
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = a->in[0]->s.d[1];
    const real   *x = a->in[0]->v, *k = op_value(a->in[1]), *b = op_value(a->in[2]);
    const real    factor = (real)a->attr->affine.factor;
    real         *y = a->out[0]->v; /* may be x */

    for (int64_t n = from; n < to; n++)
#pragma GCC ivdep
        for (int64_t c = 0; c < C; c++)
            y[n * C + c] = (k ? x[n * C + c] * k[c] : x[n * C + c]) + (b ? factor * b[c] : 0);
}

void op_affine_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->in[0]), op_piece_rows(a->in[0]->s.d[1]), forward);
}

static void backward_x(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  C = a->gin[0]->s.d[1];
    const real    *dy = a->gout[0]->v, *k = op_value(a->in[1]);
    real *RESTRICT dx = a->gin[0]->v;

    for (int64_t n = from; n < to; n++)
        for (int64_t c = 0; c < C; c++)
            dx[n * C + c] += k ? dy[n * C + c] * k[c] : dy[n * C + c];
}

/* dk for columns from .. to-1, in blocks of rows */
static void backward_k(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = shape_last(a->gout[0]->s), N = rows_in_use(a->gout[0]);
    const real   *x = a->in[0]->v, *dy = a->gout[0]->v;
    real         *dk = a->gin[1]->v;

    for (int64_t first = 0; first < N; first += ROW_BLOCK) {
        real block[PIECE_COLUMNS] = {0};
        for (int64_t n = first; n < N && n < first + ROW_BLOCK; n++)
            for (int64_t c = from; c < to; c++)
                block[c - from] += dy[n * C + c] * x[n * C + c];
        for (int64_t c = from; c < to; c++)
            dk[c] += block[c - from];
    }
}

static void backward_b(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = shape_last(a->gout[0]->s), N = rows_in_use(a->gout[0]);
    const real    factor = (real)a->attr->affine.factor, *dy = a->gout[0]->v;
    real         *db = a->gin[2]->v;

    for (int64_t first = 0; first < N; first += ROW_BLOCK) {
        real block[PIECE_COLUMNS] = {0};
        for (int64_t n = first; n < N && n < first + ROW_BLOCK; n++)
            for (int64_t c = from; c < to; c++)
                block[c - from] += dy[n * C + c];
        for (int64_t c = from; c < to; c++)
            db[c] += factor * block[c - from];
    }
}

void op_affine_bwd_cpu(const op_args *a)
{
    const int64_t C = shape_last(a->gout[0]->s);

    if (a->gin[0])
        op_over(a, rows_in_use(a->gout[0]), op_piece_rows(C), backward_x);
    if (a->gin[1])
        op_over(a, C, PIECE_COLUMNS, backward_k);
    if (a->gin[2])
        op_over(a, C, PIECE_COLUMNS, backward_b);
}
