/* linalg: LAPACK, behind this project's own names */
#include "core/linalg.h"

#include "core/cpu/matmul.h"

#include <math.h>
#include <string.h>

#ifdef CAMBIUM_LAPACK
#include <lapacke.h>

bool linalg_available(void)
{
    return true;
}

/* LAPACK counts in int, also its scratch memory: at most 5 k^2 and a few rows. */
enum { SIDE_MAX = 20000 };

static status check_sizes(int64_t m, int64_t n)
{
    const int64_t less = m < n ? m : n, more = m < n ? n : m;

    if (less < 1 || less > SIDE_MAX || more > INT32_MAX / less)
        return fail(STATUS_UNSUPPORTED, "a matrix of %lld x %lld cannot be decomposed, sides may have 1..%d values",
                    (long long)m, (long long)n, SIDE_MAX);
    return STATUS_OK;
}

static status check_code(const char *what, int64_t m, int64_t n, lapack_int code)
{
    if (code == LAPACK_WORK_MEMORY_ERROR || code == LAPACK_TRANSPOSE_MEMORY_ERROR)
        return fail(STATUS_MEMORY, "%s of a matrix of %lld x %lld: no memory", what, (long long)m, (long long)n);
    if (code != 0)
        return fail(STATUS_NUMERIC, "%s of a matrix of %lld x %lld: LAPACK gives %d; its values may not be finite",
                    what, (long long)m, (long long)n, (int)code);
    return STATUS_OK;
}

/* The largest value of column c of u [m, k] comes to be positive; row c of v [k, n] follows. */
static void fix_sign(double *u, int64_t m, int64_t k, double *v, int64_t n, int64_t c)
{
    double largest = 0;

    for (int64_t i = 0; i < m; i++)
        if (fabs(u[i * k + c]) > fabs(largest))
            largest = u[i * k + c];
    if (largest >= 0)
        return;
    for (int64_t i = 0; i < m; i++)
        u[i * k + c] = -u[i * k + c];
    for (int64_t j = 0; j < n; j++)
        v[c * n + j] = -v[c * n + j];
}

/* LAPACK reads the rows as columns, so it sees a^T = v diag(s) u^T, and what it writes lies right again. */
status linalg_svd(double *a, int64_t m, int64_t n, double *u, double *s, double *vt)
{
    const int64_t k = m < n ? m : n;

    TRY(check_sizes(m, n));
    TRY(check_code("svd", m, n, LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'S', (int)n, (int)m, a, (int)n, s, vt, (int)n, u,
                                               (int)k)));
    for (int64_t c = 0; c < k; c++)
        fix_sign(u, m, k, vt, n, c);
    return STATUS_OK;
}

static void turn(const double *a, int64_t m, int64_t n, double *out)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            out[j * m + i] = a[i * n + j];
}

status linalg_qr(arena *work, const double *a, int64_t m, int64_t n, double *q, double *r)
{
    const int64_t k = m < n ? m : n;
    const size_t  mark = arena_mark(work);
    double       *columns, *tau;

    TRY(check_sizes(m, n));
    TRY_TAKE(columns, work, m * n);
    TRY_TAKE(tau, work, k);
    turn(a, m, n, columns);
    TRY(check_code("qr", m, n, LAPACKE_dgeqrf(LAPACK_COL_MAJOR, (int)m, (int)n, columns, (int)m, tau)));
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < n; j++)
            r[i * n + j] = j < i ? 0 : columns[j * m + i];
    TRY(check_code("qr", m, n, LAPACKE_dorgqr(LAPACK_COL_MAJOR, (int)m, (int)k, (int)k, columns, (int)m, tau)));
    turn(columns, k, m, q);
    for (int64_t c = 0; c < k; c++)
        fix_sign(q, m, k, r, n, c);
    arena_rewind(work, mark);
    return STATUS_OK;
}

status linalg_inverse(double *a, int64_t n)
{
    TRY(check_sizes(n, n));
    TRY(check_code("inverse", n, n, LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'L', (int)n, a, (int)n)));
    TRY(check_code("inverse", n, n, LAPACKE_dpotri(LAPACK_COL_MAJOR, 'L', (int)n, a, (int)n)));
    for (int64_t i = 0; i < n; i++) /* it wrote one half */
        for (int64_t j = 0; j < i; j++)
            a[i * n + j] = a[j * n + i];
    return STATUS_OK;
}

/* c [m, n] = a b, or a^T b with a [k, m] */
static void product(const double *a, bool turned, const double *b, int64_t m, int64_t k, int64_t n, double *c)
{
    const matmul p = {.m = m, .n = n, .k = k, .a = a, .lda = turned ? m : k, .a_turned = turned, .b = b, .ldb = n,
                      .c = c, .ldc = n, .alpha = 1};

    matmul_run_f64(&p);
}

status linalg_svd_some(arena *work, const double *a, int64_t m, int64_t n, int64_t k, int64_t passes, rng_key noise,
                       double *u, double *s, double *vt)
{
    const size_t  mark = arena_mark(work);
    const int64_t more = m > n ? m : n;
    double       *x, *q, *r, *inner, *small_u;
    float        *columns;

    CHECK(k <= m && k <= n);
    TRY_TAKE(x, work, more * k);
    TRY_TAKE(q, work, more * k);
    TRY_TAKE(r, work, k * k);
    TRY_TAKE(inner, work, k * n);
    TRY_TAKE(small_u, work, k * k);
    TRY_TAKE(columns, work, n * k);
    rng_fill_normal(noise, 0, 1, columns, n * k);
    for (int64_t i = 0; i < n * k; i++)
        q[i] = (double)columns[i];
    product(a, false, q, m, n, k, x);
    TRY(linalg_qr(work, x, m, k, q, r));
    for (int64_t pass = 0; pass < passes; pass++) {
        product(a, true, q, n, m, k, x);
        TRY(linalg_qr(work, x, n, k, q, r));
        product(a, false, q, m, n, k, x);
        TRY(linalg_qr(work, x, m, k, q, r));
    }
    product(q, true, a, k, m, n, inner);
    TRY(linalg_svd(inner, k, n, small_u, s, vt));
    product(q, false, small_u, m, k, k, u);
    for (int64_t c = 0; c < k; c++)
        fix_sign(u, m, k, vt, n, c);
    arena_rewind(work, mark);
    return STATUS_OK;
}

#else

static status without(void)
{
    return fail(STATUS_UNSUPPORTED, "this build has no LAPACK, which decomposes matrices; install liblapacke-dev "
                "(Debian's name) and build again");
}

bool linalg_available(void)
{
    return false;
}

status linalg_svd(double *a, int64_t m, int64_t n, double *u, double *s, double *vt)
{
    (void)a, (void)m, (void)n, (void)u, (void)s, (void)vt;
    return without();
}

status linalg_qr(arena *work, const double *a, int64_t m, int64_t n, double *q, double *r)
{
    (void)work, (void)a, (void)m, (void)n, (void)q, (void)r;
    return without();
}

status linalg_svd_some(arena *work, const double *a, int64_t m, int64_t n, int64_t k, int64_t passes, rng_key noise,
                       double *u, double *s, double *vt)
{
    (void)work, (void)a, (void)m, (void)n, (void)k, (void)passes, (void)noise, (void)u, (void)s, (void)vt;
    return without();
}

status linalg_inverse(double *a, int64_t n)
{
    (void)a, (void)n;
    return without();
}

#endif
