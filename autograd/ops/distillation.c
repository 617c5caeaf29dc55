/* distillation: what a row of logits x loses against its target and against a teacher's logits y (Hinton, Vinyals and
 * Dean 2015), whose share is told by the temperature T
 *
 * p = softmax(y / T), q = softmax(x / T):
 * each[t] = hard (log sum_v exp(x[t,v]) - x[t, targets[t]]) + soft sum_v p[t,v] (log p[t,v] - log q[t,v]), and their
 * sum (aux by row: the largest of x, log of the sum of exp(x - largest), the same of x / T; the largest of y, log of
 * the sum for y / T)
 *
 * dx[t,v] += (dsum + deach[t]) (hard (softmax(x)[t,v] - [v == targets[t]]) + soft / T (q[t,v] - p[t,v])); y has no
 * gradient */
#include "autograd/ops/cross_entropy.h"

enum { AUX_ROW = 5 };

status op_distillation_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_matrix("distillation", "x", a->in[0]));
    TRY(op_want_real("distillation", "y", a->in[1], a->in[0]->s));
    TRY(op_want_ints("distillation", "targets", a->in[2], shape_1(a->in[0]->s.d[0])));
    if (a->wanted[1])
        return fail(STATUS_UNSUPPORTED, "distillation: the teacher's logits have no gradient");
    out[0] = shape_1(1);
    out[1] = shape_1(a->in[0]->s.d[0]);
    *n_aux = AUX_ROW * out[1].d[0];
    return STATUS_OK;
}

/* log of the sum of exp(c (x - m)); exps are added in their own type by lane, lanes in f64. */
static double log_total(const real *x, int64_t n, real c, real m)
{
    double total = 0;

    for (int64_t from = 0; from < n; from += LOSS_WORDS) {
        const int64_t to = n - from < LOSS_WORDS ? n : from + LOSS_WORDS;
        real          sum[EXP_LANES] = {0};
        for (int64_t i = from; i < to; i += EXP_LANES) {
            const int64_t width = to - i < EXP_LANES ? to - i : EXP_LANES;
            for (int64_t l = 0; l < width; l++)
                sum[l] += real_exp(c * (x[i + l] - m));
        }
        for (int l = 0; l < EXP_LANES; l++)
            total += (double)sum[l];
    }
    return log(total);
}

static real cold(const op_args *a)
{
    return (real)(1 / a->attr->distillation.temperature);
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  V = a->in[0]->s.d[1];
    const int32_t *targets = a->in[2]->v;
    const real     c = cold(a);
    real          *each = a->out[1]->v;

    for (int64_t t = from; t < to; t++) {
        const real  *x = (const real *)a->in[0]->v + t * V, *y = (const real *)a->in[1]->v + t * V;
        const real   mx = loss_largest(x, V), my = loss_largest(y, V);
        const double hard = log_total(x, V, 1, mx);
        const real   sx = (real)log_total(x, V, c, mx), sy = (real)log_total(y, V, c, my);
        double       sum = 0;
        CHECK(targets[t] >= 0 && targets[t] < V);
        memcpy(a->aux + AUX_ROW * t, (const real[AUX_ROW]){mx, (real)hard, sx, my, sy}, AUX_ROW * sizeof(real));
        for (int64_t v = 0; v < V; v++) {
            const real lp = c * (y[v] - my) - sy, lq = c * (x[v] - mx) - sx;
            sum += (double)(real_exp(lp) * (lp - lq));
        }
        each[t] = (real)(a->attr->distillation.hard * (hard + ((double)mx - (double)x[targets[t]])) +
                         a->attr->distillation.soft * sum);
    }
}

void op_distillation_fwd_cpu(const op_args *a)
{
    const int64_t T = loss_rows(a->in[0], a->in[2]);
    real         *each = a->out[1]->v;
    double        sum = 0;

    op_over(a, T, op_piece_rows(a->in[0]->s.d[1]), forward);
    for (int64_t t = 0; t < T; t++)
        sum += (double)each[t];
    for (int64_t t = T; t < a->out[1]->s.d[0]; t++)
        each[t] = 0;
    *(real *)a->out[0]->v = (real)sum;
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  V = a->in[0]->s.d[1];
    const int32_t *targets = a->in[2]->v;
    const real     c = cold(a);

    for (int64_t t = from; t < to; t++) {
        const real     g = loss_upstream(a, t), *aux = a->aux + AUX_ROW * t;
        const real     hard = g * (real)a->attr->distillation.hard, soft = g * c * (real)a->attr->distillation.soft;
        const real    *x = (const real *)a->in[0]->v + t * V, *y = (const real *)a->in[1]->v + t * V;
        real *RESTRICT dx = (real *)a->gin[0]->v + t * V;
        for (int64_t v = 0; v < V; v++)
            dx[v] += hard * real_exp((x[v] - aux[0]) - aux[1]) +
                     soft * (real_exp(c * (x[v] - aux[0]) - aux[2]) - real_exp(c * (y[v] - aux[3]) - aux[4]));
        dx[targets[t]] -= hard;
    }
}

void op_distillation_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, loss_rows(a->in[0], a->in[2]), op_piece_rows(a->in[0]->s.d[1]), backward);
}
