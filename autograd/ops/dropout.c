/* dropout: y[n,c] = x[n,c] * m[n,c], m = 0 with probability p, else 1 / (1 - p); m = 1 unless training
 *
 * dx += dy * m. m is a function of the seed and of step, site, sample, position and channel: it is
 * made again in backward. Four channels share one Philox block. */
#include "autograd/ops/kernel.h"

status op_dropout_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const double p = a->attr->dropout.p;

    TRY(op_want_matrix("dropout", "x", a->in[0]));
    TRY(op_want_ints("dropout", "samples", a->in[1], shape_1(a->in[0]->s.d[0])));
    TRY(op_want_ints("dropout", "positions", a->in[2], shape_1(a->in[0]->s.d[0])));
    if (!(p >= 0 && p < 1))
        return fail(STATUS_SHAPE, "dropout: p is %g, must be >= 0 and < 1", p);
    *out = a->in[0]->s;
    *n_aux = 0;
    return STATUS_OK;
}

static bool is_on(const op_args *a)
{
    return a->run->training && a->attr->dropout.p > 0;
}

/* m[0 .. C-1] of row n */
static void mask_row(const op_args *a, rng_key key, int64_t n, int64_t C, real *m)
{
    const uint32_t sample = ((const uint32_t *)a->in[1]->v)[n];
    const uint32_t position = ((const uint32_t *)a->in[2]->v)[n];
    const uint32_t blocks = (uint32_t)((C + 3) / 4);
    const float    p = (float)a->attr->dropout.p;
    const real     keep = (real)(1 / (1 - a->attr->dropout.p));

    for (uint32_t b = 0; b < blocks; b++) {
        const rng_block r = rng_philox(key, position * blocks + b, sample, a->attr->dropout.site,
                                       a->run->step);
        for (int64_t l = 0; l < 4 && b * 4 + l < C; l++)
            m[b * 4 + l] = rng_unit(r.r[l]) < p ? 0 : keep;
    }
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = a->in[0]->s.d[1];
    const rng_key key = rng_key_for(a->run->seed, "dropout");
    real         *m = threads_scratch(0, (size_t)C * sizeof *m);

    for (int64_t n = from; n < to; n++) {
        const real *x = (const real *)a->in[0]->v + n * C;
        real       *y = (real *)a->out[0]->v + n * C; /* may be x */
        mask_row(a, key, n, C, m);
#pragma GCC ivdep
        for (int64_t c = 0; c < C; c++)
            y[c] = m[c] > 0 ? x[c] * m[c] : 0;
    }
}

static void copy(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = a->in[0]->s.d[1];

    memcpy((real *)a->out[0]->v + from * C, (const real *)a->in[0]->v + from * C,
           (size_t)((to - from) * C) * sizeof(real));
}

void op_dropout_fwd_cpu(const op_args *a)
{
    if (is_on(a) || a->out[0]->v != a->in[0]->v)
        op_over(a, rows_in_use(a->in[0]), op_piece_rows(a->in[0]->s.d[1]), is_on(a) ? forward : copy);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = a->in[0]->s.d[1];
    const rng_key key = rng_key_for(a->run->seed, "dropout");
    const bool    on = is_on(a);
    real         *m = threads_scratch(0, (size_t)C * sizeof *m);

    for (int64_t c = 0; c < C; c++)
        m[c] = 1;
    for (int64_t n = from; n < to; n++) {
        const real    *dy = (const real *)a->gout[0]->v + n * C;
        real *RESTRICT dx = (real *)a->gin[0]->v + n * C;
        if (on)
            mask_row(a, key, n, C, m);
        for (int64_t c = 0; c < C; c++)
            dx[c] += m[c] > 0 ? dy[c] * m[c] : 0;
    }
}

void op_dropout_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, rows_in_use(a->gout[0]), op_piece_rows(a->gout[0]->s.d[1]), backward);
}
