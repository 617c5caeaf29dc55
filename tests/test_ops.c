/* test_ops: operations against compositions of others that must give the same: values and gradients,
 * in f64 (where they differ by roundings only) and in f32 on the instruction set in use.
 * tests/run: no device */
#include "autograd/ops.h"

#include "core/rng.h"
#include "core/threads.h"
#include "tests/helpers.h"

#include <math.h>

enum { INPUTS_MAX = 6 };

/* One computation with its real inputs; whole numbers are external. */
typedef struct side {
    arena   step;
    tape   *t;
    var    *in[INPUTS_MAX], *out;
    tensor  grad[INPUTS_MAX];
} side;

typedef struct pair {
    arena  memory;
    dtype  real;
    int    n;
    tensor value[INPUTS_MAX], seed;
    uint32_t fixed; /* inputs whose gradient is not wanted */
    tensor offsets, targets;
    side   fused, plain;
} pair;

typedef var *builder(tape *t, var *const *in, pair *p);

static tensor random_tensor(pair *p, shape s, uint32_t stream, double size)
{
    const int64_t n = shape_count(s);
    float        *f = arena_take(&p->memory, (size_t)n, sizeof *f);
    tensor        t = {.s = s, .type = p->real, .v = f};

    rng_fill_normal(rng_key_for(3, "ops"), stream, (float)size, f, n);
    if (p->real == TYPE_F64) {
        double *d = arena_take(&p->memory, (size_t)n, sizeof *d);
        for (int64_t i = 0; i < n; i++)
            d[i] = (double)f[i];
        t.v = d;
    }
    return t;
}

static double at(const tensor *t, int64_t i)
{
    return t->type == TYPE_F64 ? ((const double *)t->v)[i] : (double)((const float *)t->v)[i];
}

static void run_side(pair *p, side *x, builder *build)
{
    MUST(tape_open(&x->t, p->real));
    for (int i = 0; i < p->n; i++) {
        x->grad[i] = random_tensor(p, p->value[i].s, 100, 0);
        x->in[i] = tape_param(x->t, &p->value[i], p->fixed >> i & 1 ? NULL : &x->grad[i]);
    }
    x->out = build(x->t, x->in, p);
    tape_keep(x->t, x->out);
    if (!p->seed.v)
        p->seed = random_tensor(p, x->out->t.s, 99, 1);
    tape_seed(x->t, x->out, &p->seed);
    MUST(tape_plan(x->t, NULL, RECOMPUTE_NONE));
    MUST(arena_open(&x->step, "step", tape_step_bytes(x->t) + 4096));
    MUST(tape_bind(x->t, &x->step));
    tape_forward(x->t);
    tape_backward(x->t);
}

/* Largest difference over the largest value of the two. */
static double difference(const tensor *a, const tensor *b)
{
    double most = 0, size = 0;

    ck_assert(shape_equal(a->s, b->s));
    for (int64_t i = 0; i < shape_count(a->s); i++) {
        ck_assert(isfinite(at(a, i)) && isfinite(at(b, i)));
        most = fmax(most, fabs(at(a, i) - at(b, i)));
        size = fmax(size, fmax(fabs(at(a, i)), fabs(at(b, i))));
    }
    ck_assert_msg(size > 0, "both are zero: nothing was compared");
    return most / size;
}

static void compare(pair *p, const char *name, builder *fused, builder *plain)
{
    /* sums of up to a few hundred products, each rounded: some hundred units in the last place */
    const double may = p->real == TYPE_F64 ? 300 * 0x1p-53 : 300 * 0x1p-24;

    run_side(p, &p->fused, fused);
    run_side(p, &p->plain, plain);
    ck_assert_msg(difference(&p->fused.out->t, &p->plain.out->t) <= may, "%s: values differ by %g, may %g",
                  name, difference(&p->fused.out->t, &p->plain.out->t), may);
    for (int i = 0; i < p->n; i++)
        ck_assert_msg(p->fixed >> i & 1 || difference(&p->fused.grad[i], &p->plain.grad[i]) <= may,
                      "%s: gradients of input %d differ by %g, may %g", name, i,
                      difference(&p->fused.grad[i], &p->plain.grad[i]), may);
    tape_close(p->fused.t), tape_close(p->plain.t);
    arena_close(&p->fused.step), arena_close(&p->plain.step);
    arena_close(&p->memory);
}

static void pair_open(pair *p, dtype real, int n, const shape *shapes)
{
    *p = (pair){.real = real, .n = n};
    MUST(arena_open(&p->memory, "test", (size_t)1 << 28));
    for (int i = 0; i < n; i++)
        p->value[i] = random_tensor(p, shapes[i], (uint32_t)i, 0.7);
}

static tensor ints(pair *p, int n, const int32_t *v)
{
    return (tensor){.s = shape_1(n), .type = TYPE_I32, .v = arena_copy(&p->memory, v, (size_t)n * 4)};
}

static const dtype reals[] = {TYPE_F64, TYPE_F32};
#define FOR_REALS for (size_t r = 0; r < COUNT_OF(reals); r++)

/* ---- attention ---------------------------------------------------------------------------------------- */

static attention_options how;

static var *attention_fused(tape *t, var *const *in, pair *p)
{
    var *o = tape_input(t, &p->offsets);

    return ag_attention(t, in[0], in[1], in[2], o, o, NULL, NULL, &how, NULL);
}

static var *attention_plain(tape *t, var *const *in, pair *p)
{
    var *o = tape_input(t, &p->offsets);
    var *s = ag_attention_scores(t, in[0], in[1], o, o, NULL, &how);

    return ag_attention_mix(t, ag_softmax(t, s), in[2], o, o, &how);
}

START_TEST(attention_is_its_composition)
{
    static const attention_options kinds[] = {{2, 1, true, 0, 0.5, 0}, {4, 2, true, 5, 0.3, 0},
                                              {3, 3, false, 0, 0.4, 0}, {6, 2, true, 0, 0.35, 2},
                                              {2, 2, false, 9, 0.5, 1.5}};
    static const int32_t ends[] = {0, 1, 8, 45, 80};

    FOR_REALS for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        const int64_t H = kinds[k].heads, G = kinds[k].kv_heads;
        const shape   shapes[] = {shape_2(80, H * 8), shape_2(80, G * 8), shape_2(80, G * 8)};
        pair          p;
        how = kinds[k];
        pair_open(&p, reals[r], 3, shapes);
        p.offsets = ints(&p, 5, ends);
        compare(&p, "attention", attention_fused, attention_plain);
    }
}
END_TEST

enum { LONG = 1100, ALL = 1130 };

static void long_pair(pair *p, dtype real)
{
    static const int32_t ends[] = {0, LONG, ALL};
    const shape          shapes[] = {shape_2(ALL, 2 * 8), shape_2(ALL, 8), shape_2(ALL, 8)};

    how = (attention_options){2, 1, true, 0, 0.4, 0};
    pair_open(p, real, 3, shapes);
    p->offsets = ints(p, 3, ends);
}

/* So long that backward cuts the sequence into parts. */
START_TEST(long_attention_is_its_composition)
{
    FOR_REALS {
        pair p;
        long_pair(&p, reals[r]);
        compare(&p, "long attention", attention_fused, attention_plain);
    }
}
END_TEST

/* The parts are added in their order, whichever thread is done first. */
START_TEST(long_attention_has_the_same_bits_on_all_threads)
{
    FOR_REALS {
        pair p;
        long_pair(&p, reals[r]);
        threads_set(1);
        run_side(&p, &p.plain, attention_fused);
        for (int n = 2; n <= 4; n++) {
            threads_set(n);
            run_side(&p, &p.fused, attention_fused);
            for (int i = 0; i < p.n; i++)
                ck_assert_msg(memcmp(p.fused.grad[i].v, p.plain.grad[i].v, tensor_bytes(&p.plain.grad[i])) == 0,
                              "gradient of input %d is another one with %d threads", i, n);
            tape_close(p.fused.t);
            arena_close(&p.fused.step);
        }
        threads_set(0);
        tape_close(p.plain.t);
        arena_close(&p.plain.step);
        arena_close(&p.memory);
    }
}
END_TEST

/* ---- the others ------------------------------------------------------------------------------------------ */

static var *swiglu_fused(tape *t, var *const *in, pair *p)
{
    (void)p;
    return ag_swiglu(t, in[0], in[1]);
}

static var *swiglu_plain(tape *t, var *const *in, pair *p)
{
    (void)p;
    return ag_mul(t, ag_silu(t, in[0]), in[1]);
}

static var *norm_fused(tape *t, var *const *in, pair *p)
{
    var *sum, *y = ag_rmsnorm_add(t, in[0], in[1], in[2], 1e-5, &sum);

    (void)p;
    return ag_add(t, y, sum);
}

static var *norm_plain(tape *t, var *const *in, pair *p)
{
    var *sum = ag_add(t, in[0], in[1]);

    (void)p;
    return ag_add(t, ag_rmsnorm(t, sum, in[2], 1e-5), sum);
}

static var *lora_fused(tape *t, var *const *in, pair *p)
{
    (void)p;
    return ag_linear_lora(t, in[0], in[1], in[2], in[3], in[4], 1.5);
}

/* y first goes through another operation, so that the two stay apart */
static var *lora_plain(tape *t, var *const *in, pair *p)
{
    (void)p;
    return ag_lora(t, ag_scale(t, ag_linear(t, in[0], in[1], in[2]), 1), in[0], in[3], in[4], 1.5);
}

static var *lora_products(tape *t, var *const *in, pair *p)
{
    var *low = ag_linear(t, ag_linear(t, in[0], in[3], NULL), in[4], NULL);

    (void)p;
    return ag_add(t, ag_linear(t, in[0], in[1], in[2]), ag_scale(t, low, 1.5));
}

/* What recording a lora on a linear makes of them. */
static var *lora_recorded(tape *t, var *const *in, pair *p)
{
    var *y = ag_linear(t, in[0], in[1], in[2]), *z = ag_lora(t, y, in[0], in[3], in[4], 1.5);

    (void)p;
    ck_assert_ptr_eq(z, y);
    return z;
}

static var *loss_fused(tape *t, var *const *in, pair *p)
{
    return ag_cross_entropy_head(t, in[0], in[1], in[2], tape_input(t, &p->targets), NULL);
}

static var *loss_plain(tape *t, var *const *in, pair *p)
{
    return ag_cross_entropy(t, ag_linear(t, in[0], in[1], in[2]), tape_input(t, &p->targets), NULL);
}

START_TEST(elementwise_are_their_compositions)
{
    const shape same[] = {shape_2(37, 50), shape_2(37, 50), shape_1(50)};

    FOR_REALS {
        pair p;
        pair_open(&p, reals[r], 2, same);
        compare(&p, "swiglu", swiglu_fused, swiglu_plain);
        pair_open(&p, reals[r], 3, same);
        compare(&p, "rmsnorm_add", norm_fused, norm_plain);
    }
}
END_TEST

START_TEST(linear_lora_is_its_composition)
{
    static const int64_t sizes[][4] = {{5, 7, 6, 2}, {70, 100, 130, 16}, {33, 48, 20, 19}};

    FOR_REALS for (size_t k = 0; k < COUNT_OF(sizes); k++) {
        const int64_t N = sizes[k][0], K = sizes[k][1], M = sizes[k][2], R = sizes[k][3];
        const shape   s[] = {shape_2(N, K), shape_2(M, K), shape_1(M), shape_2(R, K), shape_2(M, R)};
        builder *const others[] = {lora_plain, lora_products, lora_recorded};
        for (size_t o = 0; o < COUNT_OF(others); o++) {
            pair p;
            pair_open(&p, reals[r], 5, s);
            compare(&p, "linear_lora", lora_fused, others[o]);
        }
    }
}
END_TEST

/* More words than a chunk of the vocabulary has. */
START_TEST(loss_of_the_head_is_its_composition)
{
    static const int32_t want[] = {0, 4999, 2047, 2048, 17, 4096, 3};
    const shape          s[] = {shape_2(7, 24), shape_2(5000, 24), shape_1(5000)};

    FOR_REALS for (uint32_t fixed = 0; fixed < 8; fixed += 6) { /* all; x's alone, which forward makes */
        pair p;
        pair_open(&p, reals[r], 3, s);
        p.targets = ints(&p, 7, want);
        p.fixed = fixed;
        compare(&p, "cross_entropy_head", loss_fused, loss_plain);
    }
}
END_TEST

/* A planted fault is seen: the window of one side is another one. */
static var *attention_other(tape *t, var *const *in, pair *p)
{
    const attention_options kept = how;

    how.window = 4;
    var *y = attention_fused(t, in, p);
    how = kept;
    return y;
}

START_TEST(another_window_is_seen)
{
    static const int32_t ends[] = {0, 20};
    const shape          s[] = {shape_2(20, 8), shape_2(20, 8), shape_2(20, 8)};
    pair                 p;

    how = (attention_options){1, 1, true, 5, 0.5, 0};
    pair_open(&p, TYPE_F64, 3, s);
    p.offsets = ints(&p, 2, ends);
    run_side(&p, &p.fused, attention_other);
    run_side(&p, &p.plain, attention_plain);
    ck_assert(difference(&p.fused.out->t, &p.plain.out->t) > 1e-6);
    tape_close(p.fused.t), tape_close(p.plain.t);
    arena_close(&p.fused.step), arena_close(&p.plain.step);
    arena_close(&p.memory);
}
END_TEST

TESTS(ops, attention_is_its_composition, long_attention_is_its_composition,
      long_attention_has_the_same_bits_on_all_threads, elementwise_are_their_compositions, linear_lora_is_its_composition,
      loss_of_the_head_is_its_composition, another_window_is_seen)
