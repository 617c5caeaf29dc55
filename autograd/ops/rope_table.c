/* rope_table: table[n, i] = s cos(t), table[n, D/2 + i] = s sin(t), t = positions[n] * frequencies[i],
 * in f64 and rounded once; no gradient
 *
 * Dynamic NTK (factor > 0): in a sequence whose last position is beyond `length`, frequencies are those of
 * theta (factor n / length - factor + 1)^(D / (D - 2)), n being the last position + 1. */
#include "autograd/ops/kernel.h"

#include <math.h>

status op_rope_table_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *positions = a->in[0], *f = a->in[1], *offsets = a->in[2];

    TRY(op_want_ints("rope_table", "positions", positions,
                     shape_1(positions->s.n ? positions->s.d[0] : 1)));
    if ((f->type != TYPE_F32 && f->type != TYPE_F64) || f->s.n != 1)
        return fail(STATUS_SHAPE, "rope_table: frequencies are %s %s, must be f32 or f64 with one size",
                    dtype_name(f->type), shape_text(f->s));
    if (offsets)
        TRY(op_want_ints("rope_table", "offsets", offsets, shape_1(offsets->s.n ? offsets->s.d[0] : 1)));
    *out = shape_2(positions->s.d[0], 2 * f->s.d[0]);
    *n_aux = 0;
    return STATUS_OK;
}

/* The last position of row n's sequence, + 1. */
static double sequence_length(const op_args *a, int64_t n)
{
    const int32_t *offsets = a->in[2]->v, *positions = a->in[0]->v;
    const int64_t  S = rows_in_use(a->in[2]) - 1;
    int64_t        low = 0, high = S - 1; /* the sequence s with offsets[s] <= n < offsets[s + 1] */

    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (n < offsets[middle + 1])
            high = middle;
        else
            low = middle + 1;
    }
    return S > 0 ? positions[offsets[low + 1] - 1] + 1.0 : 0;
}

/* theta of row n, 0: the frequencies stay. */
static double changed_theta(const op_args *a, int64_t n)
{
    const double D = 2.0 * (double)a->in[1]->s.d[0], factor = a->attr->rope_table.factor;
    const double length = a->attr->rope_table.length;

    if (factor <= 0 || !a->in[2])
        return 0;
    const double is = sequence_length(a, n);
    return is > length ? a->attr->rope_table.theta * pow(factor * is / length - (factor - 1), D / (D - 2)) : 0;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const tensor  *f = a->in[1];
    const int64_t  half = f->s.d[0];
    const int32_t *positions = a->in[0]->v;
    const double   scale = a->attr->rope_table.scale;

    for (int64_t n = from; n < to; n++) {
        real        *y = (real *)a->out[0]->v + n * 2 * half;
        const double theta = changed_theta(a, n);
        for (int64_t i = 0; i < half; i++) {
            double w = f->type == TYPE_F64 ? ((const double *)f->v)[i] : ((const float *)f->v)[i];
            if (theta > 0)
                w = pow(theta, -(double)i / (double)half);
            const double t = positions[n] * w;
            y[i] = (real)(scale * cos(t));
            y[half + i] = (real)(scale * sin(t));
        }
    }
}

void op_rope_table_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->in[0]), ROW_BLOCK, forward);
}

void op_rope_table_bwd_cpu(const op_args *a)
{
    (void)a;
}
