/* linear_lora: y = x w^T + bias + factor h b^T, h = x a^T   (aux: h)
 *
 * dbias[m] += sum_n dy[n,m], dw += dy^T x, db += factor dy^T h, dh = factor dy b, da += dh^T x,
 * dx += dy w + dh a */
#include "autograd/ops/linear.h"

status op_linear_lora_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(linear_shape("linear_lora", a, out));
    TRY(op_want_real("linear_lora", "a", a->in[3], shape_2(shape_rows(a->in[3]->s), a->in[0]->s.d[1])));
    TRY(op_want_real("linear_lora", "b", a->in[4], shape_2(out->d[1], a->in[3]->s.d[0])));
    return low_rank_shape("linear_lora", a->in[0], a->in[3], a->in[4], out->d[1], n_aux);
}

static low_rank low_rank_of(const op_args *a)
{
    return (low_rank){.x = a->in[0], .a = a->in[3], .b = a->in[4], .dx = a->gin[0], .da = a->gin[3],
                      .db = a->gin[4], .h = a->aux, .factor = a->attr->lora.factor,
                      .decode = a->run->decoding};
}

void op_linear_lora_fwd_cpu(const op_args *a)
{
    const low_rank    l = low_rank_of(a);
    const matmul_thin outer = low_rank_outer(&l);

    if (low_rank_decode(&l, linear_product(a)))
        return;
    low_rank_inner(&l);
    linear_forward(a, &outer);
}

void op_linear_lora_bwd_cpu(const op_args *a)
{
    const low_rank    l = low_rank_of(a);
    const int64_t     R = l.a->s.d[0], K = l.a->s.d[1];
    const real       *dh = low_rank_gradients(&l, a->gout[0]);
    const matmul_thin inner = {.k = R, .a = dh, .lda = R, .b = l.a->v, .ldb = K, .alpha = 1};

    linear_backward(a, &inner);
}
