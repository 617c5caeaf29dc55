/* tally: counts[e] += how often expert e is chosen in all rows, while training; or counts from zero. In place; no
 * gradient. */
#include "autograd/ops/kernel.h"

status op_tally_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *counts = a->in[0];

    TRY(op_want_real("tally", "counts", counts, shape_1(shape_count(counts->s))));
    TRY(op_want_matrix("tally", "chosen", a->in[1]));
    *out = counts->s;
    *n_aux = 0;
    return STATUS_OK;
}

void op_tally_fwd_cpu(const op_args *a)
{
    const int64_t n = values_in_use(a->in[1]), r = a->in[0]->s.d[0];
    const real   *chosen = a->in[1]->v;
    real         *counts = a->in[0]->v;

    if (!a->run->training)
        return;
    for (int64_t i = 0; i < r && a->attr->tally.anew; i++)
        counts[i] = 0;
    for (int64_t i = 0; i < n; i++) {
        CHECK(chosen[i] >= 0 && chosen[i] < (real)r);
        counts[(int64_t)chosen[i]] += 1;
    }
}

void op_tally_bwd_cpu(const op_args *a)
{
    (void)a;
}
