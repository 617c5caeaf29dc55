/* kron: the Kronecker product, y[i C + k, j D + l] = a[i,j] * b[k,l], a [A, B], b [C, D]
 *
 * da[i,j] += sum_kl dy * b[k,l]
 * db[k,l] += sum_ij dy * a[i,j] */
#include "autograd/ops/kernel.h"

status op_kron_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const shape x = a->in[0]->s, z = a->in[1]->s;

    TRY(op_want_matrix("kron", "a", a->in[0]));
    TRY(op_want_matrix("kron", "b", a->in[1]));
    *out = shape_2(x.d[0] * z.d[0], x.d[1] * z.d[1]);
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  B = a->in[0]->s.d[1], C = a->in[1]->s.d[0], D = a->in[1]->s.d[1];
    const real    *x = a->in[0]->v, *z = a->in[1]->v;
    real *RESTRICT y = a->out[0]->v;

    for (int64_t m = from; m < to; m++)
        for (int64_t j = 0; j < B; j++)
            for (int64_t l = 0; l < D; l++)
                y[(m * B + j) * D + l] = x[m / C * B + j] * z[m % C * D + l];
}

void op_kron_fwd_cpu(const op_args *a)
{
    op_over(a, a->out[0]->s.d[0], op_piece_rows(a->out[0]->s.d[1]), forward);
}

/* da for rows from .. to-1 of a */
static void backward_a(const op_args *a, int64_t from, int64_t to)
{
    const int64_t B = a->in[0]->s.d[1], C = a->in[1]->s.d[0], D = a->in[1]->s.d[1];
    const real   *z = a->in[1]->v, *dy = a->gout[0]->v;
    real         *dx = a->gin[0]->v;

    for (int64_t i = from; i < to; i++)
        for (int64_t j = 0; j < B; j++) {
            real sum = 0;
            for (int64_t k = 0; k < C; k++)
                sum += op_dot(dy + ((i * C + k) * B + j) * D, z + k * D, D);
            dx[i * B + j] += sum;
        }
}

/* db for rows from .. to-1 of b */
static void backward_b(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  A = a->in[0]->s.d[0], B = a->in[0]->s.d[1], C = a->gin[1]->s.d[0], D = a->gin[1]->s.d[1];
    const real    *x = a->in[0]->v, *dy = a->gout[0]->v;
    real *RESTRICT dz = a->gin[1]->v;

    for (int64_t k = from; k < to; k++)
        for (int64_t i = 0; i < A; i++)
            for (int64_t j = 0; j < B; j++)
                for (int64_t l = 0; l < D; l++)
                    dz[k * D + l] += dy[((i * C + k) * B + j) * D + l] * x[i * B + j];
}

void op_kron_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, a->gin[0]->s.d[0], 1, backward_a);
    if (a->gin[1])
        op_over(a, a->gin[1]->s.d[0], 1, backward_b);
}
