/* cayley: rotations of small skew matrices: R = (I - Q)(I + Q)^-1; r [B, h, h].
 *
 * q [B, h (h - 1) / 2] holds the strict upper triangles of Q, row by row; q [..., h, h] any matrices X, Q is
 * then (X - X^T) / 2. With terms > 0 instead the first of the series of (I + Q)(I - Q)^-1, the opposite
 * rotation: I + 2 Q + 2 Q^2 + ... + Q^p, p = terms - 1, but 3 when terms is 3; I + 2 Q for 2 and I for 1
 * (PEFT's cayley_neumann). With limit > 0 a Q whose norm is larger is first shortened to it; that has no
 * gradient of its own.
 *
 * exact: dQ = -(I + R)^T dR (I + R)^T / 2. q_ij += dQ_ij - dQ_ji, X half of that. */
#include "autograd/ops/kernel.h"

#include <math.h>

static int64_t size_of(const tensor *q)
{
    const int64_t n = shape_last(q->s);

    return q->s.n == 2 ? (int64_t)((1 + sqrt(1 + 8 * (double)n)) / 2 + 0.5) : n;
}

status op_cayley_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *q = a->in[0];
    const int64_t h = size_of(q), n = shape_last(q->s);

    if (q->type != REAL_TYPE || q->s.n < 2 || (q->s.n == 2 ? h * (h - 1) / 2 != n : q->s.d[q->s.n - 2] != n))
        return fail(STATUS_SHAPE, "cayley: q is %s %s, must be square matrices or triangles of them",
                    dtype_name(q->type), shape_text(q->s));
    *out = shape_3(shape_count(q->s) / (q->s.n == 2 ? n : n * n), h, h);
    *n_aux = 0;
    return STATUS_OK;
}

/* Q of matrix b, as it is used. */
static void skew(const op_args *a, int64_t b, int64_t h, real *Q)
{
    const tensor *q = a->in[0];
    const bool    triangle = q->s.n == 2;
    const real   *v = (const real *)q->v + b * (triangle ? shape_last(q->s) : h * h);
    double        sum = 0;

    for (int64_t i = 0, at = 0; i < h; i++)
        for (int64_t j = i; j < h; j++) {
            const real x = i == j ? 0 : triangle ? v[at++] : (v[i * h + j] - v[j * h + i]) / 2;
            Q[i * h + j] = x;
            Q[j * h + i] = -x;
            sum += 2 * (double)x * (double)x;
        }
    const double norm = sqrt(sum), limit = a->attr->cayley.limit;
    for (int64_t i = 0; limit > 0 && norm > limit && i < h * h; i++)
        Q[i] = (real)(Q[i] * (limit / norm));
}

/* c (+)= alpha a b, or with either turned */
static void small_product(int64_t h, real alpha, const real *a, bool a_turned, const real *b, bool b_turned,
                          real *c)
{
    for (int64_t i = 0; i < h; i++)
        for (int64_t k = 0; k < h; k++) {
            const real x = alpha * (a_turned ? a[k * h + i] : a[i * h + k]);
            for (int64_t j = 0; j < h; j++)
                c[i * h + j] += x * (b_turned ? b[j * h + k] : b[k * h + j]);
        }
}

/* m becomes its inverse: I + Q has no small pivots, its symmetric part being I. */
static void invert(int64_t h, real *m)
{
    for (int64_t p = 0; p < h; p++) {
        const real pivot = 1 / m[p * h + p];
        m[p * h + p] = 1;
        for (int64_t j = 0; j < h; j++)
            m[p * h + j] *= pivot;
        for (int64_t i = 0; i < h; i++) {
            const real x = m[i * h + p];
            if (i == p)
                continue;
            m[i * h + p] = 0;
            for (int64_t j = 0; j < h; j++)
                m[i * h + j] -= x * m[p * h + j];
        }
    }
}

/* The highest power, and the factor of power i. */
static int highest(int terms)
{
    return terms <= 2 ? terms - 1 : terms == 3 ? 3 : terms - 1;
}

static real factor_of(int i, int terms)
{
    return i == 0 || (terms > 2 && i == highest(terms)) ? 1 : 2;
}

/* p[i] = c_i I + Q p[i + 1], from the highest power down to p[0], the result; p[highest] = c I */
static void series(int64_t h, const real *Q, int terms, real *p)
{
    for (int i = highest(terms); i >= 0; i--) {
        memset(p + i * h * h, 0, (size_t)(h * h) * sizeof *p);
        for (int64_t d = 0; d < h; d++)
            p[i * h * h + d * h + d] = factor_of(i, terms);
        if (i < highest(terms))
            small_product(h, 1, Q, false, p + (i + 1) * h * h, false, p + i * h * h);
    }
}

static size_t room(int64_t h, int terms)
{
    return (size_t)(h * h * (4 + (terms > 0 ? terms + 1 : 0))) * sizeof(real);
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int     terms = a->attr->cayley.terms;
    const int64_t h = a->out[0]->s.d[2];
    real         *Q = threads_scratch(SLOT_WEIGHT, room(h, terms)), *p = Q + h * h;

    for (int64_t b = from; b < to; b++) {
        real *r = (real *)a->out[0]->v + b * h * h;
        skew(a, b, h, Q);
        if (terms > 0) {
            series(h, Q, terms, p);
            memcpy(r, p, (size_t)(h * h) * sizeof *r);
            continue;
        }
        for (int64_t i = 0; i < h; i++)
            Q[i * h + i] += 1;
        invert(h, Q);
        for (int64_t i = 0; i < h * h; i++) /* (I - Q)(I + Q)^-1 = 2 (I + Q)^-1 - I */
            r[i] = 2 * Q[i] - (i % (h + 1) == 0 ? 1 : 0);
    }
}

void op_cayley_fwd_cpu(const op_args *a)
{
    op_over(a, a->out[0]->s.d[0], 1, forward);
}

/* dQ of the series: dQ += d[i] p[i+1]^T, d[i+1] = Q^T d[i], d[0] = dR */
static void series_backward(int64_t h, const real *Q, int terms, const real *dR, real *p, real *d, real *dQ)
{
    real *next = d + h * h;

    series(h, Q, terms, p);
    memcpy(d, dR, (size_t)(h * h) * sizeof *d);
    for (int i = 0; i < highest(terms); i++) {
        small_product(h, 1, d, false, p + (i + 1) * h * h, true, dQ);
        memset(next, 0, (size_t)(h * h) * sizeof *next);
        small_product(h, 1, Q, true, d, false, next);
        memcpy(d, next, (size_t)(h * h) * sizeof *d);
    }
}

static void exact_backward(int64_t h, const real *R, const real *dR, real *s, real *t, real *dQ)
{
    for (int64_t i = 0; i < h * h; i++)
        s[i] = R[i] + (i % (h + 1) == 0 ? 1 : 0);
    memset(t, 0, (size_t)(h * h) * sizeof *t);
    small_product(h, 1, s, true, dR, false, t);
    small_product(h, (real)-0.5, t, false, s, true, dQ);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int     terms = a->attr->cayley.terms;
    const int64_t h = a->gout[0]->s.d[2], n = shape_last(a->in[0]->s);
    const bool    triangle = a->in[0]->s.n == 2;
    real         *Q = threads_scratch(SLOT_WEIGHT, room(h, terms)), *dQ = Q + h * h;
    real         *s = dQ + h * h, *p = s + 2 * h * h;

    for (int64_t b = from; b < to; b++) {
        const real *dR = (const real *)a->gout[0]->v + b * h * h;
        real       *dq = (real *)a->gin[0]->v + b * (triangle ? n : h * h);
        memset(dQ, 0, (size_t)(h * h) * sizeof *dQ);
        if (terms > 0) {
            skew(a, b, h, Q);
            series_backward(h, Q, terms, dR, p, s, dQ);
        } else
            exact_backward(h, (const real *)a->out[0]->v + b * h * h, dR, s, s + h * h, dQ);
        for (int64_t i = 0, at = 0; i < h; i++)
            for (int64_t j = triangle ? i + 1 : 0; j < h; j++)
                dq[triangle ? at++ : i * h + j] += (dQ[i * h + j] - dQ[j * h + i]) / (triangle ? 1 : 2);
    }
}

void op_cayley_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, a->gout[0]->s.d[0], 1, backward);
}
