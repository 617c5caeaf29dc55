/* rope: every head's channels i and i + D/2 turn by the angle of table row n (cos | sin)
 *
 * y[i] = x[i] cos - x[i + D/2] sin, y[i + D/2] = x[i + D/2] cos + x[i] sin
 * dx: the same with -sin, added */
#include "autograd/ops/kernel.h"

status op_rope_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_matrix("rope", "x", a->in[0]));
    TRY(op_want_matrix("rope", "table", a->in[1]));

    const shape x = a->in[0]->s, table = a->in[1]->s;
    if (table.d[0] != x.d[0] || table.d[1] < 2 || table.d[1] % 2 != 0 || x.d[1] % table.d[1] != 0)
        return fail(STATUS_SHAPE, "rope: the table is %s, must have %lld rows and an even number of "
                    "columns that divides %lld", shape_text(table), (long long)x.d[0],
                    (long long)x.d[1]);
    *out = x;
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t D = a->in[1]->s.d[1], H = a->in[0]->s.d[1] / D, half = D / 2;

    for (int64_t n = from; n < to; n++) {
        const real *c = (const real *)a->in[1]->v + n * D, *s = c + half;
        for (int64_t h = 0; h < H; h++) {
            const real *x = (const real *)a->in[0]->v + (n * H + h) * D;
            real       *y = (real *)a->out[0]->v + (n * H + h) * D; /* may be x */
#pragma GCC ivdep
            for (int64_t i = 0; i < half; i++) {
                const real p = x[i], q = x[half + i];
                y[i] = p * c[i] - q * s[i];
                y[half + i] = q * c[i] + p * s[i];
            }
        }
    }
}

void op_rope_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->in[0]), op_piece_rows(a->in[0]->s.d[1]), forward);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t D = a->in[1]->s.d[1], H = a->gout[0]->s.d[1] / D, half = D / 2;

    for (int64_t n = from; n < to; n++) {
        const real *c = (const real *)a->in[1]->v + n * D, *s = c + half;
        for (int64_t h = 0; h < H; h++) {
            const real *dy = (const real *)a->gout[0]->v + (n * H + h) * D;
            real       *dx = (real *)a->gin[0]->v + (n * H + h) * D;
#pragma GCC ivdep
            for (int64_t i = 0; i < half; i++) {
                const real p = dy[i], q = dy[half + i];
                dx[i] += p * c[i] + q * s[i];
                dx[half + i] += q * c[i] - p * s[i];
            }
        }
    }
}

void op_rope_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, rows_in_use(a->gout[0]), op_piece_rows(a->gout[0]->s.d[1]), backward);
}
