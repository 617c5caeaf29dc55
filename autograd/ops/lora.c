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

void op_lora_fwd_cpu(const op_args *a)
{
    const low_rank l = low_rank_of(a);

    op_pass(a);
    if (low_rank_decode(&l, low_rank_alone(&l, a->out[0]->v)))
        return;
    low_rank_inner(&l);
    product_turned(l.h, l.b, rows_in_use(l.x), a->out[0]->v, l.factor, true);
}

void op_lora_bwd_cpu(const op_args *a)
{
    const low_rank l = low_rank_of(a);

    const real *dh = low_rank_gradients(&l, a->gout[0]);
    if (l.dx)
        product_plain(dh, l.a, rows_in_use(a->gout[0]), l.dx->v, 1, true, NULL);
    op_pass_back(a);
}
