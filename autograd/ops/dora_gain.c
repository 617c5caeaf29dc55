/* dora_gain: y[m] = g[m] / |row m of (w + factor b a)|, the norm being a constant (Liu et al. 2024, section 4.3)
 *
 * dg[m] += dy[m] / norm[m]; aux: the norms */
#include "autograd/ops/kernel.h"

#include <math.h>

status op_dora_gain_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *low = a->in[2], *high = a->in[3];

    TRY(op_want_matrix("dora_gain", "a", low));
    TRY(op_want_matrix("dora_gain", "b", high));
    TRY(op_want_weight("dora_gain", "w", a->in[1], high->s.d[0], low->s.d[1]));
    TRY(op_want_real("dora_gain", "g", a->in[0], shape_1(high->s.d[0])));
    TRY(op_want_real("dora_gain", "b", high, shape_2(high->s.d[0], low->s.d[0])));
    *out = a->in[0]->s;
    *n_aux = high->s.d[0];
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = a->in[1]->s.d[1], R = a->in[2]->s.d[0];
    const real    factor = (real)a->attr->lora.factor;
    const real   *g = a->in[0]->v, *low = a->in[2]->v, *high = a->in[3]->v;
    real         *y = a->out[0]->v, *row = threads_scratch(SLOT_WEIGHT, (size_t)C * sizeof *row);

    for (int64_t m = from; m < to; m++) {
        op_weight_row(a->in[1], m, row);
        for (int64_t r = 0; r < R; r++) {
            const real b = factor * high[m * R + r];
            for (int64_t c = 0; c < C; c++)
                row[c] += b * low[r * C + c];
        }
        a->aux[m] = (real)sqrt((double)op_dot(row, row, C));
        y[m] = g[m] / a->aux[m];
    }
}

void op_dora_gain_fwd_cpu(const op_args *a)
{
    op_over(a, a->in[1]->s.d[0], op_piece_rows(a->in[1]->s.d[1]), forward);
}

void op_dora_gain_bwd_cpu(const op_args *a)
{
    const real *dy = a->gout[0]->v;
    real       *dg = op_value(a->gin[0]);

    for (int64_t m = 0; dg && m < a->n_aux; m++)
        dg[m] += dy[m] / a->aux[m];
}
