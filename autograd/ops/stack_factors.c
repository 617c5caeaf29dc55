/* stack_factors: the factors A_e [rank, K] of all experts (experts.h) one below another, and B_e [M, rank] one beside
 * another */
#include "autograd/ops/experts.h"
#include "autograd/ops/kernel.h"

status op_stack_factors_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *values = a->in[0], *table = a->in[1];

    TRY(op_want_real("stack_factors", "values", values, shape_1(shape_count(values->s))));
    TRY(op_want_ints("stack_factors", "table", table, shape_2(table->s.d[0], 3)));
    out[0] = shape_2(a->attr->stack_factors.ranks, a->attr->stack_factors.in);
    out[1] = shape_2(a->attr->stack_factors.out, a->attr->stack_factors.ranks);
    *n_aux = 0;
    return STATUS_OK;
}

/* to += from, or a copy */
static void take(const real *from, real *to, int64_t n, bool add)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = add ? to[i] + from[i] : from[i];
}

void op_stack_factors_fwd_cpu(const op_args *a)
{
    const int64_t  E = a->in[1]->s.d[0], R = a->attr->stack_factors.ranks, K = a->attr->stack_factors.in;
    const int64_t  M = a->attr->stack_factors.out;
    const int32_t *table = a->in[1]->v;
    const real    *values = a->in[0]->v;
    int64_t        first = 0;

    for (int64_t e = 0; e < E; e++) {
        const int64_t r = expert_rank(table, e);
        const real   *b = values + expert_high(table, e);
        CHECK(first + r <= R);
        take(values + expert_low(table, e), (real *)a->out[0]->v + first * K, r * K, false);
        for (int64_t m = 0; m < M; m++)
            take(b + m * r, (real *)a->out[1]->v + m * R + first, r, false);
        first += r;
    }
}

void op_stack_factors_bwd_cpu(const op_args *a)
{
    const int64_t  E = a->in[1]->s.d[0], R = a->attr->stack_factors.ranks, K = a->attr->stack_factors.in;
    const int64_t  M = a->attr->stack_factors.out;
    const int32_t *table = a->in[1]->v;
    const real    *da = op_value(a->gout[0]), *db = op_value(a->gout[1]);
    real          *values = op_value(a->gin[0]);
    int64_t        first = 0;

    for (int64_t e = 0; e < E && values; e++) {
        const int64_t r = expert_rank(table, e);
        if (da)
            take(da + first * K, values + expert_low(table, e), r * K, true);
        for (int64_t m = 0; m < M && db; m++)
            take(db + m * R + first, values + expert_high(table, e) + m * r, r, true);
        first += r;
    }
}
