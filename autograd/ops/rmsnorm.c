/* rmsnorm: y[n,c] = x[n,c] r[n] w[c], r[n] = 1 / sqrt(mean_c x[n,c]^2 + eps)   (aux: r)
 *
 * dx[n,c] += r dy w - x r^3 mean_c(dy w x)
 * dw[c]   += sum_n dy x r */
#include "autograd/ops/rmsnorm.h"

status op_rmsnorm_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_matrix("rmsnorm", "x", a->in[0]));
    TRY(op_want_real("rmsnorm", "w", a->in[1], shape_1(a->in[0]->s.d[1])));
    *out = a->in[0]->s;
    *n_aux = out->d[0];
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = a->in[0]->s.d[1];
    const real   *x = a->in[0]->v, *w = a->in[1]->v;
    real         *y = a->out[0]->v;

    for (int64_t n = from; n < to; n++)
        a->aux[n] = rmsnorm_row(x + n * C, w, y + n * C, C, a->attr->rmsnorm.eps);
}

void op_rmsnorm_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->in[0]), op_piece_rows(a->in[0]->s.d[1]), forward);
}

static void backward_x(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = a->in[0]->s.d[1];
    const real   *w = a->in[1]->v;
    real         *u = threads_scratch(0, (size_t)C * sizeof *u);

    for (int64_t n = from; n < to; n++) {
        const real    *x = (const real *)a->in[0]->v + n * C, *dy = (const real *)a->gout[0]->v + n * C;
        real *RESTRICT dx = (real *)a->gin[0]->v + n * C;
        const real     r = a->aux[n], k = rmsnorm_row_factor(x, w, dy, r, u, C);

        for (int64_t c = 0; c < C; c++)
            dx[c] += r * u[c] - k * x[c];
    }
}

static void backward_w(const op_args *a, int64_t from, int64_t to)
{
    rmsnorm_weight_backward(a->in[0]->v, a->gout[0]->v, a->aux, rows_in_use(a->in[0]),
                            a->in[0]->s.d[1], from, to, a->gin[1]->v);
}

void op_rmsnorm_bwd_cpu(const op_args *a)
{
    const int64_t C = a->in[0]->s.d[1];

    if (a->gin[0])
        op_over(a, rows_in_use(a->in[0]), op_piece_rows(C), backward_x);
    if (a->gin[1])
        op_over(a, C, PIECE_COLUMNS, backward_w);
}
