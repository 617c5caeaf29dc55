/* layernorm: y[n,c] = h[n,c] w[c] + b[c], h[n,c] = (x[n,c] - m[n]) r[n], m = mean_c x,
 * r = 1 / sqrt(mean_c (x - m)^2 + eps)   (aux: all m, then all r)
 *
 * g = dy w; dx[n,c] += r (g - mean_c(g) - h mean_c(g h))
 * dw[c] += sum_n dy h, db[c] += sum_n dy */
#include "autograd/ops/rmsnorm.h"

status op_layernorm_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_matrix("layernorm", "x", a->in[0]));
    TRY(op_want_real("layernorm", "w", a->in[1], shape_1(a->in[0]->s.d[1])));
    TRY(op_want_real("layernorm", "b", a->in[2], shape_1(a->in[0]->s.d[1])));
    *out = a->in[0]->s;
    *n_aux = 2 * out->d[0];
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = a->in[0]->s.d[1];
    const real   *w = a->in[1]->v, *b = a->in[2]->v;
    real         *mean = a->aux, *factor = mean + a->in[0]->s.d[0];

    for (int64_t n = from; n < to; n++) {
        const real    *x = (const real *)a->in[0]->v + n * C, m = op_total(x, C) / (real)C;
        real *RESTRICT y = (real *)a->out[0]->v + n * C;

        for (int64_t c = 0; c < C; c++)
            y[c] = x[c] - m;
        const real r = 1 / REAL_SQRT(op_dot(y, y, C) / (real)C + (real)a->attr->rmsnorm.eps);
        for (int64_t c = 0; c < C; c++)
            y[c] = y[c] * r * w[c] + b[c];
        mean[n] = m;
        factor[n] = r;
    }
}

void op_layernorm_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->in[0]), op_piece_rows(a->in[0]->s.d[1]), forward);
}

static void backward_x(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  C = a->in[0]->s.d[1];
    const real    *w = a->in[1]->v, *mean = a->aux, *factor = mean + a->in[0]->s.d[0];
    real *RESTRICT g = threads_scratch(0, (size_t)C * 2 * sizeof *g), *RESTRICT h = g + C;

    for (int64_t n = from; n < to; n++) {
        const real    *x = (const real *)a->in[0]->v + n * C, *dy = (const real *)a->gout[0]->v + n * C;
        real *RESTRICT dx = (real *)a->gin[0]->v + n * C;
        const real     m = mean[n], r = factor[n];

        for (int64_t c = 0; c < C; c++) {
            g[c] = dy[c] * w[c];
            h[c] = (x[c] - m) * r;
        }
        const real flat = op_total(g, C) / (real)C, along = op_dot(g, h, C) / (real)C;
        for (int64_t c = 0; c < C; c++)
            dx[c] += r * (g[c] - flat - along * h[c]);
    }
}

static void backward_w(const op_args *a, int64_t from, int64_t to)
{
    const int64_t N = rows_in_use(a->in[0]), C = a->in[0]->s.d[1];
    const real   *x = a->in[0]->v, *dy = a->gout[0]->v, *mean = a->aux, *factor = mean + a->in[0]->s.d[0];
    real         *dw = a->gin[1]->v;

    for (int64_t first = 0; first < N; first += ROW_BLOCK) {
        const int64_t last = first + ROW_BLOCK < N ? first + ROW_BLOCK : N;
        real          block[PIECE_COLUMNS] = {0};

        for (int64_t n = first; n < last; n++)
            for (int64_t c = from; c < to; c++)
                block[c - from] += dy[n * C + c] * ((x[n * C + c] - mean[n]) * factor[n]);
        for (int64_t c = from; c < to; c++)
            dw[c] += block[c - from];
    }
}

static void backward_b(const op_args *a, int64_t from, int64_t to)
{
    op_add_column_sums(a->gout[0]->v, rows_in_use(a->gout[0]), a->gout[0]->s.d[1], from, to, a->gin[2]->v);
}

void op_layernorm_bwd_cpu(const op_args *a)
{
    const int64_t C = shape_last(a->gout[0]->s);

    if (a->gin[0])
        op_over(a, rows_in_use(a->in[0]), op_piece_rows(C), backward_x);
    if (a->gin[1])
        op_over(a, C, PIECE_COLUMNS, backward_w);
    if (a->gin[2])
        op_over(a, C, PIECE_COLUMNS, backward_b);
}
