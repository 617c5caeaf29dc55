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

static attention_options heads_of(int32_t heads, int32_t kv_heads, bool causal, int32_t window, double scale,
                                  double softcap)
{
    return (attention_options){.heads = heads, .kv_heads = kv_heads, .causal = causal, .window = window,
                               .scale = scale, .softcap = softcap};
}

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
    const attention_options kinds[] = {heads_of(2, 1, true, 0, 0.5, 0), heads_of(4, 2, true, 5, 0.3, 0),
                                       heads_of(3, 3, false, 0, 0.4, 0), heads_of(6, 2, true, 0, 0.35, 2),
                                       heads_of(2, 2, false, 9, 0.5, 1.5)};
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

/* ---- a bias table ----------------------------------------------------------------------------------------- */

/* As T5's authors write it (Raffel et al. 2020), word for word in their order. */
static int bucket_of(int d, int buckets, int reach, bool both)
{
    int base = 0, n = -d;

    if (both) {
        buckets /= 2;
        base = n < 0 ? buckets : 0;
        n = abs(n);
    } else
        n = n > 0 ? n : 0;
    const int exact = buckets / 2;
    if (n < exact)
        return base + n;
    const int far = exact + (int)(log((double)n / exact) / log((double)reach / exact) * (buckets - exact));
    return base + (far < buckets - 1 ? far : buckets - 1);
}

enum { BIAS_QUERIES = 90, BIAS_KEYS = 130, BIAS_D = 8 };

typedef struct bias_kind {
    int  heads, kv_heads, buckets, reach;
    bool both, causal;
} bias_kind;

/* y [queries, H * D], one score after another; sequences and starts as in the test below. */
static void attend(const pair *p, const bias_kind *k, const int32_t *q_ends, const int32_t *k_ends,
                   const int32_t *start, int seqs, double *y)
{
    const int H = k->heads, Hk = k->kv_heads, D = BIAS_D;

    for (int s = 0; s < seqs; s++)
        for (int i = 0; i < (q_ends[s + 1] - q_ends[s]) * H; i++) {
            const int     row = q_ends[s] + i / H, h = i % H, t = i / H + start[s], n = k_ends[s + 1] - k_ends[s];
            const int64_t q = ((int64_t)row * H + h) * D;
            double        sum = 0;
            for (int d = 0; d < D; d++)
                y[q + d] = 0;
            for (int j = 0; j < n && !(k->causal && j > t); j++) {
                const int64_t key = ((int64_t)(k_ends[s] + j) * Hk + h / (H / Hk)) * D;
                double score = at(&p->value[3], (int64_t)bucket_of(j - t, k->buckets, k->reach, k->both) * H + h);
                for (int d = 0; d < D; d++)
                    score += 0.6 * at(&p->value[0], q + d) * at(&p->value[1], key + d);
                sum += exp(score);
                for (int d = 0; d < D; d++)
                    y[q + d] += exp(score) * at(&p->value[2], key + d);
            }
            for (int d = 0; d < D; d++)
                y[q + d] /= sum;
        }
}

static tensor key_ends, starts; /* of attention_biased */

static var *attention_biased(tape *t, var *const *in, pair *p)
{
    attention_options o = how;

    o.bias = in[3];
    return ag_attention(t, in[0], in[1], in[2], tape_input(t, &p->offsets), tape_input(t, &key_ends),
                        tape_input(t, &starts), NULL, &o, NULL);
}

START_TEST(biased_attention_is_what_its_formula_says)
{
    static const bias_kind kinds[] = {{2, 2, 32, 128, true, false}, {4, 2, 8, 20, true, false},
                                      {6, 2, 7, 11, false, true}, {3, 1, 32, 50, false, true}};
    static const int32_t   q_ends[] = {0, 3, 43, BIAS_QUERIES}, k_ends[] = {0, 3, 63, BIAS_KEYS}, start[] = {0, 20, 5};

    FOR_REALS for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        const int64_t H = kinds[k].heads, G = kinds[k].kv_heads;
        const shape   shapes[] = {shape_2(BIAS_QUERIES, H * BIAS_D), shape_2(BIAS_KEYS, G * BIAS_D),
                                  shape_2(BIAS_KEYS, G * BIAS_D), shape_2(kinds[k].buckets, H)};
        pair          p;
        double       *want, most = 0, size = 0;
        pair_open(&p, reals[r], 4, shapes);
        how = heads_of((int32_t)H, (int32_t)G, kinds[k].causal, 0, 0.6, 0);
        how.reach = kinds[k].reach;
        how.both = kinds[k].both;
        p.offsets = ints(&p, 4, q_ends);
        key_ends = ints(&p, 4, k_ends);
        starts = ints(&p, 3, start);
        run_side(&p, &p.fused, attention_biased);
        want = arena_take(&p.memory, (size_t)shape_count(shapes[0]), sizeof *want);
        attend(&p, &kinds[k], q_ends, k_ends, start, 3, want);
        for (int64_t i = 0; i < shape_count(shapes[0]); i++) {
            most = fmax(most, fabs(at(&p.fused.out->t, i) - want[i]));
            size = fmax(size, fabs(want[i]));
        }
        /* a hundred products and exponents, each rounded */
        ck_assert_msg(most <= size * (reals[r] == TYPE_F64 ? 300 * 0x1p-53 : 300 * 0x1p-24),
                      "kind %d: values differ by %g of %g", (int)k, most, size);
        tape_close(p.fused.t);
        arena_close(&p.fused.step);
        arena_close(&p.memory);
    }
}
END_TEST

static var *bias_everywhere(tape *t, var *const *in, pair *p)
{
    attention_options o = how;
    var              *offsets = tape_input(t, &p->offsets);

    o.bias = in[3];
    return ag_attention(t, in[0], in[1], in[2], offsets, offsets, NULL, NULL, &o, NULL);
}

/* Parts of long sequences add to one table. */
START_TEST(a_bias_gradient_has_the_same_bits_on_all_threads)
{
    static const int32_t ends[] = {0, 700, 1500, 1530};
    const shape          shapes[] = {shape_2(1530, 2 * 8), shape_2(1530, 8), shape_2(1530, 8), shape_2(12, 2)};

    FOR_REALS {
        pair p;
        pair_open(&p, reals[r], 4, shapes);
        how = heads_of(2, 1, false, 0, 0.4, 0);
        how.reach = 100;
        how.both = true;
        p.offsets = ints(&p, 4, ends);
        threads_set(1);
        run_side(&p, &p.plain, bias_everywhere);
        for (int n = 2; n <= 4; n++) {
            threads_set(n);
            run_side(&p, &p.fused, bias_everywhere);
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

enum { LONG = 1100, ALL = 1130 };

static void long_pair(pair *p, dtype real)
{
    static const int32_t ends[] = {0, LONG, ALL};
    const shape          shapes[] = {shape_2(ALL, 2 * 8), shape_2(ALL, 8), shape_2(ALL, 8)};

    how = heads_of(2, 1, true, 0, 0.4, 0);
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

/* ---- keys in two parts ---------------------------------------------------------------------------------- */

enum { FRONT = 7, KEYS = 20, QUERIES = 33 };

/* Whole numbers of these compositions: they live as long as a test. */
static int32_t numbers[KEYS];
static tensor  cuts[4]; /* offsets of the first keys and of the others, their rows */

static void cut_keys(void)
{
    static int32_t ends[2][2] = {{0, FRONT}, {0, KEYS - FRONT}};

    for (int i = 0; i < KEYS; i++)
        numbers[i] = i;
    for (int i = 0; i < 2; i++)
        cuts[i] = (tensor){.s = shape_1(2), .type = TYPE_I32, .v = ends[i]};
    cuts[2] = (tensor){.s = shape_1(FRONT), .type = TYPE_I32, .v = numbers};
    cuts[3] = (tensor){.s = shape_1(KEYS - FRONT), .type = TYPE_I32, .v = numbers + FRONT};
}

/* Both results, so that both gradients are compared. */
static var *with_lse(tape *t, var *y, var *lse, var *spread)
{
    return ag_add(t, y, ag_linear(t, lse, spread, NULL));
}

static var *attention_over_all(tape *t, var *const *in, pair *p)
{
    var *lse, *y = ag_attention(t, in[0], in[1], in[2], tape_input(t, &p->offsets), tape_input(t, &p->targets), NULL,
                                NULL, &how, &lse);

    return with_lse(t, y, lse, in[3]);
}

static var *attention_in_parts(tape *t, var *const *in, pair *p)
{
    var *y[2], *lse[2];

    for (int i = 0; i < 2; i++) {
        var *rows = tape_input(t, &cuts[2 + i]);
        y[i] = ag_attention(t, in[0], ag_gather_rows(t, in[1], rows), ag_gather_rows(t, in[2], rows),
                            tape_input(t, &p->offsets), tape_input(t, &cuts[i]), NULL, NULL, &how, &lse[i]);
    }
    var *joined = ag_attention_join(t, y[0], lse[0], y[1], lse[1], &lse[0]);
    return with_lse(t, joined, lse[0], in[3]);
}

START_TEST(joined_attention_is_attention_over_all_keys)
{
    static const int32_t queries[] = {0, QUERIES}, keys[] = {0, KEYS};

    cut_keys();
    FOR_REALS {
        const shape shapes[] = {shape_2(QUERIES, 4 * 8), shape_2(KEYS, 2 * 8), shape_2(KEYS, 2 * 8), shape_2(4 * 8, 4)};
        pair        p;
        how = heads_of(4, 2, false, 0, 0.5, 0);
        pair_open(&p, reals[r], 4, shapes);
        p.offsets = ints(&p, 2, queries);
        p.targets = ints(&p, 2, keys);
        compare(&p, "attention_join", attention_over_all, attention_in_parts);
    }
}
END_TEST

/* ---- rows in the place of others -------------------------------------------------------------------------- */

enum { PLACES = 6, OLD = 40 };

static tensor keys_of_rows, places_of_words;

static var *rows_replaced(tape *t, var *const *in, pair *p)
{
    (void)p;
    return ag_replace_rows(t, in[0], in[1], tape_input(t, &keys_of_rows), tape_input(t, &places_of_words), 0);
}

/* x where the mask is 1, the row looked up where its complement is. */
static var *rows_masked(tape *t, var *const *in, pair *p)
{
    return ag_add(t, ag_mul(t, in[0], in[2]), ag_mul(t, ag_gather_rows(t, in[1], tape_input(t, &p->targets)), in[3]));
}

static void set(const tensor *x, int64_t i, double value)
{
    if (x->type == TYPE_F64)
        ((double *)x->v)[i] = value;
    else
        ((float *)x->v)[i] = (float)value;
}

START_TEST(replaced_rows_are_masked_sums)
{
    static int32_t keys[OLD], places[10], rows[OLD];

    for (int i = 0; i < 10; i++)
        places[i] = i % 3 == 0 ? i % PLACES : -1;
    for (int i = 0; i < OLD; i++) {
        keys[i] = i * 7 % 10;
        rows[i] = places[keys[i]] < 0 ? 0 : places[keys[i]];
    }
    keys_of_rows = (tensor){.s = shape_1(OLD), .type = TYPE_I32, .v = keys};
    places_of_words = (tensor){.s = shape_1(10), .type = TYPE_I32, .v = places};
    FOR_REALS {
        const shape x = shape_2(OLD, 9), shapes[] = {x, shape_2(PLACES, 9), x, x};
        pair        p;
        pair_open(&p, reals[r], 4, shapes);
        p.fixed = 1 << 2 | 1 << 3;
        p.targets = ints(&p, OLD, rows);
        for (int64_t i = 0; i < OLD * 9; i++) {
            set(&p.value[2], i, places[keys[i / 9]] < 0);
            set(&p.value[3], i, places[keys[i / 9]] >= 0);
        }
        compare(&p, "replace_rows", rows_replaced, rows_masked);
    }
}
END_TEST

static var *scaled_by(tape *t, var *const *in, pair *p)
{
    (void)p;
    return ag_scale_by(t, in[0], in[1]);
}

static var *scaled_as_column(tape *t, var *const *in, pair *p)
{
    (void)p;
    return ag_affine(t, in[0], in[1], NULL);
}

START_TEST(scaling_by_a_number_is_scaling_a_column)
{
    const shape shapes[] = {shape_2(300, 1), shape_1(1)};

    FOR_REALS {
        pair p;
        pair_open(&p, reals[r], 2, shapes);
        compare(&p, "scale_by", scaled_by, scaled_as_column);
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
    return ag_cross_entropy_head(t, in[0], in[1], in[2], tape_input(t, &p->targets), 0, NULL);
}

static var *loss_plain(tape *t, var *const *in, pair *p)
{
    return ag_cross_entropy(t, ag_linear(t, in[0], in[1], in[2]), tape_input(t, &p->targets), NULL);
}

/* A constant matrix [rows, C]: row i has `here` in column i + from and `all` everywhere. */
static var *constant(tape *t, pair *p, int64_t rows, int64_t C, int64_t from, double here, double all)
{
    tensor *m = arena_take(&p->memory, 1, sizeof *m);

    *m = random_tensor(p, shape_2(rows, C), 98, 0);
    for (int64_t i = 0; i < rows * C; i++) {
        const double v = all + (i % C == i / C + from ? here : 0);
        if (p->real == TYPE_F64)
            ((double *)m->v)[i] = v;
        else
            ((float *)m->v)[i] = (float)v;
    }
    return tape_tensor(t, m);
}

static var *layernorm_fused(tape *t, var *const *in, pair *p)
{
    (void)p;
    return ag_layernorm(t, in[0], in[1], in[2], 1e-3);
}

static var *layernorm_plain(tape *t, var *const *in, pair *p)
{
    const int64_t C = shape_last(p->value[0].s);
    var          *centred = ag_linear(t, in[0], constant(t, p, C, C, 0, 1, -1 / (double)C), NULL);

    return ag_linear(t, ag_rmsnorm(t, centred, in[1], 1e-3), constant(t, p, C, C, 0, 1, 0), in[2]);
}

static var *columns_fused(tape *t, var *const *in, pair *p)
{
    (void)p;
    return ag_columns(t, in[0], 11, 20);
}

static var *columns_plain(tape *t, var *const *in, pair *p)
{
    return ag_linear(t, in[0], constant(t, p, 20, shape_last(p->value[0].s), 11, 1, 0), NULL);
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
        pair_open(&p, reals[r], 3, (const shape[]){shape_2(37, 50), shape_1(50), shape_1(50)});
        compare(&p, "layernorm", layernorm_fused, layernorm_plain);
        pair_open(&p, reals[r], 1, same);
        compare(&p, "columns", columns_fused, columns_plain);
    }
}
END_TEST

/* ---- functions of one value, against the C library ------------------------------------------------------- */

typedef struct function {
    const char *name;
    builder    *record;
    double (*value)(double x), (*slope)(double x);
} function;

static double normal(double x)
{
    return 0.5 * erfc(-x / sqrt(2));
}

static double gelu_erf(double x)
{
    return x * normal(x);
}

static double gelu_erf_slope(double x)
{
    return normal(x) + (fabs(x) < 40 ? x * exp(-x * x / 2) / sqrt(2 * acos(-1)) : 0);
}

static double gelu_tanh_inner(double x)
{
    return sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x);
}

/* 1 - tanh(x), also where that is less than what 1 is rounded to */
static double erased(double x)
{
    return 2 * exp(-2 * x) / (1 + exp(-2 * x));
}

static double gelu_tanh(double x)
{
    return 0.5 * x * (gelu_tanh_inner(x) < 0 ? erased(-gelu_tanh_inner(x)) : 1 + tanh(gelu_tanh_inner(x)));
}

static double gelu_tanh_slope(double x)
{
    const double e = erased(fabs(gelu_tanh_inner(x))), inner = sqrt(2 / acos(-1)) * (1 + 3 * 0.044715 * x * x);

    return fabs(x) > 40 ? x > 0 : 0.5 * (x < 0 ? e : 2 - e) + 0.5 * x * e * (2 - e) * inner;
}

static double gelu_quick(double x)
{
    return x / (1 + exp(-1.702 * x));
}

static double gelu_quick_slope(double x)
{
    const double s = 1 / (1 + exp(-1.702 * x));

    return s + 1.702 * x * s * (1 - s);
}

static double relu(double x)
{
    return x > 0 ? x : 0;
}

static double relu_slope(double x)
{
    return x > 0;
}

static double tanh_slope(double x)
{
    return 1 - tanh(x) * tanh(x);
}

static double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

static double softplus_slope(double x)
{
    return 1 / (1 + exp(-x));
}

#define RECORD(name, call)                                                                         \
    static var *name(tape *t, var *const *in, pair *p)                                             \
    {                                                                                              \
        (void)p;                                                                                   \
        return call;                                                                               \
    }
RECORD(record_erf, ag_gelu(t, in[0], GELU_ERF))
RECORD(record_tanh_gelu, ag_gelu(t, in[0], GELU_TANH))
RECORD(record_quick, ag_gelu(t, in[0], GELU_QUICK))
RECORD(record_relu, ag_relu(t, in[0]))
RECORD(record_tanh, ag_tanh(t, in[0]))
RECORD(record_softplus, ag_softplus(t, in[0]))

enum { STEPS = 4000, EXTREMES = 12 };

/* -20 .. 20, and the largest and smallest numbers there are. */
static void fill_points(tensor *x)
{
    static const double far[EXTREMES] = {1e-38, -1e-38, 50, -50, 1e4, -1e4, 1e20, -1e20, 3e38, -3e38, 0, -0.0};

    for (int64_t i = 0; i < STEPS + EXTREMES; i++) {
        const double v = i < STEPS ? (double)(i - STEPS / 2) * 0.01 + 0.001 : far[i - STEPS];
        if (x->type == TYPE_F64)
            ((double *)x->v)[i] = v;
        else
            ((float *)x->v)[i] = (float)v;
    }
}

static void check_function(const function *f, dtype real)
{
    /* a few roundings of the result, and in the tails of the x^2 / 2 in an exponent; where it nearly vanishes, of
     * what it is the difference of */
    const double unit = real == TYPE_F64 ? 0x1p-53 : 0x1p-24;
    pair         p;

    pair_open(&p, real, 1, (const shape[]){shape_1(STEPS + EXTREMES)});
    fill_points(&p.value[0]);
    p.seed = random_tensor(&p, p.value[0].s, 99, 0);
    for (int64_t i = 0; i < STEPS + EXTREMES; i++)
        if (real == TYPE_F64)
            ((double *)p.seed.v)[i] = 1;
        else
            ((float *)p.seed.v)[i] = 1;
    run_side(&p, &p.fused, f->record);
    for (int64_t i = 0; i < STEPS + EXTREMES; i++) {
        const double x = at(&p.value[0], i), y = f->value(x), d = f->slope(x);
        const double got = at(&p.fused.out->t, i), slope = at(&p.fused.grad[0], i);
        ck_assert_msg(fabs(got - y) <= (16 + fmin(x * x, 100)) * unit * (fabs(y) + 1e-3),
                      "%s(%g) is %.9g, must be %.9g", f->name, x, got, y);
        ck_assert_msg(fabs(slope - d) <= 32 * unit * (fabs(d) + 1), "the slope of %s at %g is %.9g, must be %.9g",
                      f->name, x, slope, d);
    }
    tape_close(p.fused.t);
    arena_close(&p.fused.step);

    if (real == TYPE_F64)
        ((double *)p.value[0].v)[3] = NAN;
    else
        ((float *)p.value[0].v)[3] = NAN;
    run_side(&p, &p.plain, f->record);
    for (int64_t i = 0; i < 8; i++)
        ck_assert_msg(!isnan(at(&p.plain.out->t, i)) == (i != 3), "%s hides or spreads NaN", f->name);
    tape_close(p.plain.t);
    arena_close(&p.plain.step);
    arena_close(&p.memory);
}

START_TEST(functions_are_those_of_the_library)
{
    static const function all[] = {
        {"erf gelu", record_erf, gelu_erf, gelu_erf_slope},
        {"tanh gelu", record_tanh_gelu, gelu_tanh, gelu_tanh_slope},
        {"quick gelu", record_quick, gelu_quick, gelu_quick_slope},
        {"relu", record_relu, relu, relu_slope},
        {"tanh", record_tanh, tanh, tanh_slope},
        {"softplus", record_softplus, softplus, softplus_slope},
    };

    FOR_REALS for (size_t i = 0; i < COUNT_OF(all); i++)
        check_function(&all[i], reals[r]);
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

/* Sequences of 3, 1 and 5 rows, two columns. */
enum { ANSWERED = 3, PLACE_ROWS = 9, MARKS = 2 };
static const int32_t place_ends[ANSWERED + 1] = {0, 3, 4, 9}, place_targets[ANSWERED * MARKS] = {2, 0, 0, 0, 4, 1};

static var *places(tape *t, var *const *in, pair *p)
{
    return ag_cross_entropy_place(t, in[0], tape_input(t, &p->offsets), tape_input(t, &p->targets), NULL);
}

static double place_share(const tensor *x, int s, int k, int row)
{
    double sum = 0;

    for (int i = place_ends[s]; i < place_ends[s + 1]; i++)
        sum += exp(at(x, i * MARKS + k) - at(x, row * MARKS + k));
    return 1 / sum;
}

/* Values of about 1, whose roundings are those of compare. */
START_TEST(losses_of_places_are_those_of_softmax)
{
    const shape s = shape_2(PLACE_ROWS, MARKS);

    FOR_REALS {
        const double may = reals[r] == TYPE_F64 ? 1e-14 : 1e-5;
        double       loss = 0;
        pair         p;
        pair_open(&p, reals[r], 1, &s);
        p.offsets = ints(&p, ANSWERED + 1, place_ends);
        p.targets = ints(&p, ANSWERED * MARKS, place_targets);
        p.targets.s = shape_2(ANSWERED, MARKS);
        run_side(&p, &p.fused, places);
        for (int q = 0; q < ANSWERED; q++)
            for (int k = 0; k < MARKS; k++) {
                const int target = place_ends[q] + place_targets[q * MARKS + k];
                loss -= log(place_share(&p.value[0], q, k, target)) / MARKS;
                for (int row = place_ends[q]; row < place_ends[q + 1]; row++) {
                    const double slope = (place_share(&p.value[0], q, k, row) - (row == target)) / MARKS;
                    ck_assert(fabs(at(&p.fused.grad[0], row * MARKS + k) - at(&p.seed, 0) * slope) < may);
                }
            }
        ck_assert_msg(fabs(at(&p.fused.out->t, 0) - loss) < may * 10, "%g, must be %g", at(&p.fused.out->t, 0), loss);
        tape_close(p.fused.t);
        arena_close(&p.fused.step);
        arena_close(&p.memory);
    }
}
END_TEST

static var *distillation(tape *t, var *const *in, pair *p)
{
    return ag_distillation(t, in[0], in[1], tape_input(t, &p->targets), &(distillation_options){2.5, 0.3, 4}, NULL);
}

static double warm_share(const tensor *x, int64_t row, int64_t V, int64_t word, double temperature)
{
    double sum = 0;

    for (int64_t v = 0; v < V; v++)
        sum += exp((at(x, row * V + v) - at(x, row * V + word)) / temperature);
    return 1 / sum;
}

START_TEST(a_distillation_is_what_its_formula_says)
{
    enum { T = 3, V = 70 };
    static const int32_t want[T] = {69, 0, 31};
    const shape          s[] = {shape_2(T, V), shape_2(T, V)};

    FOR_REALS {
        const double may = reals[r] == TYPE_F64 ? 1e-14 : 1e-5;
        double       soft = 0, hard = 0;
        pair         p;
        pair_open(&p, reals[r], 2, s);
        p.fixed = 2;
        p.targets = ints(&p, T, want);
        run_side(&p, &p.fused, distillation);
        for (int64_t t = 0; t < T; t++)
            for (int64_t v = 0; v < V; v++) {
                const double is = warm_share(&p.value[0], t, V, v, 2.5), must = warm_share(&p.value[1], t, V, v, 2.5);
                const double own = warm_share(&p.value[0], t, V, v, 1);
                const double slope = 0.3 * (own - (v == want[t])) + 4 * (is - must) / 2.5;
                soft += must * log(must / is);
                hard -= v == want[t] ? log(own) : 0;
                ck_assert(fabs(at(&p.fused.grad[0], t * V + v) - at(&p.seed, 0) * slope) < may);
            }
        const double loss = 0.3 * hard + 4 * soft;
        ck_assert_double_gt(soft, 0.01);
        ck_assert_msg(fabs(at(&p.fused.out->t, 0) - loss) < may * 10, "%g, must be %g", at(&p.fused.out->t, 0), loss);
        tape_close(p.fused.t);
        arena_close(&p.fused.step);
        arena_close(&p.memory);
    }
}
END_TEST

/* ---- what methods are made of -------------------------------------------------------------------------- */

static var *cut_itself(tape *t, var *const *in, pair *p)
{
    (void)p;
    return ag_cut(t, in[0], in[1], 37, 50);
}

static var *cut_turned(tape *t, var *const *in, pair *p)
{
    (void)p;
    return ag_transpose(t, ag_affine(t, ag_transpose(t, in[0]), in[1], NULL));
}

static var *outer_kron(tape *t, var *const *in, pair *p)
{
    (void)p;
    return ag_kron(t, in[0], in[1]);
}

static var *outer_product(tape *t, var *const *in, pair *p)
{
    (void)p;
    return ag_linear(t, in[0], ag_transpose(t, in[1]), NULL);
}

static var *one_row_khatri_rao(tape *t, var *const *in, pair *p)
{
    (void)p;
    return ag_khatri_rao(t, in[0], in[1]);
}

static var *one_row_scaled(tape *t, var *const *in, pair *p)
{
    (void)p;
    return ag_transpose(t, ag_affine(t, in[1], in[0], NULL));
}

static var *diagonal_sparse(tape *t, var *const *in, pair *p)
{
    return ag_sparse(t, in[0], in[1], in[2], tape_input(t, &p->targets));
}

static var *diagonal_scaled(tape *t, var *const *in, pair *p)
{
    (void)p;
    return ag_add(t, in[0], ag_affine(t, in[1], in[2], NULL));
}

static double one_f64[] = {0, 1};
static float  one_f32[] = {0, 1};
static tensor second_of_two; /* picks the second column */

/* Two reflections are two low-rank changes, one after the other: x - 2 (x v) v. */
static var *reflected(tape *t, var *const *in, pair *p)
{
    var *b, *a = ag_householder(t, in[1], false, &b);

    (void)p;
    return ag_lora(t, in[0], in[0], a, b, 1);
}

static var *reflected_apart(tape *t, var *const *in, pair *p)
{
    var *x = in[0], *u = ag_transpose(t, in[1]), *b, *a;

    (void)p;
    for (int i = 1; i >= 0; i--) { /* the last one first */
        var *one = i ? ag_transpose(t, ag_linear(t, ag_transpose(t, u), tape_tensor(t, &second_of_two), NULL))
                     : ag_cut(t, u, NULL, 1, 20);
        a = ag_householder(t, ag_transpose(t, one), true, &b);
        x = ag_lora(t, x, x, a, b, 1);
    }
    return x;
}

START_TEST(parts_of_methods_are_their_compositions)
{
    static const int32_t diagonal[] = {0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6};
    const shape          matrix[] = {shape_2(37, 50), shape_1(37)}, outer[] = {shape_2(9, 1), shape_2(1, 14)};
    const shape          row[] = {shape_2(1, 30), shape_2(7, 30)},
                         tokens[] = {shape_2(40, 7), shape_2(40, 7), shape_1(7)};
    const shape          turned[] = {shape_2(11, 20), shape_2(20, 2)};

    FOR_REALS {
        pair p;
        pair_open(&p, reals[r], 2, matrix);
        compare(&p, "cut", cut_itself, cut_turned);
        pair_open(&p, reals[r], 2, outer);
        compare(&p, "kron", outer_kron, outer_product);
        pair_open(&p, reals[r], 2, row);
        compare(&p, "khatri_rao", one_row_khatri_rao, one_row_scaled);
        pair_open(&p, reals[r], 3, tokens);
        p.targets = ints(&p, 14, diagonal);
        p.targets.s = shape_2(2, 7);
        compare(&p, "sparse", diagonal_sparse, diagonal_scaled);
        pair_open(&p, reals[r], 2, turned);
        second_of_two = (tensor){
            .s = shape_2(1, 2), .type = reals[r], .v = reals[r] == TYPE_F64 ? (void *)one_f64 : one_f32};
        compare(&p, "householder", reflected, reflected_apart);
    }
}
END_TEST

/* ---- skills ------------------------------------------------------------------------------------------------ */

enum { SEQS = 3, ROWS = 10, TASKS = 4, SPLITS = 2, SKILLS = 3, RANK_ = 2, IN = 8, OUT = 6 };
static const int32_t seq_tasks[SEQS] = {3, 0, 3}, seq_samples[ROWS] = {5, 5, 5, 5, 9, 9, 9, 9, 9, 9},
                     seq_ends[SEQS + 1] = {0, 4, 4, 10};

/* y, x, logits, A, B as one computation. */
static var *skilled(tape *t, var *const *in, const tensor *ints_of)
{
    var *ends = tape_input(t, &ints_of[2]);
    var *w = ag_skill_weights(t, in[2], tape_input(t, &ints_of[0]), tape_input(t, &ints_of[1]), ends, SKILLS, 7);

    return ag_lora_each(t, in[0], in[1], ag_mix_skills(t, in[3], w, false), ag_mix_skills(t, in[4], w, true), ends,
                        0.75);
}

/* The weight of a skill in double, with the noise that a training has there: what the header says. */
static double share_of(const double *logits, int s, int head, int skill, const op_run *run)
{
    double p[SKILLS], sum = 1e-12;

    for (int k = 0; k < SKILLS; k++) {
        const int       i = head * SKILLS + k;
        const rng_block r = rng_philox(rng_key_for(run->seed, "skills"), (uint32_t)(i / 4),
                                       (uint32_t)seq_samples[seq_ends[s]], 7, run->step);
        const double    u = (double)rng_unit(r.r[i % 4]);
        const double    noise = run->training ? log(u / (1 - u)) : 0;
        p[k] = 1 / (1 + exp(-(logits[seq_tasks[s] * SPLITS * SKILLS + i] + noise)));
        sum += p[k];
    }
    return p[skill] / sum;
}

/* Input i of head h's inputs into rank r, or rank r into output i of head h's: the mean of the skills. */
static double mean_of(const double *logits, const double *skills, int s, int head, int64_t at, int64_t size,
                      const op_run *run)
{
    double sum = 0;

    for (int k = 0; k < SKILLS; k++)
        sum += share_of(logits, s, head, k, run) * skills[(head * SKILLS + k) * size + at];
    return sum;
}

static double expected_change(const pair *p, int s, int n, int o, const op_run *run)
{
    const int     in = IN / SPLITS, out = OUT / SPLITS;
    const double *x = p->value[1].v, *logits = p->value[2].v, *a = p->value[3].v, *b = p->value[4].v;
    double        sum = 0;

    for (int r = 0; r < RANK_; r++) {
        double h = 0;
        for (int i = 0; i < IN; i++)
            h += x[n * IN + i] * mean_of(logits, a, s, i / in, i % in * RANK_ + r, in * RANK_, run);
        sum += h * mean_of(logits, b, s, o / out, r * out + o % out, RANK_ * out, run);
    }
    return 0.75 * sum;
}

static void run_skills(pair *p, const tensor *ints_of, const op_run *run)
{
    side *x = &p->fused;

    MUST(tape_open(&x->t, TYPE_F64));
    for (int i = 0; i < p->n; i++)
        x->in[i] = tape_tensor(x->t, &p->value[i]);
    x->out = skilled(x->t, x->in, ints_of);
    tape_keep(x->t, x->out);
    MUST(tape_plan(x->t, NULL, RECOMPUTE_NONE));
    MUST(arena_open(&x->step, "step", tape_step_bytes(x->t) + 4096));
    MUST(tape_bind(x->t, &x->step));
    tape_set_run(x->t, run);
    tape_forward(x->t);
}

/* Two sequences of a task, and an empty one, without noise and with that of a training. The noise is made in double
 * here and there of the same 24 bits, so roundings of sums of 8 terms of about 1 remain. */
START_TEST(skills_are_mixed_as_their_formula_says)
{
    const int64_t a[] = {SPLITS, SKILLS, IN / SPLITS, RANK_}, b[] = {SPLITS, SKILLS, RANK_, OUT / SPLITS};
    const shape   s[] = {shape_2(ROWS, OUT), shape_2(ROWS, IN), shape_2(TASKS, SPLITS * SKILLS), shape_of(4, a),
                         shape_of(4, b)};

    for (int training = 0; training < 2; training++) {
        const op_run run = {.seed = 11, .step = 6, .training = training};
        pair         p;
        pair_open(&p, TYPE_F64, 5, s);
        const tensor ints_of[] = {ints(&p, SEQS, seq_tasks), ints(&p, ROWS, seq_samples),
                                  ints(&p, SEQS + 1, seq_ends)};
        run_skills(&p, ints_of, &run);
        for (int q = 0; q < SEQS; q++)
            for (int n = seq_ends[q]; n < seq_ends[q + 1]; n++)
                for (int o = 0; o < OUT; o++) {
                    const double is = at(&p.fused.out->t, n * OUT + o) - at(&p.value[0], n * OUT + o);
                    const double must = expected_change(&p, q, n, o, &run);
                    ck_assert_msg(fabs(is - must) < 1e-13, "row %d, output %d: %g, must be %g", n, o, is, must);
                }
        tape_close(p.fused.t);
        arena_close(&p.fused.step);
        arena_close(&p.memory);
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

    how = heads_of(1, 1, true, 5, 0.5, 0);
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

TESTS(ops, parts_of_methods_are_their_compositions, joined_attention_is_attention_over_all_keys,
      replaced_rows_are_masked_sums, scaling_by_a_number_is_scaling_a_column,
      skills_are_mixed_as_their_formula_says, attention_is_its_composition,
      biased_attention_is_what_its_formula_says, a_bias_gradient_has_the_same_bits_on_all_threads,
      long_attention_is_its_composition,
      long_attention_has_the_same_bits_on_all_threads, elementwise_are_their_compositions,
      functions_are_those_of_the_library, linear_lora_is_its_composition,
      loss_of_the_head_is_its_composition, losses_of_places_are_those_of_softmax,
      a_distillation_is_what_its_formula_says, another_window_is_seen)
