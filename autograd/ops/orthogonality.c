/* orthogonality: y = |p p^T - I|, the Frobenius norm; p [R, K], or with `turned` p^T p of p [K, R]
 * (Zhang et al. 2023, AdaLoRA, eq. 4)
 *
 * aux: e = p p^T - I; dp += 2 dy / y * e p; where y is 0 nothing */
#include "autograd/ops/linear.h"

#include <math.h>

status op_orthogonality_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_matrix("orthogonality", "p", a->in[0]));
    const int64_t R = a->in[0]->s.d[a->attr->orthogonality.turned ? 1 : 0];
    *out = shape_1(1);
    *n_aux = R * R + 1; /* e, and y */
    return STATUS_OK;
}

void op_orthogonality_fwd_cpu(const op_args *a)
{
    const bool    turned = a->attr->orthogonality.turned;
    const int64_t R = a->in[0]->s.d[turned ? 1 : 0], K = a->in[0]->s.d[turned ? 0 : 1];
    const real   *p = a->in[0]->v;
    real         *e = a->aux;
    double        sum = 0;

    if (turned) {
        memset(e, 0, (size_t)(R * R) * sizeof *e);
        product_rows(p, p, K, R, R, e, 1);
    } else
        product_turned(p, a->in[0], R, e, 1, false);
    for (int64_t r = 0; r < R; r++)
        e[r * R + r] -= 1;
    for (int64_t i = 0; i < R * R; i++)
        sum += (double)e[i] * (double)e[i];
    e[R * R] = (real)sqrt(sum);
    *(real *)a->out[0]->v = e[R * R];
}

void op_orthogonality_bwd_cpu(const op_args *a)
{
    const bool    turned = a->attr->orthogonality.turned;
    const int64_t R = a->in[0]->s.d[turned ? 1 : 0], K = a->in[0]->s.d[turned ? 0 : 1];
    const real   *p = a->in[0]->v, *e = a->aux, *dy = a->gout[0]->v;

    if (!a->gin[0] || e[R * R] == 0)
        return;
    matmul m = turned ? product(p, e, REAL_TYPE, K, R, R) : product(e, p, REAL_TYPE, R, K, R);
    m.b_turned = false;
    m.ldb = m.n;
    m.c = a->gin[0]->v;
    m.alpha = 2 * (double)dy[0] / (double)e[R * R];
    m.accumulate = true;
    op_matmul(&m);
}
