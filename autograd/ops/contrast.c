/* contrast: z[i,j] = a[i] . b[j], and the sum over i of log sum_j exp(factor z[i,j]) - factor z[i,i]
 * (van den Oord et al. 2018, eq. 4; as many rows of b as of a at least); both: the mean of this and of the sum over
 * j < P of log sum_i exp(factor z[i,j]) - factor z[j,j]
 *
 * aux: the logs of sums by row, and by column;
 * g[i,j] = dsum factor (exp(factor z[i,j] - aux[i]) - [i == j]) + dz[i,j], likewise for both, da += g b, db += g^T a.
 * z is 0 where there is no row. */
#include "autograd/ops/kernel.h"

#include <math.h>

status op_contrast_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *x = a->in[0], *y = a->in[1];

    TRY(op_want_matrix("contrast", "a", x));
    TRY(op_want_matrix("contrast", "b", y));
    TRY(op_want_real("contrast", "b", y, shape_2(y->s.d[0], x->s.d[1])));
    out[0] = shape_1(1);
    out[1] = shape_2(x->s.d[0], y->s.d[0]);
    *n_aux = 2 * x->s.d[0];
    return STATUS_OK;
}

/* log sum_j exp(factor z[j step]) */
static double log_sum(const real *z, int64_t n, int64_t step, double factor)
{
    double most = factor * (double)z[0], sum = 0;

    for (int64_t j = 1; j < n; j++)
        most = factor * (double)z[j * step] > most ? factor * (double)z[j * step] : most;
    for (int64_t j = 0; j < n; j++)
        sum += exp(factor * (double)z[j * step] - most);
    return most + log(sum);
}

void op_contrast_fwd_cpu(const op_args *a)
{
    const int64_t P = rows_in_use(a->in[0]), Q = rows_in_use(a->in[1]), C = shape_last(a->in[0]->s);
    const int64_t ldz = shape_last(a->out[1]->s);
    const double  factor = a->attr->contrast.factor;
    real         *z = a->out[1]->v;
    double        sum = 0;

    CHECK(P <= Q);
    memset(z, 0, (size_t)shape_count(a->out[1]->s) * sizeof *z);
    op_matmul(&(matmul){.m = P, .n = Q, .k = C, .a = a->in[0]->v, .type_a = REAL_TYPE, .lda = C, .b = a->in[1]->v,
                        .type_b = REAL_TYPE, .ldb = C, .b_turned = true, .c = z, .type_c = REAL_TYPE, .ldc = ldz,
                        .alpha = 1});
    for (int64_t i = 0; i < P; i++) {
        const double row = log_sum(z + i * ldz, Q, 1, factor), column = log_sum(z + i, P, ldz, factor);
        a->aux[2 * i] = (real)row;
        a->aux[2 * i + 1] = (real)column;
        sum += (a->attr->contrast.both ? (row + column) / 2 : row) - factor * (double)z[i * ldz + i];
    }
    *(real *)a->out[0]->v = (real)sum;
}

/* exp(factor z[i,j] - aux) by row, or half of it and half of that by column */
static double share(const op_args *a, int64_t i, int64_t j, int64_t P)
{
    const real  *z = (const real *)a->out[1]->v + i * shape_last(a->out[1]->s);
    const double x = a->attr->contrast.factor * (double)z[j];
    const double row = exp(x - (double)a->aux[2 * i]);

    if (!a->attr->contrast.both)
        return row;
    return (row + (j < P ? exp(x - (double)a->aux[2 * j + 1]) : 0)) / 2;
}

/* g [P, Q] */
static void gradients(const op_args *a, int64_t P, int64_t Q, real *g)
{
    const int64_t ldz = shape_last(a->out[1]->s);
    const double  factor = a->attr->contrast.factor;
    const real   *dsum = op_value(a->gout[0]), *dz = op_value(a->gout[1]);

    for (int64_t i = 0; i < P; i++)
        for (int64_t j = 0; j < Q; j++) {
            double sum = dz ? (double)dz[i * ldz + j] : 0;
            if (dsum)
                sum += (double)*dsum * factor * (share(a, i, j, P) - (i == j));
            g[i * Q + j] = (real)sum;
        }
}

void op_contrast_bwd_cpu(const op_args *a)
{
    const tensor *any = a->gin[0] ? a->gin[0] : a->gin[1];

    if (!any)
        return;
    const int64_t P = rows_in_use(a->in[0]), Q = rows_in_use(a->in[1]), C = shape_last(any->s);
    real         *g = threads_scratch(SLOT_SHARED, (size_t)shape_count(a->out[1]->s) * sizeof *g + 1);

    gradients(a, P, Q, g);
    if (a->gin[0])
        op_matmul(&(matmul){.m = P, .n = C, .k = Q, .a = g, .type_a = REAL_TYPE, .lda = Q, .b = a->in[1]->v,
                            .type_b = REAL_TYPE, .ldb = C, .c = a->gin[0]->v, .type_c = REAL_TYPE, .ldc = C,
                            .alpha = 1, .accumulate = true});
    if (a->gin[1])
        op_matmul(&(matmul){.m = Q, .n = C, .k = P, .a = g, .type_a = REAL_TYPE, .lda = Q, .a_turned = true,
                            .b = a->in[0]->v, .type_b = REAL_TYPE, .ldb = C, .c = a->gin[1]->v, .type_c = REAL_TYPE,
                            .ldc = C, .alpha = 1, .accumulate = true});
}
