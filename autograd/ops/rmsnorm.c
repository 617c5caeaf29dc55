/* rmsnorm: y[n,c] = x[n,c] r[n] (o + w[c]), r[n] = 1 / sqrt(mean_c x[n,c]^2 + eps)   (aux: r)
 *
 * A w that is shorter than a row norms each stretch of its length by itself: the heads of queries and keys.
 *
 * dx[n,c] += r dy (o + w) - x r^3 mean_c(dy (o + w) x)
 * dw[c]   += sum_n dy x r */
#include "autograd/ops/rmsnorm.h"

status op_rmsnorm_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *x = a->in[0], *w = a->in[1];

    TRY(op_want_matrix("rmsnorm", "x", x));
    TRY(op_want_real("rmsnorm", "w", w, shape_1(shape_count(w->s))));
    if (shape_count(w->s) < 1 || x->s.d[1] % shape_count(w->s) != 0)
        return fail(STATUS_SHAPE, "rmsnorm: w has %lld values, must divide a row's %lld", (long long)shape_count(w->s),
                    (long long)x->s.d[1]);
    *out = x->s;
    *n_aux = shape_count(x->s) / shape_count(w->s);
    return STATUS_OK;
}

static int64_t stretches_in_use(const op_args *a)
{
    return values_in_use(a->in[0]) / a->in[1]->s.d[0];
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = a->in[1]->s.d[0];
    const real   *x = a->in[0]->v, *w = a->in[1]->v, o = (real)a->attr->rmsnorm.offset;
    real         *y = a->out[0]->v;

    for (int64_t n = from; n < to; n++)
        a->aux[n] = rmsnorm_row(x + n * C, w, o, y + n * C, C, a->attr->rmsnorm.eps);
}

void op_rmsnorm_fwd_cpu(const op_args *a)
{
    op_over(a, stretches_in_use(a), op_piece_rows(a->in[1]->s.d[0]), forward);
}

static void backward_x(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = a->in[1]->s.d[0];
    const real   *w = a->in[1]->v, o = (real)a->attr->rmsnorm.offset;
    real         *u = threads_scratch(0, (size_t)C * sizeof *u);

    for (int64_t n = from; n < to; n++) {
        const real    *x = (const real *)a->in[0]->v + n * C, *dy = (const real *)a->gout[0]->v + n * C;
        real *RESTRICT dx = (real *)a->gin[0]->v + n * C;
        const real     r = a->aux[n], k = rmsnorm_row_factor(x, w, o, dy, r, u, C);

        for (int64_t c = 0; c < C; c++)
            dx[c] += r * u[c] - k * x[c];
    }
}

static void backward_w(const op_args *a, int64_t from, int64_t to)
{
    rmsnorm_weight_backward(a->in[0]->v, a->gout[0]->v, a->aux, stretches_in_use(a), a->in[1]->s.d[0], from, to,
                            a->gin[1]->v);
}

void op_rmsnorm_bwd_cpu(const op_args *a)
{
    const int64_t C = a->in[1]->s.d[0];

    if (a->gin[0])
        op_over(a, stretches_in_use(a), op_piece_rows(C), backward_x);
    if (a->gin[1])
        op_over(a, C, PIECE_COLUMNS, backward_w);
}
