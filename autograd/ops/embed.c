/* embed: y[n,c] = table[ids[n], c], expanded from the type the table is stored in
 *
 * dtable[ids[n], c] += dy[n,c] */
#include "autograd/ops/kernel.h"

status op_embed_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *table = a->in[0], *ids = a->in[1];

    TRY(op_want_weight("embed", "table", table, -1, shape_last(table->s)));
    TRY(op_want_ints("embed", "ids", ids, shape_1(ids->s.n ? ids->s.d[0] : 1)));
    *out = shape_2(ids->s.d[0], table->s.d[1]);
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const tensor  *table = a->in[0];
    const int64_t  V = table->s.d[0], C = table->s.d[1];
    const int32_t *ids = a->in[1]->v;

    for (int64_t n = from; n < to; n++) {
        CHECK(ids[n] >= 0 && ids[n] < V);
        op_weight_row(table, ids[n], (real *)a->out[0]->v + n * C);
    }
}

void op_embed_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->in[1]), op_piece_rows(shape_last(a->out[0]->s)), forward);
}

/* Columns from .. to-1: rows are added in their order, whatever the number of threads. */
static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  C = shape_last(a->gout[0]->s), N = rows_in_use(a->in[1]);
    const int32_t *ids = a->in[1]->v;
    const real    *dy = a->gout[0]->v;
    real *RESTRICT dtable = a->gin[0]->v;

    for (int64_t n = 0; n < N; n++)
        for (int64_t c = from; c < to; c++)
            dtable[ids[n] * C + c] += dy[n * C + c];
}

void op_embed_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, shape_last(a->gout[0]->s), PIECE_COLUMNS, backward);
}
