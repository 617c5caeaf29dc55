/* softmax: y[i] = exp(x[i] - max) / sum_j exp(x[j] - max) along the last size; a row of -infinity gives
 * zeros
 *
 * dx[i] += y[i] (dy[i] - sum_j dy[j] y[j]) */
#include "autograd/ops/kernel.h"
#include "autograd/ops/vector_math.h"

status op_softmax_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_real("softmax", "x", a->in[0], a->in[0]->s));
    *out = a->in[0]->s;
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = shape_last(a->in[0]->s);

    for (int64_t n = from; n < to; n++) {
        const real    *x = (const real *)a->in[0]->v + n * C;
        real *RESTRICT y = (real *)a->out[0]->v + n * C;
        real           m = -(real)INFINITY;
        double         sum = 0;

        for (int64_t c = 0; c < C; c++)
            m = x[c] > m ? x[c] : m;
        const real base = m == -(real)INFINITY ? 0 : m;
        for (int64_t c = 0; c < C; c++)
            y[c] = real_exp(x[c] - base);
        for (int64_t c = 0; c < C; c++)
            sum += y[c];
        const real inverse = sum > 0 ? (real)(1 / sum) : (real)sum;
        for (int64_t c = 0; c < C; c++)
            y[c] *= inverse;
    }
}

void op_softmax_fwd_cpu(const op_args *a)
{
    op_over(a, vectors_in_use(a->in[0]), op_piece_rows(shape_last(a->in[0]->s)), forward);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = shape_last(a->gout[0]->s);

    for (int64_t n = from; n < to; n++) {
        const real    *y = (const real *)a->out[0]->v + n * C, *dy = (const real *)a->gout[0]->v + n * C;
        real *RESTRICT dx = (real *)a->gin[0]->v + n * C;
        const real     mean = op_dot(dy, y, C);

        for (int64_t c = 0; c < C; c++)
            dx[c] += y[c] * (dy[c] - mean);
    }
}

void op_softmax_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, vectors_in_use(a->gout[0]), op_piece_rows(shape_last(a->gout[0]->s)), backward);
}
