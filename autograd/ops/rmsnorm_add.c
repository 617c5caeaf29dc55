/* rmsnorm_add: s = x + q, y[n,c] = s[n,c] r[n] w[c], r[n] = 1 / sqrt(mean_c s[n,c]^2 + eps)   (aux: r)
 *
 * g = ds + r dy w - s r^3 mean_c(dy w s); dx += g, dq += g
 * dw[c] += sum_n dy s r */
#include "autograd/ops/rmsnorm.h"

status op_rmsnorm_add_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_matrix("rmsnorm_add", "x", a->in[0]));
    TRY(op_want_real("rmsnorm_add", "r", a->in[1], a->in[0]->s));
    TRY(op_want_real("rmsnorm_add", "w", a->in[2], shape_1(a->in[0]->s.d[1])));
    out[0] = out[1] = a->in[0]->s;
    *n_aux = out[0].d[0];
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = a->in[0]->s.d[1];
    const real   *x = a->in[0]->v, *q = a->in[1]->v, *w = a->in[2]->v;
    real *RESTRICT s = a->out[0]->v;
    real          *y = a->out[1]->v;

    for (int64_t n = from; n < to; n++) {
        for (int64_t i = n * C; i < n * C + C; i++)
            s[i] = x[i] + q[i];
        a->aux[n] = rmsnorm_row(s + n * C, w, 0, y + n * C, C, a->attr->rmsnorm.eps);
    }
}

void op_rmsnorm_add_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->in[0]), op_piece_rows(a->in[0]->s.d[1]), forward);
}

/* g[C]: the gradient of row n of s; u[C]: scratch */
static void row_gradient(const op_args *a, int64_t n, int64_t C, real *RESTRICT g, real *u)
{
    const real *ds = op_value(a->gout[0]), *dy = op_value(a->gout[1]);

    if (ds)
        memcpy(g, ds + n * C, (size_t)C * sizeof *g);
    else
        memset(g, 0, (size_t)C * sizeof *g);
    if (!dy)
        return;

    const real *s = (const real *)a->out[0]->v + n * C, r = a->aux[n];
    const real  k = rmsnorm_row_factor(s, a->in[2]->v, 0, dy + n * C, r, u, C);
    for (int64_t c = 0; c < C; c++)
        g[c] += r * u[c] - k * s[c];
}

static void backward_x(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = a->in[0]->s.d[1];
    real         *u = threads_scratch(0, (size_t)C * 2 * sizeof *u), *g = u + C;

    for (int64_t n = from; n < to; n++) {
        row_gradient(a, n, C, g, u);
        for (int k = 0; k < 2; k++) {
            real *RESTRICT dx = op_value(a->gin[k]);
            if (dx)
                for (int64_t c = 0; c < C; c++)
                    dx[n * C + c] += g[c];
        }
    }
}

static void backward_w(const op_args *a, int64_t from, int64_t to)
{
    rmsnorm_weight_backward(a->out[0]->v, a->gout[1]->v, a->aux, rows_in_use(a->in[0]),
                            a->in[0]->s.d[1], from, to, a->gin[2]->v);
}

void op_rmsnorm_add_bwd_cpu(const op_args *a)
{
    const int64_t C = a->in[0]->s.d[1];

    if (a->gin[0] || a->gin[1])
        op_over(a, rows_in_use(a->in[0]), op_piece_rows(C), backward_x);
    if (a->gin[2] && a->gout[1])
        op_over(a, C, PIECE_COLUMNS, backward_w);
}
