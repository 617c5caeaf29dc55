/* lora: y' = y + factor h b^T, h = x a^T   (aux: h)
 *
 * dy += dy', db += factor dy'^T h, dh = factor dy' b, da += dh^T x, dx += dh a */
#include "autograd/ops/linear.h"

status op_lora_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *y = a->in[0], *x = a->in[1];

    TRY(op_want_matrix("lora", "y", y));
    TRY(low_rank_shape("lora", x, a->in[2], a->in[3], y->s.d[1], n_aux));
    if (x->s.d[0] != y->s.d[0])
        return fail(STATUS_SHAPE, "lora: x has %lld rows, y %lld", (long long)x->s.d[0],
                    (long long)y->s.d[0]);
    *out = y->s;
    return STATUS_OK;
}

static low_rank low_rank_of(const op_args *a)
{
    return (low_rank){.x = a->in[1], .a = a->in[2], .b = a->in[3], .dx = a->gin[1], .da = a->gin[2],
                      .db = a->gin[3], .h = a->aux, .factor = a->attr->lora.factor,
                      .decode = a->run->decoding};
}

static void copy(const op_args *a, int64_t from, int64_t to)
{
    memcpy((real *)a->out[0]->v + from, (const real *)a->in[0]->v + from,
           (size_t)(to - from) * sizeof(real));
}

void op_lora_fwd_cpu(const op_args *a)
{
    const low_rank l = low_rank_of(a);

    if (a->out[0]->v != a->in[0]->v)
        op_over(a, values_in_use(a->out[0]), PIECE_VALUES, copy);
    if (low_rank_decode(&l, low_rank_alone(&l, a->out[0]->v)))
        return;
    low_rank_inner(&l);
    product_turned(l.h, l.b, rows_in_use(l.x), a->out[0]->v, l.factor, true);
}

static void add_upstream(const op_args *a, int64_t from, int64_t to)
{
    const real    *dy = a->gout[0]->v;
    real *RESTRICT dx = a->gin[0]->v;

    for (int64_t i = from; i < to; i++)
        dx[i] += dy[i];
}

void op_lora_bwd_cpu(const op_args *a)
{
    const low_rank l = low_rank_of(a);

    const real *dh = low_rank_gradients(&l, a->gout[0]);
    if (l.dx)
        product_plain(dh, l.a, rows_in_use(a->gout[0]), l.dx->v, 1, true, NULL);
    if (a->gin[0])
        op_over(a, values_in_use(a->gout[0]), PIECE_VALUES, add_upstream);
}
