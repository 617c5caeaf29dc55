/* every operation's kernels on the device, in every type, against the CPU in f64: outputs and gradients, with
 * every set of wanted gradients, exact and rounded-up bounds of rows, and the same bits whatever the order in
 * which threads run */
#include "tests/check.h"

#include "tests/with_device.h"

#include <math.h>

/* tests/run: timeout 2400 */

/* Results of a run: outputs and gradients. */
typedef struct results {
    double *v;
    int64_t n;
} results;

static void append(results *r, const tensor *t)
{
    const int64_t n = shape_count(t->s);

    r->v = realloc(r->v, (size_t)(r->n + n + 1) * sizeof *r->v);
    ck_assert(r->v != NULL);
    for (int64_t i = 0; i < n; i++)
        r->v[r->n++] = i < grad_used_values(t) ? grad_get(t, i) : 0;
}

static results run_case(grad_setup *g, uint32_t wanted, uint32_t arriving)
{
    results r = {0};

    grad_want(g, wanted);
    grad_forward(g);
    for (int i = 0; i < g->n_out; i++)
        append(&r, &g->out[i]);
    if (wanted) {
        grad_backward(g, wanted, arriving);
        for (int i = 0; i < OP_IN_MAX; i++)
            if (g->gin[i].v && (wanted >> i & 1))
                append(&r, &g->gin[i]);
    }
    return r;
}

/* Largest difference, in units of the largest finite value of the same tensor kind; infinities must agree. */
static double distance(const results *a, const results *b)
{
    double most = 0, size = 1;

    ck_assert_int_eq(a->n, b->n);
    for (int64_t i = 0; i < a->n; i++)
        if (isfinite(b->v[i]))
            size = fmax(size, fabs(b->v[i]));
    for (int64_t i = 0; i < a->n; i++)
        if (a->v[i] != b->v[i])
            most = fmax(most, isfinite(a->v[i]) && isfinite(b->v[i]) ? fabs(a->v[i] - b->v[i]) / size : INFINITY);
    return most;
}

/* Gradients that begin with nothing. */
static void start_fresh(grad_setup *g)
{
    g->fresh = ~0u;
    for (int i = 0; i < OP_IN_MAX; i++)
        for (int64_t k = 0; g->gin[i].v && k < grad_used_values(&g->start[i]); k++)
            grad_set(&g->start[i], k, 0);
}

static results reference(const grad_case *c, dtype round, dtype type, uint32_t wanted, uint32_t arriving,
                         bool fresh)
{
    grad_setup g;

    grad_open(&g, c, &op_variant(type == TYPE_F64 ? "f64" : "f32")[c->op], type);
    grad_round(&g, round);
    if (fresh)
        start_fresh(&g);
    const results r = run_case(&g, wanted, arriving);
    grad_close(&g);
    return r;
}

static const char *const orders[] = {"forward", "backward", "random"};
/* How many of them a case runs in. A sanitizer sees the same in each, and takes its time. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { EXACT_TOO = 0, ORDERS = 1 };
#else
enum { EXACT_TOO = 1, ORDERS = 3 };
#endif
static int n_orders = ORDERS;

/* A case with one set of wanted and arriving gradients. */
static bool check_case(device *d, const grad_case *c, dtype type, uint32_t wanted, uint32_t arriving, bool fresh)
{
    const dtype   here = type == TYPE_F64 ? TYPE_F64 : TYPE_F32;
    const results want = reference(c, type, TYPE_F64, wanted, arriving, fresh);
    const results plain = reference(c, type, here, wanted, arriving, fresh);
    /* f32: twice the CPU's own error, and some units in the last place for sums in another order; f64 likewise
     * against itself; bf16: inputs are exact, every value that is kept is rounded, and sums of up to three of
     * them */
    const double unit = type == TYPE_F64 ? 0x1p-53 : type == TYPE_BF16 ? 0x1p-8 : 0x1p-24;
    const double may = 2 * distance(&plain, &want) + (type == TYPE_BF16 ? 3 : 16) * unit;
    results      first = {0};
    bool         good = true;

    for (int o = 0; o < n_orders && (o == 0 || test_device_is_emulated(d)); o++) {
        grad_setup g;
        setenv("CAMBIUM_EMU_ORDER", orders[o], 1);
        grad_open(&g, c, &op_variant(here == TYPE_F64 ? "f64" : "f32")[c->op], here);
        grad_round(&g, type);
        if (fresh)
            start_fresh(&g);
        grad_elsewhere(&g, d, type);
        results      got = run_case(&g, wanted, arriving);
        const double error = distance(&got, &want);
        if (!(error <= may)) {
            printf("%s in %s (wanted 0x%x, upstream 0x%x): differs by %.2g, may %.2g\n", c->name, dtype_name(type),
                   wanted, arriving, error, may);
            good = false;
        }
        if (o == 0)
            first = got;
        else {
            if (memcmp(first.v, got.v, (size_t)got.n * sizeof *got.v) != 0) {
                printf("%s in %s: other bits when threads run %s\n", c->name, dtype_name(type), orders[o]);
                good = false;
            }
            free(got.v);
        }
        grad_elsewhere_close(&g);
        grad_close(&g);
    }
    unsetenv("CAMBIUM_EMU_ORDER");
    free(first.v), free(want.v), free(plain.v);
    return good;
}

static int check_cases(device *d, dtype type)
{
    int failed = 0;

    for (int i = 0; i < grad_case_count; i++) {
        const grad_case *c = &grad_cases[i];
        grad_setup       g;
        grad_open(&g, c, &op_variant("f64")[c->op], TYPE_F64);
        const uint32_t all = grad_all(&g), outs = (1u << g.n_out) - 1;
        const bool     shares = c->in[1].kind == GRAD_SAME; /* gradients come together */
        grad_close(&g);
        failed += !check_case(d, c, type, all, outs, false);
        failed += !check_case(d, c, type, all, outs, true);
        failed += outs > 1 && !check_case(d, c, type, all, 1, false);
        for (int k = 0; !shares && all & (all - 1) && k < OP_IN_MAX; k++)
            if (all >> k & 1)
                failed += !check_case(d, c, type, 1u << k, outs, false);
    }
    return failed;
}

/* Attention where some queries see no key: y is 0, the log-sum-exp -infinity, which finite differences cannot
 * have. Sequences: no keys; a start before the first key; a window past the last one; all keys. */
#define NO_KEYS(D, window_)                                                                        \
    {.name = "attention: no keys, heads of " #D, .op = OP_attention,                               \
     .attr = {.attention = {.heads = 2, .kv_heads = 1, .causal = true, .window = window_, .scale = 0.125}}, \
     .in = {{.kind = GRAD_REAL, .s = {2, {12, 2 * D}}, .used = 11},                                \
            {.kind = GRAD_REAL, .s = {2, {90, D}}, .used = -1},                                    \
            {.kind = GRAD_REAL, .s = {2, {90, D}}, .used = -1},                                    \
            {.kind = GRAD_INTS, .s = {1, {6}}, .used = 5, .ints = (const int32_t[]){0, 2, 6, 8, 11}}, \
            {.kind = GRAD_INTS, .s = {1, {6}}, .used = 5, .ints = (const int32_t[]){0, 0, 70, 75, 90}}, \
            {.kind = GRAD_INTS, .s = {1, {5}}, .used = 4, .ints = (const int32_t[]){0, -2, 40, 12}}, \
            {.kind = GRAD_ABSENT}}}

static int check_no_keys(device *d, dtype type)
{
    const grad_case cases[] = {NO_KEYS(6, 0), NO_KEYS(6, 9), NO_KEYS(64, 0), NO_KEYS(64, 9)};
    int             failed = 0;

    for (size_t i = 0; i < COUNT_OF(cases); i++)
        failed += !check_case(d, &cases[i], type, 7, 3, false);
    return failed;
}

static void check_type(dtype type)
{
    device *d = test_device(TYPE_F32);
    int     exact = 0;

    if (!d)
        SKIP("libcambium_emu.so is not built");
    if (EXACT_TOO) {
        n_orders = 1;
        device_functions(d)->rows_step(1);
        exact = check_cases(d, type);
    }
    n_orders = ORDERS;
    device_functions(d)->rows_step(DEVICE_ROWS_STEP);
    const int rounded = check_cases(d, type), none = check_no_keys(d, type);
    device_close(d);
    printf("cuda_ops: %d cases in %s\n", grad_case_count, dtype_name(type));
    ck_assert_int_eq(exact + rounded + none, 0);
}

START_TEST(operations_in_f32)
{
    check_type(TYPE_F32);
}
END_TEST

START_TEST(operations_in_f64)
{
    check_type(TYPE_F64);
}
END_TEST

START_TEST(operations_in_bf16)
{
    check_type(TYPE_BF16);
}
END_TEST

TESTS(cuda_ops, operations_in_f32, operations_in_f64, operations_in_bf16)
