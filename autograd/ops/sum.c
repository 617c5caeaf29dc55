/* sum: y = sum of x, added in f64 and rounded once
 *
 * dx += dy */
#include "autograd/ops/kernel.h"

status op_sum_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_real("sum", "x", a->in[0], a->in[0]->s));
    *out = shape_1(1);
    *n_aux = 0;
    return STATUS_OK;
}

typedef struct sum_job {
    const real *x;
    int64_t     n;
    double     *parts;
} sum_job;

static void part(void *context, int64_t piece)
{
    const sum_job *j = context;
    const int64_t  from = piece * PIECE_VALUES;
    const int64_t  to = from + PIECE_VALUES < j->n ? from + PIECE_VALUES : j->n;
    double         lane[8] = {0}, sum = 0;
    int64_t        i = from;

    for (; i + 8 <= to; i += 8)
        for (int l = 0; l < 8; l++)
            lane[l] += j->x[i + l];
    for (; i < to; i++)
        sum += j->x[i];
    for (int l = 0; l < 8; l++)
        sum += lane[l];
    j->parts[piece] = sum;
}

void op_sum_fwd_cpu(const op_args *a)
{
    const int64_t n = values_in_use(a->in[0]), pieces = (n + PIECE_VALUES - 1) / PIECE_VALUES;
    const int64_t most = shape_count(a->in[0]->s) / PIECE_VALUES + 2;
    sum_job       j = {a->in[0]->v, n, threads_scratch(SLOT_SHARED, (size_t)most * 8)};
    double        sum = 0;

    threads_run(pieces, part, &j);
    for (int64_t i = 0; i < pieces; i++)
        sum += j.parts[i];
    *(real *)a->out[0]->v = (real)sum;
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const real     dy = *(const real *)a->gout[0]->v;
    real *RESTRICT dx = a->gin[0]->v;

    for (int64_t i = from; i < to; i++)
        dx[i] += dy;
}

void op_sum_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, values_in_use(a->in[0]), PIECE_VALUES, backward);
}
