/* scale_by: y = s * x with one trained number s
 *
 * dx += s * dy
 * ds += sum of dy * x, added in f64 */
#include "autograd/ops/kernel.h"

status op_scale_by_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_real("scale_by", "x", a->in[0], a->in[0]->s));
    TRY(op_want_real("scale_by", "s", a->in[1], shape_1(1)));
    *out = a->in[0]->s;
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const real  s = *(const real *)a->in[1]->v;
    const real *x = a->in[0]->v;
    real       *y = a->out[0]->v;

    for (int64_t i = from; i < to; i++)
        y[i] = s * x[i];
}

void op_scale_by_fwd_cpu(const op_args *a)
{
    op_over(a, values_in_use(a->out[0]), PIECE_VALUES, forward);
}

static void backward_x(const op_args *a, int64_t from, int64_t to)
{
    const real     s = *(const real *)a->in[1]->v;
    const real    *dy = a->gout[0]->v;
    real *RESTRICT dx = a->gin[0]->v;

    for (int64_t i = from; i < to; i++)
        dx[i] += s * dy[i];
}

/* The sum of a piece, into its place of the scratch. */
static void backward_s(const op_args *a, int64_t from, int64_t to)
{
    const real *x = a->in[0]->v, *dy = a->gout[0]->v;
    double      lane[8] = {0}, sum = 0;
    int64_t     i = from;

    for (; i + 8 <= to; i += 8)
        for (int l = 0; l < 8; l++)
            lane[l] += (double)x[i + l] * dy[i + l];
    for (; i < to; i++)
        sum += (double)x[i] * dy[i];
    for (int l = 0; l < 8; l++)
        sum += lane[l];
    ((double *)(void *)a->aux)[from / PIECE_VALUES] = sum;
}

void op_scale_by_bwd_cpu(const op_args *a)
{
    const int64_t n = values_in_use(a->gout[0]), most = shape_count(a->gout[0]->s) / PIECE_VALUES + 1;
    op_args       with = *a;
    double       *parts = threads_scratch(SLOT_SHARED, (size_t)most * sizeof *parts), sum = 0;

    if (a->gin[0])
        op_over(a, n, PIECE_VALUES, backward_x);
    if (!a->gin[1])
        return;
    with.aux = (real *)(void *)parts;
    op_over(&with, n, PIECE_VALUES, backward_s);
    for (int64_t i = 0; i < (n + PIECE_VALUES - 1) / PIECE_VALUES; i++)
        sum += parts[i];
    *(real *)a->gin[1]->v += (real)sum;
}
