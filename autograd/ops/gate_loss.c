/* gate_loss: the sum over all rows n of a sequence s but its last of log sum_e exp(z[n,e]) - z[n, tasks[s]]
 *
 * dz[n,e] += dsum (softmax(z[n])[e] - [e == tasks[s]]) */
#include "autograd/ops/kernel.h"
#include "autograd/ops/vector_math.h"

status op_gate_loss_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *z = a->in[0], *tasks = a->in[1];

    TRY(op_want_matrix("gate_loss", "z", z));
    TRY(op_want_ints("gate_loss", "tasks", tasks, shape_1(tasks->s.n == 1 ? tasks->s.d[0] : 1)));
    TRY(op_want_ints("gate_loss", "offsets", a->in[2], shape_1(tasks->s.d[0] + 1)));
    out[0] = shape_1(1);
    *n_aux = 0;
    return STATUS_OK;
}

/* The largest logit of a row, and the sum of exp(z - largest). */
static real largest_of(const real *z, int64_t E, real *sum)
{
    real top = z[0];

    for (int64_t e = 1; e < E; e++)
        top = z[e] > top ? z[e] : top;
    *sum = 0;
    for (int64_t e = 0; e < E; e++)
        *sum += real_exp(z[e] - top);
    return top;
}

static int64_t task_of(const op_args *a, int64_t s)
{
    const int32_t task = ((const int32_t *)a->in[1]->v)[s];

    CHECK(task >= 0 && task < a->in[0]->s.d[1]);
    return task;
}

void op_gate_loss_fwd_cpu(const op_args *a)
{
    const int64_t  S = rows_in_use(a->in[2]) - 1, E = a->in[0]->s.d[1];
    const int32_t *offsets = a->in[2]->v;
    double         total = 0;

    for (int64_t s = 0; s < S; s++)
        for (int64_t n = offsets[s]; n + 1 < offsets[s + 1]; n++) {
            const real *z = (const real *)a->in[0]->v + n * E;
            real        sum;
            const real  top = largest_of(z, E, &sum);
            total += log((double)sum) + ((double)top - (double)z[task_of(a, s)]);
        }
    *(real *)a->out[0]->v = (real)total;
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  E = a->in[0]->s.d[1];
    const int32_t *offsets = a->in[2]->v;
    const real     g = *(const real *)a->gout[0]->v;

    for (int64_t s = from; s < to; s++)
        for (int64_t n = offsets[s]; n + 1 < offsets[s + 1]; n++) {
            const real *z = (const real *)a->in[0]->v + n * E;
            real       *dz = (real *)a->gin[0]->v + n * E, sum;
            const real  top = largest_of(z, E, &sum);
            for (int64_t e = 0; e < E; e++)
                dz[e] += g * (real_exp(z[e] - top) / sum);
            dz[task_of(a, s)] -= g;
        }
}

void op_gate_loss_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, rows_in_use(a->in[2]) - 1, 1, backward);
}
