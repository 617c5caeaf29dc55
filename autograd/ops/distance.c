/* distance: y = sum of |x - x0|, added in f64 and rounded once; x0 is fixed
 *
 * dx += dy sign(x - x0), sign(0) = 0 */
#include "autograd/ops/kernel.h"

#include <math.h>

status op_distance_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_real("distance", "x", a->in[0], a->in[0]->s));
    TRY(op_want_real("distance", "x0", a->in[1], a->in[0]->s));
    if (a->wanted[1])
        return fail(STATUS_UNSUPPORTED, "distance: x0 has a gradient, must be fixed");
    *out = shape_1(1);
    *n_aux = 0;
    return STATUS_OK;
}

typedef struct distance_job {
    const real *x, *from;
    int64_t     n;
    double     *parts;
} distance_job;

static void part(void *context, int64_t piece)
{
    const distance_job *j = context;
    const int64_t       from = piece * PIECE_VALUES;
    const int64_t       to = from + PIECE_VALUES < j->n ? from + PIECE_VALUES : j->n;
    double              sum = 0;

    for (int64_t i = from; i < to; i++)
        sum += fabs((double)j->x[i] - (double)j->from[i]);
    j->parts[piece] = sum;
}

void op_distance_fwd_cpu(const op_args *a)
{
    const int64_t n = shape_count(a->in[0]->s), pieces = (n + PIECE_VALUES - 1) / PIECE_VALUES;
    distance_job  j = {a->in[0]->v, a->in[1]->v, n, threads_scratch(SLOT_SHARED, (size_t)(pieces + 1) * 8)};
    double        sum = 0;

    threads_run(pieces, part, &j);
    for (int64_t i = 0; i < pieces; i++)
        sum += j.parts[i];
    *(real *)a->out[0]->v = (real)sum;
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const real     dy = *(const real *)a->gout[0]->v;
    const real    *x = a->in[0]->v, *x0 = a->in[1]->v;
    real *RESTRICT dx = a->gin[0]->v;

    for (int64_t i = from; i < to; i++)
        dx[i] += x[i] > x0[i] ? dy : x[i] < x0[i] ? -dy : 0;
}

void op_distance_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, shape_count(a->in[0]->s), PIECE_VALUES, backward);
}
