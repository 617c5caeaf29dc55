/* test_matmul: the packed product on every instruction set that runs here, against its definition in
 * double; expansion on every set; rows that do not depend on their neighbours.
 * tests/run: no device */
#include "core/cpu/matmul.h"

#include "core/cpu/matmul_tiles.h"
#include "core/cpu/path.h"
#include "core/cpu/probe.h"
#include "core/quant.h"
#include "core/rng.h"
#include "core/threads.h"
#include "tests/check.h"

#include <float.h>
#include <math.h>

/* A product with its buffers; b in stored form and as the f32 values that it stands for. */
typedef struct trial {
    matmul  p;
    float  *a, *b, *c, *bias, *start;
    void   *stored_a, *stored_b;
    double *want, *size; /* the sum, and the sum of absolute terms */
} trial;

static float *uniform(uint32_t stream, int64_t n)
{
    float *v = aligned_alloc(64, (size_t)(n + 16) * 4 / 64 * 64 + 64);

    rng_fill_uniform(rng_key_for(7, "test"), stream, -1, 1, v, n);
    return v;
}

/* Random bytes are blocks of every quantised type once their scales are finite. */
static void *stored(dtype t, const float *v, int64_t rows, int64_t n, float **values)
{
    const int64_t bytes = dtype_row_bytes(t, n);
    uint8_t      *out = malloc((size_t)(rows * bytes) + 64);

    *values = malloc((size_t)(rows * n) * 4);
    if (t == TYPE_F32) {
        memcpy(out, v, (size_t)(rows * bytes));
    } else if (t == TYPE_BF16 || t == TYPE_F16) {
        for (int64_t i = 0; i < rows * n; i++)
            ((uint16_t *)(void *)out)[i] = t == TYPE_BF16 ? f32_to_bf16(v[i]) : f32_to_f16(v[i]);
    } else {
        const int64_t block = dtype_block_bytes(t);
        for (int64_t i = 0; i < rows * bytes; i++)
            out[i] = (uint8_t)((uint32_t)(v[i % (rows * n)] * 65536) >> 3);
        for (int64_t i = 0; i < rows * bytes; i += block) { /* halves below 2, wherever they lie */
            for (int64_t k = 1; k < block; k += 2)
                if (t != TYPE_MXFP4 && (k < 4 || k >= block - 4))
                    out[i + k] &= 0x3F;
            if (t == TYPE_MXFP4)
                out[i] = 126;
        }
    }
    for (int64_t i = 0; i < rows; i++)
        quant_expand(t, out + i * bytes, n, *values + i * n);
    return out;
}

static void define(trial *x)
{
    const matmul *p = &x->p;

    x->want = calloc((size_t)(p->m * p->n), 8);
    x->size = calloc((size_t)(p->m * p->n), 8);
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < p->k; k++) {
                const double t = (double)x->a[p->a_turned ? k * p->lda + i : i * p->lda + k] *
                                 (double)x->b[p->b_turned ? j * p->ldb + k : k * p->ldb + j];
                sum += t;
                size += fabs(t);
            }
            const double old = p->accumulate ? (double)x->start[i * p->ldc + j] : 0;
            const double bias = p->bias ? (double)p->bias[j] : 0;
            double thin = 0, thin_size = 0;
            for (int64_t k = 0; p->thin && k < p->thin->k; k++) {
                const matmul_thin *h = p->thin;
                const double       t = (double)((const float *)h->a)[i * h->lda + k] *
                                 (double)((const float *)h->b)[h->b_turned ? j * h->ldb + k : k * h->ldb + j];
                thin += h->alpha * t;
                thin_size += fabs(h->alpha * t);
            }
            x->want[i * p->n + j] = old + p->alpha * sum + bias + thin;
            x->size[i * p->n + j] = fabs(old) + fabs(p->alpha) * size + fabs(bias) + thin_size;
        }
}

static trial trial_open(int64_t m, int64_t n, int64_t k, bool a_turned, dtype type_b, bool b_turned)
{
    trial         x = {0};
    const int64_t rows_a = a_turned ? k : m, lda = (a_turned ? m : k) + 3;
    const int64_t rows_b = b_turned ? n : k, ldb = b_turned ? k : n;

    x.a = uniform(1, rows_a * lda);
    float *b = uniform(2, rows_b * ldb);
    x.stored_b = stored(type_b, b, rows_b, ldb, &x.b);
    free(b);
    x.bias = uniform(3, n);
    x.start = uniform(4, m * (n + 5));
    x.c = uniform(4, m * (n + 5));
    x.p = (matmul){.m = m, .n = n, .k = k, .a = x.a, .type_a = TYPE_F32, .lda = lda, .a_turned = a_turned,
                   .b = x.stored_b, .type_b = type_b, .ldb = ldb, .b_turned = b_turned, .c = x.c,
                   .type_c = TYPE_F32, .ldc = n + 5, .alpha = 1};
    return x;
}

static void trial_close(trial *x)
{
    free(x->a), free(x->b), free(x->c), free(x->bias), free(x->start);
    free(x->stored_a), free(x->stored_b), free(x->want), free(x->size);
}

/* k roundings of the sum at most, one of alpha, two of what is added: (k + 3) 2^-24 of the absolute
 * terms; what lies between the columns must stay. */
static void must_agree(trial *x, const char *what)
{
    const matmul *p = &x->p;
    const double  unit = (double)(p->k + 3 + (p->thin ? p->thin->k + 2 : 0)) * 0x1p-24;

    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->ldc; j++) {
            const double got = (double)x->c[i * p->ldc + j];
            if (j >= p->n) {
                ck_assert_msg(got == (double)x->start[i * p->ldc + j], "%s %s: column %lld was written",
                              matmul_path(), what, (long long)j);
                continue;
            }
            const double want = x->want[i * p->n + j], most = unit * x->size[i * p->n + j] + 1e-30;
            ck_assert_msg(fabs(got - want) <= most, "%s %s %lldx%lldx%lld: c[%lld, %lld] is %g, must be %g",
                          matmul_path(), what, (long long)p->m, (long long)p->n, (long long)p->k,
                          (long long)i, (long long)j, got, want);
        }
}

/* Every set that runs here. */
static void on_all_paths(trial *x, const char *what)
{
    const char *names[8];
    const int   n = matmul_paths(names);

    define(x);
    for (int i = 0; i < n; i++) {
        ck_assert(matmul_use(names[i]));
        memcpy(x->c, x->start, (size_t)(x->p.m * x->p.ldc) * 4);
        matmul_run(&x->p);
        must_agree(x, what);
    }
    matmul_use(NULL);
}

START_TEST(test_shapes)
{
    static const int64_t sizes[][3] = {{1, 1, 1},    {1, 64, 7},   {2, 65, 33},  {3, 17, 64},  {5, 48, 100},
                                       {6, 128, 16}, {7, 16, 129}, {13, 8, 50},  {14, 16, 31}, {29, 70, 257},
                                       {50, 9, 3},   {64, 130, 2}, {97, 200, 77}, {12, 33, 1700}, {3, 70, 3100}};

    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        for (int turn = 0; turn < 4; turn++)
            for (int kind = 0; kind < 4; kind++) {
                trial x = trial_open(sizes[s][0], sizes[s][1], sizes[s][2], turn & 1, TYPE_F32, turn & 2);
                x.p.accumulate = kind & 1;
                x.p.bias = kind & 2 ? x.bias : NULL;
                x.p.alpha = kind == 1 ? -0.5 : 1;
                on_all_paths(&x, "f32");
                trial_close(&x);
            }
}
END_TEST

START_TEST(test_stored_types)
{
    for (int t = 0; t < TYPE_COUNT; t++) {
        if (!quant_is_real((dtype)t) || t == TYPE_F64)
            continue;
        for (int turned = 0; turned < 2; turned++) {
            trial x = trial_open(9, 512, 768, false, (dtype)t, turned);
            on_all_paths(&x, dtype_name((dtype)t));
            trial_close(&x);
            x = trial_open(4, 256, 2048, false, (dtype)t, turned); /* several blocks of k */
            on_all_paths(&x, dtype_name((dtype)t));
            trial_close(&x);
        }
    }
}
END_TEST

/* A thin product rides along, also one that is longer than a panel, and beside k = 0. */
START_TEST(test_thin)
{
    static const int64_t sizes[][4] = {{7, 50, 30, 4}, {70, 200, 600, 16}, {9, 97, 300, 300}, {5, 60, 0, 8},
                                       {1, 1, 1, 1},   {130, 48, 257, 3}};

    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        for (int kind = 0; kind < 8; kind++) {
            const int64_t *z = sizes[s], m = z[0], n = z[1], k = z[3];
            trial          x = trial_open(m, n, z[2], kind & 4, TYPE_F32, kind & 1);
            float         *a = uniform(8, m * (k + 1)), *b = uniform(9, n * k);
            matmul_thin    thin = {.k = k, .a = a, .lda = k + 1, .b = b, .ldb = kind & 1 ? k : n,
                                   .b_turned = kind & 1, .alpha = 0.75};
            x.p.thin = &thin;
            x.p.accumulate = kind & 2;
            x.p.bias = kind & 1 ? x.bias : NULL;
            on_all_paths(&x, "with a thin product");
            free(a), free(b);
            trial_close(&x);
        }
}
END_TEST

/* Large products, whose rows of a are packed in blocks: ends of strips, panels and blocks of k. */
START_TEST(test_blocks)
{
    static const dtype types[] = {TYPE_F32, TYPE_Q4_1, TYPE_Q4_K};

    for (size_t t = 0; t < COUNT_OF(types); t++)
        for (int turned = 0; turned < 2; turned++) {
            trial       x = trial_open(77, types[t] == TYPE_F32 ? 401 : 512, types[t] == TYPE_F32 ? 2101 : 2304,
                                       false, types[t], turned);
            float      *a = uniform(8, x.p.m * 9), *b = uniform(9, x.p.n * 9);
            matmul_thin thin = {.k = 9, .a = a, .lda = 9, .b = b, .ldb = 9, .b_turned = true, .alpha = 0.75};
            ck_assert(matmul_in_blocks(&x.p));
            on_all_paths(&x, "in blocks");
            free(x.want), free(x.size);
            x.p.thin = &thin;
            x.p.bias = x.bias;
            x.p.accumulate = true;
            x.p.alpha = -0.5;
            on_all_paths(&x, "in blocks, with everything");
            free(a), free(b);
            trial_close(&x);
        }
}
END_TEST

/* Few columns of a turned a, few rows of a plain b: the products of thin gradients. */
START_TEST(test_thin_gradients)
{
    static const int64_t sizes[][3] = {{300, 16, 500}, {64, 8, 100}, {97, 3, 33}, {16, 576, 300}, {4, 100, 700}};

    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        for (int add = 0; add < 2; add++) {
            trial x = trial_open(sizes[s][0], sizes[s][1], sizes[s][2], true, TYPE_F32, false);
            x.p.accumulate = add;
            x.p.alpha = 0.5;
            on_all_paths(&x, "thin gradient");
            trial_close(&x);
        }
}
END_TEST

START_TEST(test_pages_apart)
{
    trial x = trial_open(70, 192, 1024, false, TYPE_F32, true);

    free(x.a);
    x.p.lda = 1024;
    x.p.a = x.a = uniform(1, 70 * 1024);
    on_all_paths(&x, "rows whole pages apart");
    trial_close(&x);
}
END_TEST

/* bf16 a is widened; bf16 c is rounded once. */
START_TEST(test_bf16)
{
    for (int kind = 0; kind < 4; kind++) { /* the larger ones in blocks */
        const bool turned = kind & 1;
        trial      x = trial_open(kind & 2 ? 70 : 21, kind & 2 ? 390 : 70, kind & 2 ? 190 : 1800, turned, TYPE_BF16,
                                  true);
        float    *values;
        const int64_t rows = turned ? x.p.k : x.p.m;
        uint16_t *c = malloc((size_t)(x.p.m * x.p.ldc) * 2);
        x.stored_a = stored(TYPE_BF16, x.a, rows, x.p.lda, &values);
        free(x.a);
        x.a = values;
        x.p.a = x.stored_a;
        x.p.type_a = TYPE_BF16;
        on_all_paths(&x, "bf16");
        matmul_run(&x.p); /* x.c: f32 */
        x.p.c = c;
        x.p.type_c = TYPE_BF16;
        matmul_run(&x.p);
        for (int64_t i = 0; i < x.p.m; i++)
            for (int64_t j = 0; j < x.p.n; j++) { /* half a unit in the last place, and k roundings */
                const double want = x.want[i * x.p.n + j], got = bf16_to_f32(c[i * x.p.ldc + j]);
                const double most = fabs(want) * 0x1p-8 + (double)(x.p.k + 3) * 0x1p-24 * x.size[i * x.p.n + j];
                ck_assert_msg(fabs(got - want) <= most, "c[%lld, %lld] is %g, must be %g", (long long)i,
                              (long long)j, got, want);
            }
        free(c);
        trial_close(&x);
    }
}
END_TEST

/* bf16 on both sides, in pairs where the processor has them: exact products, sums rounded twice a pair. */
START_TEST(test_bf16_pairs)
{
    static const int64_t sizes[][3] = {{1, 5, 2}, {13, 70, 96}, {50, 200, 1100}, {9, 48, 3000}, {30, 33, 514},
                                       {70, 390, 514}};

    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        for (int kind = 0; kind < 4; kind++) {
            const int64_t m = sizes[s][0], k = sizes[s][2];
            trial         x = trial_open(m, sizes[s][1], k, false, TYPE_BF16, kind & 1);
            free(x.a);
            float *v = uniform(6, m * (k + 2));
            x.stored_a = stored(TYPE_BF16, v, m, k + 2, &x.a);
            free(v);
            x.p.a = x.stored_a;
            x.p.type_a = TYPE_BF16;
            x.p.lda = k + 2;
            x.p.accumulate = kind & 2;
            x.p.bias = kind & 2 ? x.bias : NULL;
            x.p.alpha = 0.5;
            on_all_paths(&x, "bf16 pairs");
            trial_close(&x);
        }
}
END_TEST

START_TEST(test_nothing_to_sum)
{
    trial x = trial_open(3, 5, 2, false, TYPE_F32, true);

    x.p.k = 0;
    x.p.bias = x.bias;
    on_all_paths(&x, "k = 0 with bias");
    x.p.bias = NULL;
    x.p.accumulate = true;
    free(x.want), free(x.size);
    on_all_paths(&x, "k = 0");
    x.p.m = 0;
    matmul_run(&x.p);
    trial_close(&x);
}
END_TEST

/* A row's bits depend neither on the number of rows and threads nor on its place. */
START_TEST(test_rows_alone)
{
    const char *names[8];
    const int   paths = matmul_paths(names);

    for (int i = 0; i < 2 * paths; i++) { /* the larger ones in blocks */
        const int64_t m = i % 2 ? 70 : 101, n = i % 2 ? 400 : 200, k = i % 2 ? 2100 : 1700;
        trial         x = trial_open(m, n, k, false, TYPE_F32, true);
        float        *one = malloc((size_t)n * 4);
        ck_assert(matmul_use(names[i / 2]));
        threads_set(3);
        matmul_run(&x.p);
        threads_set(1);
        for (int64_t r = 0; r < m; r++) {
            matmul p = x.p;
            p.a = x.a + r * p.lda;
            p.m = 1;
            p.c = one;
            matmul_run(&p);
            ck_assert_msg(memcmp(one, x.c + r * p.ldc, (size_t)n * 4) == 0, "%s: row %lld differs", names[i / 2],
                          (long long)r);
        }
        free(one);
        trial_close(&x);
    }
    threads_set(0);
    matmul_use(NULL);
}
END_TEST

START_TEST(test_expansion)
{
    const char *names[8];
    const int   paths = matmul_paths(names);

    for (int t = 0; t < TYPE_COUNT; t++) {
        if (!quant_is_real((dtype)t) || t == TYPE_F64)
            continue;
        float *v = uniform(5, 2048), *want, *got = malloc(2048 * 4);
        void  *blocks = stored((dtype)t, v, 1, 2048, &want);
        for (int path = 0; path < paths; path++) {
            ck_assert(matmul_use(names[path]));
            path_tiles()->expand((dtype)t, blocks, 2048, got);
            ck_assert_msg(memcmp(got, want, 2048 * 4) == 0, "%s: %s expands to other bits", names[path],
                          dtype_name((dtype)t));
        }
        free(v), free(want), free(got), free(blocks);
    }
    matmul_use(NULL);
}
END_TEST

START_TEST(test_paths)
{
    const char *names[8];
    const int   n = matmul_paths(names);

    printf("paths that run here:");
    for (int i = 0; i < n; i++)
        printf(" %s", names[i]);
    printf("\n");
    ck_assert_int_ge(n, 1);
    ck_assert(!matmul_use("none such"));
    ck_assert_str_eq(matmul_path(), names[0]);
    ck_assert(probe_fma(1) > 0.1);
}
END_TEST

TESTS(matmul, test_paths, test_shapes, test_stored_types, test_thin, test_blocks, test_thin_gradients, test_pages_apart,
      test_bf16, test_bf16_pairs, test_nothing_to_sum, test_rows_alone, test_expansion)
