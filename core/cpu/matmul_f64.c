/* matmul_f64: the product's definition in double, for gradient checks */
#include "core/cpu/matmul.h"

#include "core/threads.h"

static double thin_sum(const matmul_thin *t, int64_t i, int64_t j)
{
    const double *a = t->a, *b = t->b;
    double        sum = 0;

    for (int64_t k = 0; k < t->k; k++)
        sum += a[i * t->lda + k] * b[t->b_turned ? j * t->ldb + k : k * t->ldb + j];
    return t->alpha * sum;
}

static void row(void *context, int64_t i)
{
    const matmul *p = context;
    const double *a = p->a, *b = p->b, *bias = (const double *)(const void *)p->bias;
    double       *c = (double *)p->c + i * p->ldc;

    for (int64_t j = 0; j < p->n; j++) {
        double sum = 0;
        for (int64_t k = 0; k < p->k; k++)
            sum += a[p->a_turned ? k * p->lda + i : i * p->lda + k] *
                   b[p->b_turned ? j * p->ldb + k : k * p->ldb + j];
        c[j] = (p->accumulate ? c[j] : 0) + p->alpha * sum + (bias ? bias[j] : 0);
        if (p->thin)
            c[j] += thin_sum(p->thin, i, j);
    }
}

void matmul_run_f64(const matmul *p)
{
    matmul q = *p;

    threads_run(p->m, row, &q);
}
