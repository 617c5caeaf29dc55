/* matmul_f64: the product's definition in double, for gradient checks */
#include "core/cpu/matmul.h"

#include "core/threads.h"

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
    }
}

void matmul_run_f64(const matmul *p)
{
    matmul q = *p;

    threads_run(p->m, row, &q);
}
