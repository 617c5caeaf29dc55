/* top_gate: z[n] = x[n] g^T, and gains w[n]: over the k largest of z[n], of equal ones the first, the softmax of
 * z / t, 0 elsewhere; t is the temperature, in training 1
 *
 * dq[n,e] = w[n,e] (dw[n,e] - sum_i w[n,i] dw[n,i]) / t + dz[n,e], dx[n] += dq[n] g, dg += dq^T x
 *
 * With k = 1 the weight is exactly 1 and its gradient exactly 0. */
#include "autograd/ops/linear.h"
#include "autograd/ops/vector_math.h"

status op_top_gate_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *x = a->in[0], *g = a->in[1];
    const int64_t k = a->attr->top_gate.k;

    TRY(op_want_matrix("top_gate", "x", x));
    TRY(op_want_weight("top_gate", "g", g, -1, x->s.d[1]));
    if (k < 1 || k > g->s.d[0])
        return fail(STATUS_SHAPE, "top_gate: k is %lld, must be 1..%lld", (long long)k, (long long)g->s.d[0]);
    out[0] = out[1] = shape_2(x->s.d[0], g->s.d[0]);
    *n_aux = 0;
    return STATUS_OK;
}

static real temperature(const op_args *a)
{
    return a->run->training ? 1 : (real)a->attr->top_gate.temperature;
}

/* w = 1 at the k largest of z, 0 elsewhere; the largest itself */
static real choose(const real *z, int64_t E, int64_t k, real *w)
{
    real top = 0;

    memset(w, 0, (size_t)E * sizeof *w);
    for (int64_t i = 0; i < k; i++) {
        int64_t best = -1;
        for (int64_t e = 0; e < E; e++)
            if (w[e] == 0 && (best < 0 || z[e] > z[best]))
                best = e;
        w[best] = 1;
        if (i == 0)
            top = z[best];
    }
    return top;
}

static void weigh(const op_args *a, int64_t from, int64_t to)
{
    const int64_t E = shape_last(a->out[0]->s), k = a->attr->top_gate.k;
    const real    t = temperature(a);

    for (int64_t n = from; n < to; n++) {
        const real *z = (const real *)a->out[0]->v + n * E;
        real       *w = (real *)a->out[1]->v + n * E, sum = 0;
        const real  top = choose(z, E, k, w);
        for (int64_t e = 0; e < E && k > 1; e++)
            if (w[e] != 0)
                sum += w[e] = real_exp((z[e] - top) / t);
        for (int64_t e = 0; e < E && k > 1; e++)
            w[e] /= sum;
    }
}

void op_top_gate_fwd_cpu(const op_args *a)
{
    const int64_t N = rows_in_use(a->in[0]);

    product_turned(a->in[0]->v, a->in[1], N, a->out[0]->v, 1, false);
    op_over(a, N, op_piece_rows(shape_last(a->out[0]->s)), weigh);
}

static real *gradient_of_logits(const op_args *a, int64_t N, int64_t E)
{
    const real *dz = op_value(a->gout[0]), *dw = op_value(a->gout[1]), *w = a->out[1]->v, t = temperature(a);
    real       *dq = threads_scratch(SLOT_SHARED, (size_t)(shape_count(a->out[1]->s) + 1) * sizeof *dq);

    for (int64_t n = 0; n < N; n++) {
        real along = 0;
        for (int64_t e = 0; e < E && dw; e++)
            along += w[n * E + e] * dw[n * E + e];
        for (int64_t e = 0; e < E; e++) {
            const int64_t i = n * E + e;
            dq[i] = (dz ? dz[i] : 0) + (dw ? w[i] * (dw[i] - along) / t : 0);
        }
    }
    return dq;
}

void op_top_gate_bwd_cpu(const op_args *a)
{
    const tensor *any = a->gout[0] ? a->gout[0] : a->gout[1];
    const int64_t N = rows_in_use(any), E = any->s.d[1];

    if (!a->gin[0] && !a->gin[1])
        return;
    const real *dq = gradient_of_logits(a, N, E);
    if (a->gin[0])
        product_plain(dq, a->in[1], N, a->gin[0]->v, 1, true, NULL);
    if (a->gin[1])
        product_rows(dq, a->in[0]->v, N, E, a->in[0]->s.d[1], a->gin[1]->v, 1);
}
