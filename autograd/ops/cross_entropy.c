/* cross_entropy: each[t] = log sum_v exp(x[t,v]) - x[t, targets[t]], and their sum
 * (aux: largest logit and log of the sum of exp(x - largest), by row)
 *
 * dx[t,v] += (dsum + deach[t]) (softmax(x)[t,v] - [v == targets[t]]) */
#include "autograd/ops/cross_entropy.h"

status op_cross_entropy_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_matrix("cross_entropy", "logits", a->in[0]));
    TRY(op_want_ints("cross_entropy", "targets", a->in[1], shape_1(a->in[0]->s.d[0])));
    out[0] = shape_1(1);
    out[1] = shape_1(a->in[0]->s.d[0]);
    *n_aux = 2 * out[1].d[0];
    return STATUS_OK;
}

typedef struct loss_job {
    const op_args *a;
    loss_row      *rows;
} loss_job;

static void forward_row(void *context, int64_t t)
{
    const loss_job *j = context;
    const int64_t   V = j->a->in[0]->s.d[1];
    const int32_t   target = ((const int32_t *)j->a->in[1]->v)[t];
    const real     *x = (const real *)j->a->in[0]->v + t * V;

    CHECK(target >= 0 && target < V);
    j->rows[t] = loss_start();
    for (int64_t v = 0; v < V; v += LOSS_WORDS)
        loss_take(&j->rows[t], x + v, V - v < LOSS_WORDS ? V - v : LOSS_WORDS, target - v, NULL);
}

void op_cross_entropy_fwd_cpu(const op_args *a)
{
    const int64_t T = loss_rows(a->in[0], a->in[1]);
    loss_job      j = {a, threads_scratch(SLOT_SHARED,
                                        (size_t)(a->in[0]->s.d[0] + 1) * sizeof *j.rows)};

    threads_run(T, forward_row, &j);
    loss_write(a, j.rows, T);
    loss_keep(a, j.rows, T);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  V = a->in[0]->s.d[1];
    const int32_t *targets = a->in[1]->v;

    for (int64_t t = from; t < to; t++) {
        const real     g = loss_upstream(a, t), m = a->aux[2 * t], s = a->aux[2 * t + 1];
        const real    *x = (const real *)a->in[0]->v + t * V;
        real *RESTRICT dx = (real *)a->gin[0]->v + t * V;
        for (int64_t v = 0; v < V; v++)
            dx[v] += g * real_exp((x[v] - m) - s);
        dx[targets[t]] -= g;
    }
}

void op_cross_entropy_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, loss_rows(a->in[0], a->in[1]), op_piece_rows(a->in[0]->s.d[1]), backward);
}
