/* rope_table: table[n, i] = cos(t), table[n, D/2 + i] = sin(t), t = positions[n] * frequencies[i],
 * in f64 and rounded once; no gradient */
#include "autograd/ops/kernel.h"

#include <math.h>

status op_rope_table_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *positions = a->in[0], *f = a->in[1];

    TRY(op_want_ints("rope_table", "positions", positions,
                     shape_1(positions->s.n ? positions->s.d[0] : 1)));
    if ((f->type != TYPE_F32 && f->type != TYPE_F64) || f->s.n != 1)
        return fail(STATUS_SHAPE, "rope_table: frequencies are %s %s, must be f32 or f64 with one size",
                    dtype_name(f->type), shape_text(f->s));
    *out = shape_2(positions->s.d[0], 2 * f->s.d[0]);
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const tensor  *f = a->in[1];
    const int64_t  half = f->s.d[0];
    const int32_t *positions = a->in[0]->v;

    for (int64_t n = from; n < to; n++) {
        real *y = (real *)a->out[0]->v + n * 2 * half;
        for (int64_t i = 0; i < half; i++) {
            const double w = f->type == TYPE_F64 ? ((const double *)f->v)[i] : ((const float *)f->v)[i];
            const double t = positions[n] * w;
            y[i] = (real)cos(t);
            y[half + i] = (real)sin(t);
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
