/* scores: y = x w^T, in f32 also where activations are bf16: what a gate decides by
 *
 * dx += dy w, dw += dy^T x */
#include "autograd/ops/linear.h"

status op_scores_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    *n_aux = 0;
    return linear_shape("scores", a, out);
}

void op_scores_fwd_cpu(const op_args *a)
{
    linear_forward(a, NULL);
}

void op_scores_bwd_cpu(const op_args *a)
{
    linear_backward(a, NULL);
}
