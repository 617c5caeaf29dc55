/* linalg: decompositions against their definitions */
#include "tests/helpers.h"

#include "core/linalg.h"

#include <math.h>

enum { MOST = 24 };

static arena a;

#define NEEDS_LAPACK()                                                                            \
    do {                                                                                          \
        if (!linalg_available())                                                                  \
            SKIP("this build has no LAPACK");                                                     \
        MUST(arena_open(&a, "test", (size_t)1 << 26));                                            \
    } while (0)

static double *noise(int64_t n, uint64_t seed)
{
    float  *v = arena_take(&a, (size_t)n, sizeof *v);
    double *out = arena_take(&a, (size_t)n, sizeof *out);

    rng_fill_normal(rng_key_for(seed, "linalg"), 0, 1, v, n);
    for (int64_t i = 0; i < n; i++)
        out[i] = (double)v[i];
    return out;
}

static double *zeros(int64_t n)
{
    double *v = arena_take(&a, (size_t)n, sizeof *v);

    memset(v, 0, (size_t)n * sizeof *v);
    return v;
}

/* a [m, k] diag(s) b [k, n]; s NULL: ones */
static double *product(const double *x, const double *s, const double *y, int64_t m, int64_t k, int64_t n)
{
    double *c = zeros(m * n);

    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t r = 0; r < k; r++)
                c[i * n + j] += x[i * k + r] * (s ? s[r] : 1) * y[r * n + j];
    return c;
}

static double distance(const double *x, const double *y, int64_t n)
{
    double worst = 0;

    for (int64_t i = 0; i < n; i++)
        worst = fmax(worst, fabs(x[i] - y[i]));
    return worst;
}

/* Columns of q [m, k] are orthonormal, and the largest value of each is positive. */
static void check_columns(const double *q, int64_t m, int64_t k)
{
    for (int64_t c = 0; c < k; c++) {
        double largest = 0;
        for (int64_t d = 0; d <= c; d++) {
            double dot = 0;
            for (int64_t i = 0; i < m; i++)
                dot += q[i * k + c] * q[i * k + d];
            ck_assert(fabs(dot - (c == d)) < 1e-12);
        }
        for (int64_t i = 0; i < m; i++)
            if (fabs(q[i * k + c]) > fabs(largest))
                largest = q[i * k + c];
        ck_assert(largest > 0);
    }
}

static const int64_t sizes[][2] = {{5, 5}, {MOST, 7}, {7, MOST}, {1, 6}, {6, 1}};

START_TEST(singular_vectors_make_the_matrix)
{
    NEEDS_LAPACK();
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        const int64_t m = sizes[i][0], n = sizes[i][1], k = m < n ? m : n;
        double *x = noise(m * n, i), *was = arena_copy(&a, x, (size_t)(m * n) * sizeof *x);
        double *u = zeros(m * k), *s = zeros(k), *vt = zeros(k * n);
        MUST(linalg_svd(x, m, n, u, s, vt));
        ck_assert(distance(product(u, s, vt, m, k, n), was, m * n) < 1e-12);
        check_columns(u, m, k);
        for (int64_t c = 1; c < k; c++)
            ck_assert(s[c] <= s[c - 1]);
        ck_assert(s[k - 1] > 0);
    }
    arena_close(&a);
}
END_TEST

START_TEST(q_and_r_make_the_matrix)
{
    NEEDS_LAPACK();
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        const int64_t m = sizes[i][0], n = sizes[i][1], k = m < n ? m : n;
        double *x = noise(m * n, i), *q = zeros(m * k), *r = zeros(k * n);
        MUST(linalg_qr(&a, x, m, n, q, r));
        ck_assert(distance(product(q, NULL, r, m, k, n), x, m * n) < 1e-12);
        check_columns(q, m, k);
        for (int64_t c = 0; c < k; c++)
            for (int64_t d = 0; d < c && d < n; d++)
                ck_assert(r[c * n + d] == 0);
    }
    arena_close(&a);
}
END_TEST

/* Of a matrix of rank 3 random columns see all that there is; of any other after many turns the part of rank 3. */
START_TEST(some_singular_vectors_are_the_first)
{
    enum { M = 20, N = 14, K = 3 };
    NEEDS_LAPACK();
    for (int wide = 0; wide < 2; wide++)
        for (int full = 0; full < 2; full++) {
            const int64_t m = wide ? N : M, n = wide ? M : N;
            double *x = full ? noise(m * n, 5) : product(noise(m * K, 6), NULL, noise(K * n, 7), m, K, n);
            double *copy = arena_copy(&a, x, (size_t)(m * n) * sizeof *x);
            double *u = zeros(m * N), *s = zeros(N), *vt = zeros(N * n);
            double *some_u = zeros(m * K), *some_s = zeros(K), *some_vt = zeros(K * n);
            MUST(linalg_svd(copy, m, n, u, s, vt));
            MUST(linalg_svd_some(&a, x, m, n, K, full ? 400 : 0, rng_key_for(1, "some"), some_u, some_s, some_vt));
            check_columns(some_u, m, K);
            ck_assert(distance(s, some_s, K) < 1e-9);
            ck_assert(distance(vt, some_vt, K * n) < 1e-9);
        }
    arena_close(&a);
}
END_TEST

START_TEST(inverse_is_one)
{
    enum { N = 9 };
    NEEDS_LAPACK();
    double *x = noise(N * N, 3), *square = zeros(N * N), *one = zeros(N * N);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            for (int r = 0; r < N; r++)
                square[i * N + j] += x[i * N + r] * x[j * N + r];
    double *inverse = arena_copy(&a, square, N * N * sizeof *square);
    MUST(linalg_inverse(inverse, N));
    for (int i = 0; i < N; i++)
        one[i * N + i] = 1;
    ck_assert(distance(product(square, NULL, inverse, N, N, N), one, N * N) < 1e-9);
    square[0] = -1; /* not positive any more */
    MUST_FAIL(linalg_inverse(square, N), "inverse of a matrix of 9 x 9");
    arena_close(&a);
}
END_TEST

START_TEST(what_cannot_be_decomposed_is_refused)
{
    double x[4] = {1, 2, NAN, 4}, u[4], s[2], vt[4];

    MUST(arena_open(&a, "test", (size_t)1 << 20));
    MUST_FAIL(linalg_svd(x, 2, 2, u, s, vt), linalg_available() ? "may not be finite" : "liblapacke-dev");
    MUST_FAIL(linalg_svd(x, 0, 2, u, s, vt), linalg_available() ? "sides may have" : "liblapacke-dev");
    MUST_FAIL(linalg_qr(&a, x, 1 << 20, 1 << 20, u, s), linalg_available() ? "sides may have" : "liblapacke-dev");
    arena_close(&a);
}
END_TEST

TESTS(linalg, singular_vectors_make_the_matrix, q_and_r_make_the_matrix, some_singular_vectors_are_the_first,
      inverse_is_one, what_cannot_be_decomposed_is_refused)
