/* balance: b[e] += rate sign(mean(counts) - counts[e]) while training: the next choice has less of what was chosen
 * often. In place; no gradient. */
#include "autograd/ops/kernel.h"
#include "autograd/ops/route.h"

status op_balance_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *b = a->in[0];

    TRY(op_want_real("balance", "b", b, shape_1(shape_count(b->s))));
    TRY(op_want_real("balance", "counts", a->in[1], b->s));
    *out = b->s;
    *n_aux = 0;
    return STATUS_OK;
}

void op_balance_fwd_cpu(const op_args *a)
{
    const int64_t r = a->in[0]->s.d[0];
    const real   *counts = a->in[1]->v;
    real         *b = a->in[0]->v;
    double        total = 0;

    if (!a->run->training)
        return;
    for (int64_t i = 0; i < r; i++)
        total += (double)counts[i];
    for (int64_t i = 0; i < r; i++)
        b[i] += (real)a->attr->balance.rate * (real)balance_way(total, (double)r, (double)counts[i]);
}

void op_balance_bwd_cpu(const op_args *a)
{
    (void)a;
}
