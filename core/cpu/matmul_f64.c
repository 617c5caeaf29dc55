/* matmul_f64: the product's definition in double, for gradient checks and decompositions */
#include "core/cpu/matmul.h"

#include "core/threads.h"

/* Rows and columns that are summed at once, each element over k in its order. */
enum { ROWS = 8, COLUMNS = 32 };

static double thin_sum(const matmul_thin *t, int64_t i, int64_t j)
{
    const double *a = t->a, *b = t->b;
    double        sum = 0;

    for (int64_t k = 0; k < t->k; k++)
        sum += a[i * t->lda + k] * b[t->b_turned ? j * t->ldb + k : k * t->ldb + j];
    return t->alpha * sum;
}

static void finish(const matmul *p, int64_t i, int64_t j, double sum)
{
    const double *bias = (const double *)(const void *)p->bias;
    double       *c = (double *)p->c + i * p->ldc + j;

    *c = (p->accumulate ? *c : 0) + p->alpha * sum + (bias ? bias[j] : 0);
    if (p->thin)
        *c += thin_sum(p->thin, i, j);
}

static double a_at(const matmul *p, int64_t i, int64_t k)
{
    return ((const double *)p->a)[p->a_turned ? k * p->lda + i : i * p->lda + k];
}

/* b turned: both rows lie along k. */
static void row_by_dots(const matmul *p, int64_t i)
{
    const double *b = p->b;

    for (int64_t j = 0; j < p->n; j++) {
        double sum = 0;
        for (int64_t k = 0; k < p->k; k++)
            sum += a_at(p, i, k) * b[j * p->ldb + k];
        finish(p, i, j, sum);
    }
}

static void tile(const matmul *p, int64_t i, int64_t rows, int64_t j, int64_t columns)
{
    double sum[ROWS][COLUMNS] = {{0}};

    for (int64_t k = 0; k < p->k; k++) {
        const double *b = (const double *)p->b + k * p->ldb + j;
        for (int64_t r = 0; r < rows; r++) {
            const double a = a_at(p, i + r, k);
            if (columns == COLUMNS)
                for (int64_t c = 0; c < COLUMNS; c++)
                    sum[r][c] += a * b[c];
            else
                for (int64_t c = 0; c < columns; c++)
                    sum[r][c] += a * b[c];
        }
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            finish(p, i + r, j + c, sum[r][c]);
}

static void some_rows(void *context, int64_t piece)
{
    const matmul *p = context;
    const int64_t from = piece * ROWS, rows = p->m - from < ROWS ? p->m - from : ROWS;

    for (int64_t r = 0; r < rows && p->b_turned; r++)
        row_by_dots(p, from + r);
    for (int64_t j = 0; j < p->n && !p->b_turned; j += COLUMNS)
        tile(p, from, rows, j, p->n - j < COLUMNS ? p->n - j : COLUMNS);
}

void matmul_run_f64(const matmul *p)
{
    matmul q = *p;

    threads_run((p->m + ROWS - 1) / ROWS, some_rows, &q);
}
