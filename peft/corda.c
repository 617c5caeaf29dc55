/* corda: sums of inputs, and the decomposition that they turn */
#include "peft/corda.h"

#include "core/cpu/matmul.h"
#include "core/linalg.h"

#include <math.h>
#include <string.h>

status covariance_open(arena *a, int64_t in, int64_t rows, covariance **out)
{
    covariance *c;

    TRY_TAKE(c, a, 1);
    *c = (covariance){.in = in, .rows = rows};
    TRY_TAKE(c->sum, a, in * in);
    TRY_TAKE(c->scaled, a, rows * in);
    memset(c->sum, 0, (size_t)(in * in) * sizeof *c->sum);
    *out = c;
    return STATUS_OK;
}

status covariance_add(covariance *c, const float *x, int64_t rows)
{
    const int64_t n = rows * c->in;
    float         largest = -INFINITY;

    CHECK(rows > 0 && rows <= c->rows);
    for (int64_t i = 0; i < n; i++)
        largest = x[i] > largest ? x[i] : largest;
    if (!isfinite(largest) || largest == 0)
        return fail(STATUS_NUMERIC, "corda: the largest input of sample %lld is %g, must be finite and not 0",
                    (long long)c->samples, (double)largest);
    for (int64_t i = 0; i < n; i++) {
        c->scaled[i] = x[i] / fabsf(largest);
        if (!isfinite(c->scaled[i]))
            return fail(STATUS_NUMERIC, "corda: an input of sample %lld is %g, must be finite", (long long)c->samples,
                        (double)x[i]);
    }
    matmul_run(&(matmul){.m = c->in, .n = c->in, .k = rows, .a = c->scaled, .type_a = TYPE_F32, .lda = c->in,
                         .a_turned = true, .b = c->scaled, .type_b = TYPE_F32, .ldb = c->in, .c = c->sum,
                         .type_c = TYPE_F32, .ldc = c->in, .alpha = 1, .accumulate = true});
    c->samples++;
    return STATUS_OK;
}

/* c [m, n] = a [m, k] b [k, n] */
static void product(const double *a, const double *b, int64_t m, int64_t k, int64_t n, double *c)
{
    matmul_run_f64(&(matmul){.m = m, .n = n, .k = k, .a = a, .lda = k, .b = b, .ldb = n, .c = c, .ldc = n,
                             .alpha = 1});
}

/* C with a hundredth of its diagonal's mean on the diagonal. Its condition is then at most 100 n, which an inverse in
 * f64 takes without more: in f32 PEFT has to look, and doubles it as often as it must. */
static void damped(const covariance *c, double *out)
{
    const int64_t n = c->in;
    double        trace = 0;

    for (int64_t i = 0; i < n * n; i++)
        out[i] = (double)c->sum[i] / (double)c->samples;
    for (int64_t i = 0; i < n; i++)
        trace += out[i * n + i];
    for (int64_t i = 0; i < n; i++)
        out[i * n + i] += 0.01 * trace / (double)n;
}

status corda_decompose(arena *work, double *w, int64_t m, int64_t n, const covariance *c, double *left,
                       double *values, double *right)
{
    const size_t  mark = arena_mark(work);
    const int64_t k = m < n ? m : n;
    double       *turns, *turned, *found;

    CHECK(c->in == n && c->samples > 0);
    TRY_TAKE(turns, work, n * n);
    TRY_TAKE(turned, work, m * n);
    TRY_TAKE(found, work, k * n);
    damped(c, turns);
    product(w, turns, m, n, n, turned);
    TRY(linalg_svd(turned, m, n, left, values, found));
    TRY(linalg_inverse(turns, n));
    product(found, turns, k, n, n, right);
    arena_rewind(work, mark);
    return STATUS_OK;
}
