/* linear_lora: y = x w^T + bias + factor h b^T, h = x a^T   (aux: h)
 *
 * dbias[m] += sum_n dy[n,m], dw += dy^T x, db += factor dy^T h, dh = factor dy b, da += dh^T x,
 * dx += dy w + dh a */
#include "autograd/ops/linear.h"

status op_linear_lora_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(linear_shape("linear_lora", a, out));
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
    const low_rank l = low_rank_of(a);

    if (low_rank_decode(&l, linear_product(a)))
        return;
    linear_forward(a);
    low_rank_forward(&l, a->out[0]->v);
}

void op_linear_lora_bwd_cpu(const op_args *a)
{
    const low_rank l = low_rank_of(a);

    linear_backward(a);
    low_rank_backward(&l, a->gout[0]);
}
