/* test_decode: products of a few rows with a weight, on every instruction set that runs here, against
 * their definition in double; rows that depend neither on their neighbours nor on threads; attention
 * of single queries over pages against the f64 tape. */
#include "core/cpu/matmul.h"

#include "autograd/ops.h"
#include "core/quant.h"
#include "core/rng.h"
#include "core/threads.h"
#include "tests/check.h"

#include <math.h>

enum { M_MOST = 20 };

typedef struct trial {
    int64_t  n, k;
    dtype    type;
    float   *a, *b, *bias, *start, *c; /* b: the values that `stored` stands for */
    uint8_t *stored;
} trial;

static float *uniform(uint32_t stream, int64_t n)
{
    float *v = malloc((size_t)n * sizeof *v);

    rng_fill_uniform(rng_key_for(11, "decode"), stream, -1, 1, v, n);
    return v;
}

/* Random bytes, the halves that scales are made of below 2 in size and of both signs. */
static void fill(trial *x)
{
    const int64_t row = dtype_row_bytes(x->type, x->k), block = dtype_block_bytes(x->type);
    float        *v = uniform(2, x->n * row);

    x->stored = malloc((size_t)(x->n * row));
    for (int64_t i = 0; i < x->n * row; i++)
        x->stored[i] = (uint8_t)((uint32_t)((v[i] + 1) * 65536) >> 3);
    for (int64_t i = 0; i < x->n * row; i += block)
        for (int64_t k = 1; k < block; k += 2)
            if (x->type == TYPE_MXFP4)
                x->stored[i] = 126;
            else if (k < 4 || k >= block - 4)
                x->stored[i + k] &= 0xBF;
    if (x->type == TYPE_F32)
        memcpy(x->stored, v, (size_t)(x->n * row));
    free(v);
    for (int64_t j = 0; j < x->n; j++)
        quant_expand(x->type, x->stored + j * row, x->k, x->b + j * x->k);
}

static trial trial_open(int64_t n, int64_t k, dtype type)
{
    trial x = {.n = n, .k = k, .type = type, .a = uniform(1, M_MOST * (k + 3)), .bias = uniform(3, n),
               .start = uniform(4, M_MOST * (n + 5)), .c = uniform(4, M_MOST * (n + 5))};

    x.b = malloc((size_t)(n * k) * sizeof *x.b);
    fill(&x);
    return x;
}

static void trial_close(trial *x)
{
    free(x->a), free(x->b), free(x->bias), free(x->start), free(x->c), free(x->stored);
}

static matmul product(const trial *x, int64_t m)
{
    return (matmul){.m = m, .n = x->n, .k = x->k, .a = x->a, .type_a = TYPE_F32, .lda = x->k + 3,
                    .b = x->stored, .type_b = x->type, .ldb = x->k, .b_turned = true, .c = x->c,
                    .type_c = TYPE_F32, .ldc = x->n + 5, .alpha = 1, .decode = true};
}

/* A product goes through its own rounding and at most k of the sums', one more for alpha, two for what
 * is added: (k + 4) 2^-24 of the absolute terms. What lies behind the columns must stay. */
static void run_and_compare(trial *x, const matmul *p)
{
    ck_assert(matmul_decodes(p));
    memcpy(x->c, x->start, (size_t)(M_MOST * p->ldc) * sizeof *x->c);
    matmul_run(p);
    for (int64_t i = 0; i < M_MOST; i++)
        for (int64_t j = 0; j < p->ldc; j++) {
            const double got = (double)x->c[i * p->ldc + j], old = (double)x->start[i * p->ldc + j];
            if (i >= p->m || j >= p->n) {
                ck_assert_msg(got == old, "%s %s: c[%lld, %lld] was written", matmul_path(),
                              dtype_name(x->type), (long long)i, (long long)j);
                continue;
            }
            const double added = p->accumulate ? old : 0, bias = p->bias ? (double)p->bias[j] : 0;
            double       sum = 0, size = 0;
            for (int64_t k = 0; k < p->k; k++) {
                const double term = (double)x->a[i * p->lda + k] * (double)x->b[j * p->k + k];
                sum += term;
                size += fabs(term);
            }
            const double want = added + bias + p->alpha * sum;
            const double most = (double)(p->k + 4) * 0x1p-24 *
                                (fabs(added) + fabs(bias) + fabs(p->alpha) * size);
            ck_assert_msg(fabs(got - want) <= most + 1e-30, "%s %s %lldx%lldx%lld: c[%lld, %lld] is %.9g, "
                          "must be %.9g", matmul_path(), dtype_name(x->type), (long long)p->m,
                          (long long)p->n, (long long)p->k, (long long)i, (long long)j, got, want);
        }
}

static void on_all_paths(trial *x, int64_t m, int kind)
{
    const char *names[8];
    const int   paths = matmul_paths(names);

    for (int path = 0; path < paths; path++) {
        ck_assert(matmul_use(names[path]));
        matmul p = product(x, m);
        p.accumulate = kind & 1;
        p.bias = kind & 2 ? x->bias : NULL;
        p.alpha = kind & 4 ? -0.5 : 1;
        run_and_compare(x, &p);
    }
    matmul_use(NULL);
}

/* Every stored type, every number of rows, whole and odd numbers of columns; ends of k that fill no
 * step where the type has blocks of one value; k beyond what scales are read ahead for. */
START_TEST(test_types)
{
    static const int64_t sizes[][2] = {{37, 576}, {5, 2336}, {130, 32}, {3, 45}, {18, 1}, {1, 2111}};

    for (int t = 0; t < TYPE_COUNT; t++) {
        if (!quant_is_real((dtype)t) || t == TYPE_F64)
            continue;
        const int64_t block = dtype_block((dtype)t);
        for (size_t s = 0; s < COUNT_OF(sizes); s++) {
            trial x = trial_open(sizes[s][0], (sizes[s][1] + block - 1) / block * block, (dtype)t);
            for (int64_t m = 1; m <= 8; m++)
                on_all_paths(&x, m, (int)(m + (int64_t)s) % 8);
            on_all_paths(&x, M_MOST, 0);
            trial_close(&x);
        }
    }
}
END_TEST

/* The bits of a row are those that it has alone, on one thread. */
START_TEST(test_rows_alone)
{
    static const dtype types[] = {TYPE_F32, TYPE_BF16, TYPE_F16, TYPE_Q8_0, TYPE_Q4_0, TYPE_Q4_1, TYPE_Q5_0};
    const char *names[8];
    const int   paths = matmul_paths(names);

    for (size_t t = 0; t < COUNT_OF(types); t++) {
        trial  x = trial_open(203, 1696, types[t]);
        float *one = malloc(203 * sizeof *one);
        for (int64_t m = 1; m <= M_MOST; m++)
            for (int path = 0; path < paths; path++) {
                ck_assert(matmul_use(names[path]));
                matmul p = product(&x, m);
                threads_set(3);
                matmul_run(&p);
                threads_set(1);
                for (int64_t i = 0; i < m; i++) {
                    matmul alone = product(&x, 1);
                    alone.a = x.a + i * p.lda;
                    alone.c = one;
                    matmul_run(&alone);
                    ck_assert_msg(memcmp(one, x.c + i * p.ldc, 203 * sizeof *one) == 0,
                                  "%s %s: row %lld of %lld differs", names[path], dtype_name(types[t]),
                                  (long long)i, (long long)m);
                }
            }
        free(one);
        trial_close(&x);
    }
    threads_set(0);
    matmul_use(NULL);
}
END_TEST

/* The low-rank part: h is a product as any other, and c is what the two products give one after the other,
 * whatever the number of threads. */
START_TEST(test_low_rank)
{
    static const int64_t sizes[][3] = {{203, 576, 16}, {40, 64, 5}, {9, 1696, 33}, {7, 45, 1}};
    const char *names[8];
    const int   paths = matmul_paths(names);

    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        for (int path = 0; path < paths; path++) {
            const int64_t R = sizes[s][2];
            trial  x = trial_open(sizes[s][0], sizes[s][1], sizes[s][1] % 32 ? TYPE_F16 : TYPE_Q4_1);
            float *a = uniform(5, R * x.k), *b = uniform(6, x.n * R), *h = uniform(7, M_MOST * R);
            float *want_h = uniform(8, M_MOST * R), *want = uniform(9, M_MOST * (x.n + 5));
            ck_assert(matmul_use(names[path]));
            for (int64_t m = 1; m <= M_MOST; m += m < 8 ? 1 : 12) {
                const matmul_low_rank low = {.a = a, .b = b, .rank = R, .factor = 1.7, .h = h};
                matmul p = product(&x, m), down = p, up = p;
                memcpy(want, x.c, (size_t)(M_MOST * p.ldc) * sizeof *want);
                p.c = want;
                matmul_run(&p);
                down.b = a, down.type_b = TYPE_F32, down.n = R, down.c = want_h, down.ldc = R;
                matmul_run(&down);
                up.a = want_h, up.lda = up.ldb = up.k = R, up.b = b, up.type_b = TYPE_F32, up.c = want;
                up.alpha = low.factor, up.accumulate = true;
                matmul_run(&up);
                p.c = x.c;
                p.low_rank = &low;
                for (int threads = 1; threads <= 3; threads++) {
                    threads_set(threads);
                    matmul_run(&p);
                    ck_assert(memcmp(h, want_h, (size_t)(m * R) * sizeof *h) == 0);
                    ck_assert_msg(memcmp(x.c, want, (size_t)(m * p.ldc) * sizeof *want) == 0,
                                  "%s: %lld rows, rank %lld, %d threads", names[path], (long long)m,
                                  (long long)R, threads);
                }
                p.b = NULL; /* alone: what is added lies on what is there */
                p.c = want;
                matmul_run(&p);
                up.c = x.c;
                matmul_run(&up);
                ck_assert(memcmp(x.c, want, (size_t)(m * p.ldc) * sizeof *want) == 0);
            }
            free(a), free(b), free(h), free(want_h), free(want);
            trial_close(&x);
        }
    threads_set(0);
    matmul_use(NULL);
}
END_TEST

/* ---- attention ---------------------------------------------------------------------------------------- */

enum { HEADS = 6, KV_HEADS = 2, SEQUENCES = 3, PAGES = 8, LONGEST = PAGES * 32 };

typedef struct scene {
    int64_t D;
    float  *q, *k, *v;
    double *q64, *k64, *v64;
    int32_t q_offsets[SEQUENCES + 1], k_offsets[SEQUENCES + 1], start[SEQUENCES], blocks[SEQUENCES * PAGES];
} scene;

static double *widened(const float *x, int64_t n)
{
    double *out = malloc((size_t)n * sizeof *out);

    for (int64_t i = 0; i < n; i++)
        out[i] = (double)x[i];
    return out;
}

/* A sequence of one page and less, one that ends with a page, a long one; pages in any order. */
static scene scene_open(int64_t D)
{
    static const int32_t lengths[SEQUENCES] = {5, 64, 231};
    const int64_t        rows = SEQUENCES * LONGEST;
    scene                x = {.D = D};

    x.q = uniform(21, SEQUENCES * HEADS * D);
    x.k = uniform(22, rows * KV_HEADS * D);
    x.v = uniform(23, rows * KV_HEADS * D);
    x.q64 = widened(x.q, SEQUENCES * HEADS * D);
    x.k64 = widened(x.k, rows * KV_HEADS * D);
    x.v64 = widened(x.v, rows * KV_HEADS * D);
    for (int32_t s = 0; s < SEQUENCES; s++) {
        x.q_offsets[s + 1] = s + 1;
        x.k_offsets[s + 1] = x.k_offsets[s] + lengths[s];
        x.start[s] = lengths[s] - 1;
        for (int32_t b = 0; b < PAGES; b++)
            x.blocks[s * PAGES + b] = (b * SEQUENCES + s) * 5 % (SEQUENCES * PAGES);
    }
    return x;
}

static void scene_close(scene *x)
{
    free(x->q), free(x->k), free(x->v), free(x->q64), free(x->k64), free(x->v64);
}

static void attend(scene *x, dtype type, bool decoding, const attention_options *o, void *y, void *lse)
{
    const int64_t rows = SEQUENCES * LONGEST, C = KV_HEADS * x->D;
    const bool    wide = type == TYPE_F64;
    const tensor  q = {.s = shape_2(SEQUENCES, HEADS * x->D), .type = type, .v = wide ? (void *)x->q64 : x->q};
    const tensor  k = {.s = shape_2(rows, C), .type = type, .v = wide ? (void *)x->k64 : x->k};
    const tensor  v = {.s = shape_2(rows, C), .type = type, .v = wide ? (void *)x->v64 : x->v};
    const tensor  qo = {.s = shape_1(SEQUENCES + 1), .type = TYPE_I32, .v = x->q_offsets};
    const tensor  ko = {.s = shape_1(SEQUENCES + 1), .type = TYPE_I32, .v = x->k_offsets};
    const tensor  start = {.s = shape_1(SEQUENCES), .type = TYPE_I32, .v = x->start};
    const tensor  blocks = {.s = shape_2(SEQUENCES, PAGES), .type = TYPE_I32, .v = x->blocks};
    arena         step;
    tape         *t;
    var          *sums;

    ck_assert(arena_open(&step, "step", 1 << 24) == STATUS_OK && tape_open(&t, type) == STATUS_OK);
    var *out = ag_attention(t, tape_input(t, &q), tape_input(t, &k), tape_input(t, &v), tape_input(t, &qo),
                            tape_input(t, &ko), tape_input(t, &start), tape_input(t, &blocks), o, &sums);
    tape_keep(t, out);
    tape_keep(t, sums);
    ck_assert(tape_plan(t, NULL, RECOMPUTE_NONE) == STATUS_OK && tape_bind(t, &step) == STATUS_OK);
    tape_set_run(t, &(op_run){.decoding = decoding});
    tape_forward(t);
    memcpy(y, out->t.v, (size_t)(SEQUENCES * HEADS * x->D) * (wide ? 8 : 4));
    memcpy(lse, sums->t.v, (size_t)(SEQUENCES * HEADS) * (wide ? 8 : 4));
    tape_close(t);
    arena_close(&step);
}

/* With u = 2^-24 and all values below 1: a score is D products, scaled before, its error at most
 * e = (D + 2) u D scale, and 4 u of it for tanh (cap times 3 ulp). Shares change by a factor of
 * exp(2 e + 4 u), the sums of n of them and of values add n u each way; values are below 1.
 * Of the large scale (kind 3), exp overflows unless the largest score is taken off first. */
START_TEST(test_attention)
{
    static const int64_t sizes[] = {64, 40, 20, 128};
    const char *names[8];
    const int   paths = matmul_paths(names);

    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        for (int kind = 0; kind < 4; kind++) {
            const int64_t D = sizes[s];
            scene  x = scene_open(D);
            attention_options o = {.heads = HEADS, .kv_heads = KV_HEADS, .causal = true,
                                   .window = kind == 1 ? 70 : 0,
                                   .scale = kind == 3 ? 60 : 1 / sqrt((double)D),
                                   .softcap = kind == 2 ? 2 : 0};
            double want[SEQUENCES * HEADS * 128], want_lse[SEQUENCES * HEADS];
            float  got[SEQUENCES * HEADS * 128], lse[SEQUENCES * HEADS], one[SEQUENCES * HEADS * 128];
            attend(&x, TYPE_F64, false, &o, want, want_lse);
            const double e = (double)((D + 2) * D) * 0x1p-24 * o.scale + 8 * 0x1p-24;
            const double most = expm1(2 * e) + (2 * LONGEST + 8) * 0x1p-24;
            for (int path = 0; path < paths; path++) {
                ck_assert(matmul_use(names[path]));
                threads_set(3);
                attend(&x, TYPE_F32, true, &o, got, lse);
                for (int64_t i = 0; i < SEQUENCES * HEADS * D; i++)
                    ck_assert_msg(fabs((double)got[i] - want[i]) <= most, "%s: D %lld, kind %d: y[%lld] is %g, "
                                  "must be %g", names[path], (long long)D, kind, (long long)i,
                                  (double)got[i], want[i]);
                for (int64_t i = 0; i < SEQUENCES * HEADS; i++)
                    ck_assert(fabs((double)lse[i] - want_lse[i]) <= most + fabs(want_lse[i]) * 0x1p-22);
                threads_set(1);
                attend(&x, TYPE_F32, true, &o, one, lse);
                ck_assert(memcmp(one, got, (size_t)(SEQUENCES * HEADS * D) * sizeof *got) == 0);
            }
            scene_close(&x);
        }
    threads_set(0);
    matmul_use(NULL);
}
END_TEST

/* ---- the rest ----------------------------------------------------------------------------------------- */

/* What this path is not made for goes the usual way, with the usual bits. */
START_TEST(test_others)
{
    trial  x = trial_open(40, 64, TYPE_F32);
    matmul p = product(&x, 4);

    p.decode = false;
    ck_assert(!matmul_decodes(&p));
    p.decode = true;
    p.m = MATMUL_DECODE_ROWS + 1;
    ck_assert(!matmul_decodes(&p));
    p.m = 4;
    p.b_turned = false;
    p.ldb = p.n = 40;
    ck_assert(!matmul_decodes(&p));
    trial_close(&x);
}
END_TEST

TESTS(decode, test_types, test_rows_alone, test_low_rank, test_attention, test_others)
