/* preference: losses of pairs, of which sequence 2 i is preferred to sequence 2 i + 1. With l[s] the log-probability
 * of a sequence's targets, minus the sum of `each` from offsets[s] to offsets[s + 1] - 1 (by_token: divided by their
 * number), and
 *     h[i] = l[2 i] - l[2 i + 1] - reference[i]
 * the loss of a pair is
 *     (1 - smoothing) log(1 + exp(-beta h)) + smoothing log(1 + exp(beta h))   (Rafailov et al. 2023, eq. 7)
 *     or, squared, (h - 1 / (2 beta))^2     (Azar et al. 2024, eq. 17, IPO)
 * Outputs: their sum, and beta h.
 *
 * aux: dloss[i]/dh[i]; deach[t] -= (dsum aux[i] + beta dout[i]) / number for the first of a pair, += for the second */
#include "autograd/ops/kernel.h"

#include <math.h>

status op_preference_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *each = a->in[0], *offsets = a->in[1], *reference = a->in[2];

    TRY(op_want_real("preference", "each", each, shape_1(shape_count(each->s))));
    TRY(op_want_ints("preference", "offsets", offsets, shape_1(shape_count(offsets->s))));
    TRY(op_want_real("preference", "reference", reference, shape_2(shape_count(reference->s), 1)));
    out[0] = shape_1(1);
    out[1] = shape_1(shape_count(reference->s));
    *n_aux = shape_count(reference->s);
    return STATUS_OK;
}

/* Targets of sequence s. */
static int64_t targets_of(const op_args *a, const tensor *each, int64_t s, int64_t *from)
{
    const int32_t *offsets = a->in[1]->v;

    CHECK(offsets[s] >= 0 && offsets[s] < offsets[s + 1] && offsets[s + 1] <= rows_in_use(each));
    *from = offsets[s];
    return offsets[s + 1] - offsets[s];
}

static double log_probability(const op_args *a, int64_t s)
{
    const real *each = a->in[0]->v;
    int64_t     from;
    const int64_t n = targets_of(a, a->in[0], s, &from);
    double      sum = 0;

    for (int64_t t = from; t < from + n; t++)
        sum -= (double)each[t];
    return a->attr->preference.by_token ? sum / (double)n : sum;
}

static double softplus(double x)
{
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

void op_preference_fwd_cpu(const op_args *a)
{
    const double beta = a->attr->preference.beta, smoothing = a->attr->preference.smoothing;
    const int64_t P = rows_in_use(a->in[2]), most = shape_count(a->out[1]->s);
    const real   *reference = a->in[2]->v;
    real         *margins = a->out[1]->v;
    double        sum = 0;

    CHECK(rows_in_use(a->in[1]) >= 2 * P + 1);
    for (int64_t i = 0; i < P; i++) {
        const double h = log_probability(a, 2 * i) - log_probability(a, 2 * i + 1) - (double)reference[i];
        const double far = h - 1 / (2 * beta), x = beta * h;
        margins[i] = (real)x;
        if (a->attr->preference.squared) {
            sum += far * far;
            a->aux[i] = (real)(2 * far);
        } else {
            sum += (1 - smoothing) * softplus(-x) + smoothing * softplus(x);
            a->aux[i] = (real)(beta * (smoothing - 1 / (1 + exp(x))));
        }
    }
    for (int64_t i = P; i < most; i++)
        margins[i] = 0;
    *(real *)a->out[0]->v = (real)sum;
}

void op_preference_bwd_cpu(const op_args *a)
{
    const real *dsum = op_value(a->gout[0]), *dmargins = op_value(a->gout[1]);

    if (!a->gin[0])
        return;
    const int64_t P = (rows_in_use(a->in[1]) - 1) / 2;
    real         *deach = a->gin[0]->v;
    for (int64_t s = 0; s < 2 * P; s++) {
        int64_t       from;
        const int64_t n = targets_of(a, a->gin[0], s, &from);
        double        g = dsum ? (double)*dsum * (double)a->aux[s / 2] : 0;
        g += dmargins ? a->attr->preference.beta * (double)dmargins[s / 2] : 0;
        g = (s % 2 ? g : -g) / (a->attr->preference.by_token ? (double)n : 1);
        for (int64_t t = from; t < from + n; t++)
            deach[t] += (real)g;
    }
}
