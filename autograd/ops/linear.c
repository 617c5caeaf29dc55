/* linear: y[n,m] = sum_k x[n,k] w[m,k] + b[m]
 *
 * dx += dy w, dw += dy^T x, db[m] += sum_n dy[n,m] */
#include "autograd/ops/linear.h"

status op_linear_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    *n_aux = 0;
    return linear_shape("linear", a, out);
}

void op_linear_fwd_cpu(const op_args *a)
{
    linear_forward(a, NULL);
}

void op_linear_bwd_cpu(const op_args *a)
{
    linear_backward(a, NULL);
}
