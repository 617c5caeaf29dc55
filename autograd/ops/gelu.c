/* gelu: y = x Phi(x); or y = x s, s = 1 / (1 + exp(-g)), with g = 2 sqrt(2/pi) (x + 0.044715 x^3), for then
 * s = (1 + tanh(g / 2)) / 2, or with g = 1.702 x
 *
 * dx += dy (Phi(x) + x exp(-x^2/2) / sqrt(2 pi)); or dy (s + x s (1 - s) g')
 *
 * Finite for every finite x: where a square would not be, x is cut to where the derivative is the limit. */
#include "autograd/ops/kernel.h"
#include "autograd/ops/vector_math.h"

#define SLOPE ((real)1.5957691216057308) /* 2 sqrt(2/pi) */
#define CUBE ((real)0.044715)
#define QUICK ((real)1.702)

status op_gelu_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_real("gelu", "x", a->in[0], a->in[0]->s));
    *out = a->in[0]->s;
    *n_aux = 0;
    return STATUS_OK;
}

/* x within -most .. most; NaN stays */
static ALWAYS_INLINE real cut(real x, real most)
{
    return x > most ? most : x < -most ? -most : x;
}

/* d(x s(g)) / dx, where s' = s (1 - s) is made without the difference */
static ALWAYS_INLINE real sigmoid_slope(real x, real g, real dg)
{
    const real e = real_exp(g < 0 ? g : -g), d = 1 / (1 + e);

    return (g < 0 ? e * d : d) + x * (e * d * d * dg);
}

static void forward_erf(const op_args *a, int64_t from, int64_t to)
{
    const real    *x = a->in[0]->v;
    real *RESTRICT y = a->out[0]->v;

    for (int64_t i = from; i < to; i++)
        y[i] = x[i] * real_normal(x[i]);
}

static void forward_tanh(const op_args *a, int64_t from, int64_t to)
{
    const real    *x = a->in[0]->v;
    real *RESTRICT y = a->out[0]->v;

    for (int64_t i = from; i < to; i++)
        y[i] = x[i] * real_sigmoid(SLOPE * (x[i] + CUBE * x[i] * x[i] * x[i]));
}

static void forward_quick(const op_args *a, int64_t from, int64_t to)
{
    const real    *x = a->in[0]->v;
    real *RESTRICT y = a->out[0]->v;

    for (int64_t i = from; i < to; i++)
        y[i] = x[i] * real_sigmoid(QUICK * x[i]);
}

void op_gelu_fwd_cpu(const op_args *a)
{
    static op_body *const kinds[] = {forward_erf, forward_tanh, forward_quick};

    op_over(a, values_in_use(a->out[0]), PIECE_VALUES, kinds[a->attr->gelu.kind]);
}

static void backward_erf(const op_args *a, int64_t from, int64_t to)
{
    const real    *x = a->in[0]->v, *dy = a->gout[0]->v;
    real *RESTRICT dx = a->gin[0]->v;

    for (int64_t i = from; i < to; i++) {
        const real v = cut(x[i], 40);
        dx[i] += dy[i] * (real_normal(v) + v * (real)0.39894228040143268 * real_exp(v * v * (real)-0.5));
    }
}

static void backward_tanh(const op_args *a, int64_t from, int64_t to)
{
    const real    *x = a->in[0]->v, *dy = a->gout[0]->v;
    real *RESTRICT dx = a->gin[0]->v;

    for (int64_t i = from; i < to; i++) {
        const real v = cut(x[i], 16);
        dx[i] += dy[i] * sigmoid_slope(v, SLOPE * (v + CUBE * v * v * v), SLOPE * (1 + 3 * CUBE * v * v));
    }
}

static void backward_quick(const op_args *a, int64_t from, int64_t to)
{
    const real    *x = a->in[0]->v, *dy = a->gout[0]->v;
    real *RESTRICT dx = a->gin[0]->v;

    for (int64_t i = from; i < to; i++)
        dx[i] += dy[i] * sigmoid_slope(x[i], QUICK * x[i], QUICK);
}

void op_gelu_bwd_cpu(const op_args *a)
{
    static op_body *const kinds[] = {backward_erf, backward_tanh, backward_quick};

    if (a->gin[0])
        op_over(a, values_in_use(a->gout[0]), PIECE_VALUES, kinds[a->attr->gelu.kind]);
}
