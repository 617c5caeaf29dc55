/* cross_entropy_place: of every sequence, the losses of a place in each column, among the sequence's own rows
 *
 * each[s] = 1/K sum_k (log sum_i exp(x[o_s + i, k]) - x[o_s + targets[s, k], k]), and their sum
 * (aux: largest value and log of the sum of exp(x - largest), by sequence and column)
 *
 * dx[o_s + i, k] += (dsum + deach[s]) / K (softmax_s(x[:, k])[i] - [i == targets[s, k]]) */
#include "autograd/ops/cross_entropy.h"

status op_cross_entropy_place_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_matrix("cross_entropy_place", "x", a->in[0]));
    const int64_t S = a->in[1]->s.n == 1 ? a->in[1]->s.d[0] - 1 : 0, K = a->in[0]->s.d[1];

    if (S < 1)
        return fail(STATUS_SHAPE, "cross_entropy_place: offsets are of no sequence");
    TRY(op_want_ints("cross_entropy_place", "offsets", a->in[1], shape_1(S + 1)));
    TRY(op_want_ints("cross_entropy_place", "targets", a->in[2], shape_2(S, K)));
    out[0] = shape_1(1);
    out[1] = shape_1(S);
    *n_aux = 2 * S * K;
    return STATUS_OK;
}

/* Sequences in use. */
static int64_t sequences(const op_args *a)
{
    const int64_t n = rows_in_use(a->in[1]) - 1, m = rows_in_use(a->in[2]);

    return n < m ? n : m;
}

/* n values that lie K apart. */
static loss_row column_loss(const real *x, int64_t K, int64_t n, int64_t target)
{
    loss_row row = loss_start();
    real     m = -(real)INFINITY;

    CHECK(target >= 0 && target < n);
    for (int64_t i = 0; i < n; i++)
        m = x[i * K] > m ? x[i * K] : m;
    for (int64_t i = 0; i < n; i++)
        row.others += i == target ? 0 : real_exp(x[i * K] - m);
    row.m = m;
    row.target = x[target * K];
    return row;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  K = a->in[0]->s.d[1];
    const int32_t *o = a->in[1]->v, *targets = a->in[2]->v;
    const real    *x = a->in[0]->v;
    real          *each = a->out[1]->v;

    for (int64_t s = from; s < to; s++) {
        double sum = 0;
        for (int64_t k = 0; k < K; k++) {
            const loss_row row = column_loss(x + o[s] * K + k, K, o[s + 1] - o[s], targets[s * K + k]);
            real          *aux = a->aux + 2 * (s * K + k);
            aux[0] = (real)row.m;
            aux[1] = (real)log(loss_total(&row));
            sum += loss_of(&row);
        }
        each[s] = (real)(sum / (double)K);
    }
}

void op_cross_entropy_place_fwd_cpu(const op_args *a)
{
    const int64_t S = sequences(a);
    real         *each = a->out[1]->v;
    double        sum = 0;

    op_over(a, S, 1, forward);
    for (int64_t s = 0; s < S; s++)
        sum += (double)each[s];
    for (int64_t s = S; s < a->out[1]->s.d[0]; s++)
        each[s] = 0;
    *(real *)a->out[0]->v = (real)sum;
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  K = a->in[0]->s.d[1];
    const int32_t *offsets = a->in[1]->v, *targets = a->in[2]->v;

    for (int64_t s = from; s < to; s++)
        for (int64_t k = 0; k < K; k++) {
            const real  g = loss_upstream(a, s) / (real)K, *aux = a->aux + 2 * (s * K + k);
            const real *x = (const real *)a->in[0]->v + offsets[s] * K + k;
            real       *dx = (real *)a->gin[0]->v + offsets[s] * K + k;
            for (int64_t i = 0; i < offsets[s + 1] - offsets[s]; i++)
                dx[i * K] += g * real_exp((x[i * K] - aux[0]) - aux[1]);
            dx[targets[s * K + k] * K] -= g;
        }
}

void op_cross_entropy_place_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, sequences(a), 1, backward);
}
