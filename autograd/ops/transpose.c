/* transpose: y[n,m] = x[m,n]
 *
 * dx[m,n] += dy[n,m] */
#include "autograd/ops/kernel.h"

enum { TILE = 32 };

status op_transpose_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *x = a->in[0];

    TRY(op_want_matrix("transpose", "x", x));
    *out = shape_2(x->s.d[1], x->s.d[0]);
    *n_aux = 0;
    return STATUS_OK;
}

/* Rows from .. to-1 of y, tile by tile. */
static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  M = a->in[0]->s.d[0], N = a->in[0]->s.d[1];
    const real    *x = a->in[0]->v;
    real *RESTRICT y = a->out[0]->v;

    for (int64_t first = 0; first < M; first += TILE)
        for (int64_t n = from; n < to; n++)
            for (int64_t m = first; m < M && m < first + TILE; m++)
                y[n * M + m] = x[m * N + n];
}

void op_transpose_fwd_cpu(const op_args *a)
{
    op_over(a, a->in[0]->s.d[1], TILE, forward);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  M = a->gin[0]->s.d[0], N = a->gin[0]->s.d[1];
    const real    *dy = a->gout[0]->v;
    real *RESTRICT dx = a->gin[0]->v;

    for (int64_t first = 0; first < N; first += TILE)
        for (int64_t m = from; m < to; m++)
            for (int64_t n = first; n < N && n < first + TILE; n++)
                dx[m * N + n] += dy[n * M + m];
}

void op_transpose_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, a->gin[0]->s.d[0], TILE, backward);
}
