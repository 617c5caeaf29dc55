/* test_mhr: what the card of Poly and MHR says of mixtures: one skill, tied heads, equal weights, permuted skills,
 * absent tasks, counts, gradients */
#include "tests/helpers.h"
#include "tests/with_trunk.h"

#include "core/text.h"
#include "peft/poly.h"

#include <math.h>

static const trace_options plain = {0};
static const char *const   all[] = {"all-linear"};

static void add(small *s, const peft_method *method, const void *options)
{
    MUST(peft_add(s->p, "main", method, options, all, 1, true));
    MUST(peft_allocate(s->p, &s->tuned));
}

/* Tasks 0 and 1 are those of the two sequences. */
static const poly_options four = {.rank = 3, .alpha = 1, .tasks = 2, .skills = 4, .splits = 4};

static void open_poly(small *s, const poly_options *o)
{
    small_open(s, 3);
    add(s, &peft_poly, o);
    small_stir(s, 4);
}

static float *values(const small *s, const char *site, const char *end)
{
    for (int i = 0; i < s->p->n_tuned; i++)
        if (strstr(s->p->tensors[i].name, site) && text_ends(s->p->tensors[i].name, end))
            return s->p->tensors[i].value.v;
    ck_abort_msg("no tensor %s %s", site, end);
    return NULL;
}

static double largest(const trace_result *a)
{
    double m = 0;

    for (int i = 0; i < a->n; i++)
        for (int64_t k = 0; k < shape_count(a->items[i].t.s); k++)
            m = fmax(m, fabs((double)((const float *)a->items[i].t.v)[k]));
    return m;
}

static double difference(const trace_result *a, const trace_result *b)
{
    double worst = 0;

    ck_assert_int_eq(a->n, b->n);
    for (int i = 0; i < a->n; i++)
        for (int64_t k = 0; k < shape_count(a->items[i].t.s); k++)
            worst = fmax(worst, fabs((double)((const float *)a->items[i].t.v)[k] -
                                     (double)((const float *)b->items[i].t.v)[k]));
    return worst;
}

/* The same sums in another order, over 80 terms and three blocks: 80 * 3 * 2^-24 is below 2^-16; they do not all go
 * one way: a quarter of it. */
static void same(small *a, small *b)
{
    const trace_result x = small_trace(a, &plain), y = small_trace(b, &plain);

    ck_assert_msg(difference(&x, &y) < 0x1p-18 * largest(&x), "off by %g of %g", difference(&x, &y), largest(&x));
}

/* a [r, in], b [out, r] of one skill in S heads become those of a LoRA. */
START_TEST(one_skill_is_a_lora)
{
    static const char *const names[] = {"rank", "alpha", NULL};
    const poly_options       one = {.rank = 3, .alpha = 2, .tasks = 2, .skills = 1, .splits = 4};
    small                    s, other;

    open_poly(&s, &one);
    small_open(&other, 3);
    add(&other, peft_find("lora"), small_options(&other, peft_find("lora"), names, (const double[]){3, 2}));
    for (int k = 0; k < s.p->modules[0].n_sites; k++) {
        const site   *at = s.p->modules[0].at[k];
        const float  *a = values(&s, at->checkpoint, "poly_lora_A"), *b = values(&s, at->checkpoint, "poly_lora_B");
        float        *low = values(&other, at->checkpoint, "lora_A.weight");
        float        *high = values(&other, at->checkpoint, "lora_B.weight");
        const int64_t out = at->out / 4;
        for (int64_t i = 0; i < at->in; i++) /* heads lie one behind another: A is [in, r] */
            for (int64_t r = 0; r < 3; r++)
                low[r * at->in + i] = a[i * 3 + r];
        for (int64_t h = 0; h < 4; h++)
            for (int64_t r = 0; r < 3; r++)
                for (int64_t i = 0; i < out; i++)
                    high[(h * out + i) * 3 + r] = b[(h * 3 + r) * out + i];
    }
    same(&s, &other);
    small_close(&other);
    small_close(&s);
}
END_TEST

/* The skills of one head cut into four with the same logits. */
START_TEST(tied_heads_are_one)
{
    const poly_options one = {.rank = 3, .alpha = 1, .tasks = 2, .skills = 4, .splits = 1};
    small              s, other;

    open_poly(&s, &one);
    open_poly(&other, &four);
    for (int n = 0; n < s.p->modules[0].n_sites; n++) {
        const site   *at = s.p->modules[0].at[n];
        const char   *name = at->checkpoint;
        const float  *a = values(&s, name, "poly_lora_A"), *b = values(&s, name, "poly_lora_B");
        const float  *z = values(&s, name, "module_logits");
        float        *a4 = values(&other, name, "poly_lora_A"), *b4 = values(&other, name, "poly_lora_B");
        float        *z4 = values(&other, name, "module_logits");
        const int64_t in = at->in / 4, out = at->out / 4;
        for (int64_t h = 0; h < 4; h++)
            for (int64_t k = 0; k < 4; k++) {
                memcpy(a4 + (h * 4 + k) * in * 3, a + (k * 4 + h) * in * 3, (size_t)in * 3 * sizeof *a);
                for (int64_t r = 0; r < 3; r++)
                    memcpy(b4 + ((h * 4 + k) * 3 + r) * out, b + (k * 3 + r) * at->out + h * out,
                           (size_t)out * sizeof *b);
                for (int64_t t = 0; t < 2; t++)
                    z4[t * 16 + h * 4 + k] = z[t * 4 + k];
            }
    }
    same(&s, &other);
    small_close(&other);
    small_close(&s);
}
END_TEST

static void set_all(small *s, const char *end, float value)
{
    for (int i = 0; i < s->p->n_tuned; i++)
        if (text_ends(s->p->tensors[i].name, end))
            for (int64_t k = 0; k < shape_count(s->p->tensors[i].value.s); k++)
                ((float *)s->p->tensors[i].value.v)[k] = value;
}

START_TEST(zero_second_factors_change_nothing)
{
    small        s, bare;
    const char **names;

    open_poly(&s, &four);
    small_open(&bare, 3);
    set_all(&s, "poly_lora_B", 0);
    names = arena_take(&s.memory, (size_t)s.p->n_tuned, sizeof *names);
    for (int i = 0; i < s.p->n_tuned; i++)
        names[i] = s.p->tensors[i].name;
    const trace_result on = small_trace(&s, &plain), off = small_trace(&bare, &plain);
    ck_assert(difference(&on, &off) == 0);
    (void)small_trace(&s, &(trace_options){.gradients = names, .n_gradients = s.p->n_tuned});
    for (int i = 0; i < s.p->n_tuned; i++) {
        double sum = 0;
        for (int64_t k = 0; k < shape_count(s.p->tensors[i].grad.s); k++)
            sum += fabs((double)((const float *)s.p->tensors[i].grad.v)[k]);
        ck_assert_msg((sum > 0) == text_ends(names[i], "poly_lora_B"), "%s has a gradient of %g", names[i], sum);
    }
    small_close(&bare);
    small_close(&s);
}
END_TEST

/* The sum over the skills of p_k m[h,k], p the shares of head h. */
static double mixed(const poly_options *o, const float *z, const float *m, int64_t task, int64_t h, int64_t size,
                    int64_t i)
{
    double total = 0, sum = 0;

    for (int64_t k = 0; k < o->skills; k++) {
        const double p = 1 / (1 + exp(-(double)z[(task * o->splits + h) * o->skills + k]));
        total += p;
        sum += p * (double)m[(h * o->skills + k) * size + i];
    }
    return sum / (total + 1e-12);
}

/* A block of the merged change is the product of its heads' factors: rank r, however many skills. */
START_TEST(a_block_is_a_product_of_its_heads)
{
    small s;

    open_poly(&s, &four);
    s.p->task = 1;
    for (int n = 0; n < s.p->modules[0].n_sites; n++) {
        const site   *at = s.p->modules[0].at[n];
        const float  *a = values(&s, at->checkpoint, "poly_lora_A"), *b = values(&s, at->checkpoint, "poly_lora_B");
        const float  *z = values(&s, at->checkpoint, "module_logits");
        const int64_t in = at->in / 4, out = at->out / 4;
        float        *w = arena_take(&s.memory, (size_t)(at->in * at->out), sizeof *w);
        memset(w, 0, (size_t)(at->in * at->out) * sizeof *w);
        MUST(peft_merged(s.p, at, w, NULL));
        for (int64_t m = 0; m < at->out; m++)
            for (int64_t k = 0; k < at->in; k++) {
                double sum = 0;
                for (int64_t r = 0; r < 3; r++)
                    sum += mixed(&four, z, a, 1, k / in, in * 3, k % in * 3 + r) *
                           mixed(&four, z, b, 1, m / out, 3 * out, r * out + m % out) / 3;
                ck_assert(fabs(sum - (double)w[m * at->in + k]) < 1e-6);
            }
    }
    small_close(&s);
}
END_TEST

/* Skill k becomes the one at 3 - k. */
static void reverse(float *v, int64_t heads, int64_t size)
{
    for (int64_t h = 0; h < heads; h++)
        for (int64_t k = 0; k < 2; k++)
            for (int64_t i = 0; i < size; i++) {
                float *x = v + (h * 4 + k) * size + i, *y = v + (h * 4 + 3 - k) * size + i, t = *x;
                *x = *y;
                *y = t;
            }
}

START_TEST(the_order_of_skills_is_nothing_and_a_constant_something)
{
    small s, other;

    open_poly(&s, &four);
    open_poly(&other, &four);
    for (int n = 0; n < s.p->modules[0].n_sites; n++) {
        const site *at = s.p->modules[0].at[n];
        reverse(values(&other, at->checkpoint, "poly_lora_A"), 4, at->in / 4 * 3);
        reverse(values(&other, at->checkpoint, "poly_lora_B"), 4, at->out / 4 * 3);
        reverse(values(&other, at->checkpoint, "module_logits"), 2 * 4, 1);
    }
    same(&s, &other);
    for (int n = 0; n < s.p->modules[0].n_sites; n++)
        for (int i = 0; i < 2 * 16; i++)
            values(&other, s.p->modules[0].at[n]->checkpoint, "module_logits")[i] += 1;
    const trace_result x = small_trace(&s, &plain), y = small_trace(&other, &plain);
    ck_assert(difference(&x, &y) > 1e-3); /* sigmoids, not a softmax */
    small_close(&other);
    small_close(&s);
}
END_TEST

/* A packed sequence has what it has alone. */
START_TEST(rows_are_their_sequences_own)
{
    small        s;
    trace_result alone;

    open_poly(&s, &four);
    const trace_result packed = small_trace(&s, &plain);
    cJSON *one = cJSON_Parse("[{\"ids\": [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21], \"task\": 1}]");
    MUST(trace_run(&s.memory, &s.m, s.p, one, "one", &plain, &alone));
    cJSON_Delete(one);
    const trace_result second = {.items = packed.items + packed.n / 2, .n = packed.n / 2};
    ck_assert(difference(&alone, &second) < 0x1p-18 * largest(&alone));
    small_close(&s);
}
END_TEST

START_TEST(absent_tasks_have_no_gradient)
{
    const poly_options o = {.rank = 3, .alpha = 1, .tasks = 4, .skills = 4, .splits = 4};
    const char       **names;
    small              s;
    int                n = 0;

    open_poly(&s, &o);
    names = arena_take(&s.memory, (size_t)s.p->n_tuned, sizeof *names);
    for (int i = 0; i < s.p->n_tuned; i++)
        if (text_ends(s.p->tensors[i].name, "module_logits"))
            names[n++] = s.p->tensors[i].name;
    (void)small_trace(&s, &(trace_options){.gradients = names, .n_gradients = n});
    for (int i = 0; i < s.p->n_tuned; i++)
        for (int task = 0; task < 4 && text_ends(s.p->tensors[i].name, "module_logits"); task++) {
            double sum = 0;
            for (int k = 0; k < 16; k++)
                sum += fabs((double)((const float *)s.p->tensors[i].grad.v)[task * 16 + k]);
            ck_assert((sum > 0) == (task < 2));
        }
    small_close(&s);
}
END_TEST

/* Uniforms of one half are no noise: logits get ln 1/2 - ln 1/2. */
START_TEST(even_odds_are_no_noise)
{
    const poly_options noisy = {.rank = 3, .alpha = 1, .tasks = 2, .skills = 4, .splits = 4, .noise = true};
    float              zeros[2 * 16] = {0};
    int32_t            numbers[] = {0, 1};
    const tensor       noise = {.s = shape_2(2, 16), .type = TYPE_F32, .v = zeros};
    const tensor       rows = {.s = shape_1(2), .type = TYPE_I32, .v = numbers};
    small              s;

    open_poly(&s, &noisy);
    const trace_result without = small_trace(&s, &plain);
    for (int i = 0; i < s.p->modules[0].n_sites; i++)
        poly_give_noise(s.p, 0, i, &noise, &rows);
    const trace_result even = small_trace(&s, &plain);
    ck_assert(difference(&even, &without) == 0);
    zeros[3] = 1;
    const trace_result odd = small_trace(&s, &plain);
    ck_assert(difference(&odd, &without) > 1e-4);
    small_close(&s);
}
END_TEST

/* Logits of zero: every share is 1 / K. */
START_TEST(zero_logits_are_equal_shares)
{
    double       zeros[2 * 12] = {0};
    int32_t      numbers[] = {1, 0, 1};
    const tensor z = {.s = shape_2(2, 12), .type = TYPE_F64, .v = zeros};
    const tensor tasks = {.s = shape_1(3), .type = TYPE_I32, .v = numbers};
    arena        step;
    tape        *t;

    if (device_current())
        SKIP("f64 is the CPU's");
    MUST(arena_open(&step, "step", (size_t)1 << 20));
    MUST(tape_open(&t, TYPE_F64));
    var *w = ag_skill_weights(t, tape_tensor(t, &z), tape_input(t, &tasks), NULL, NULL, 6, 0);
    tape_keep(t, w);
    MUST(tape_plan(t, NULL, RECOMPUTE_NONE));
    MUST(tape_bind(t, &step));
    tape_forward(t);
    for (int i = 0; i < 3 * 12; i++)
        ck_assert(fabs(((const double *)w->t.v)[i] - 1 / 6.0) < 1e-12);
    tape_close(t);
    arena_close(&step);
}
END_TEST

/* ---- counts -------------------------------------------------------------------------------------- */

static int64_t count(int64_t in, int64_t out, int64_t rank, int64_t tasks, int64_t skills, int64_t splits)
{
    const poly_options o = {.rank = rank, .alpha = 1, .tasks = tasks, .skills = skills, .splits = splits};
    const site         s = {.kind = SITE_LINEAR, .in = in, .out = out};

    return peft_poly.count(&s, &o);
}

/* T5-XL: 24 blocks with 4 linears in attention and 3 in the mlp, 24 with 4 more. */
static int64_t t5(int64_t tasks, int64_t skills, int64_t splits)
{
    return 24 * (12 * count(2048, 2048, 1, tasks, skills, splits) + 4 * count(2048, 5120, 1, tasks, skills, splits) +
                 2 * count(5120, 2048, 1, tasks, skills, splits));
}

static int64_t llama8(int64_t tasks, int64_t skills, int64_t splits)
{
    return 32 * (2 * count(4096, 4096, 4, tasks, skills, splits) + 2 * count(4096, 1024, 4, tasks, skills, splits) +
                 2 * count(4096, 14336, 4, tasks, skills, splits) + count(14336, 4096, 4, tasks, skills, splits));
}

START_TEST(counts_are_the_papers)
{
    ck_assert_int_eq(t5(0, 1, 1), 2211840);
    ck_assert_int_eq(t5(0, 8, 1), 17694720);
    ck_assert_int_eq(t5(1, 8, 1) - t5(0, 8, 1), 3456);
    ck_assert_int_eq(t5(1, 8, 64) - t5(0, 8, 64), 221184);
    ck_assert_int_eq(t5(313, 8, 64) - t5(0, 8, 64), 69230592);
    ck_assert_int_eq(llama8(0, 8, 32), 83886080);
    ck_assert_int_eq(llama8(1, 8, 32) - llama8(0, 8, 32), 57344);
}
END_TEST

/* ---- finite differences -------------------------------------------------------------------------- */

enum { S = 6, K = 4, R = 3, SEQS = 3, T = 2, IN = 2 * S, OUT = S, X_SIZE = SEQS * T * IN, A_SIZE = S * K * 2 * R,
       B_SIZE = S * K * R, Z_SIZE = 2 * S * K, SIZE = X_SIZE + A_SIZE + B_SIZE + Z_SIZE };

typedef struct whole {
    double  v[SIZE], g[SIZE], dy[SEQS * T * OUT], y[SEQS * T * OUT];
    int32_t tasks[SEQS], offsets[SEQS + 1];
} whole;

/* y of x, A, B, Z in f64, two sequences of one task; g: their gradients, when wanted. */
static double run(whole *w, bool backward)
{
    const int64_t a[] = {S, K, 2, R}, b[] = {S, K, R, 1};
    const shape   shapes[] = {shape_2(SEQS * T, IN), shape_of(4, a), shape_of(4, b), shape_2(2, S * K)};
    const tensor  tasks = {.s = shape_1(SEQS), .type = TYPE_I32, .v = w->tasks};
    const tensor  offsets = {.s = shape_1(SEQS + 1), .type = TYPE_I32, .v = w->offsets};
    const tensor  dy = {.s = shape_2(SEQS * T, OUT), .type = TYPE_F64, .v = w->dy};
    const tensor  zero = {.s = dy.s, .type = TYPE_F64, .v = w->y};
    tensor        in[4], grad[4];
    var          *x[4];
    double        sum = 0;
    arena         step;
    tape         *t;

    MUST(arena_open(&step, "step", (size_t)1 << 24));
    MUST(tape_open(&t, TYPE_F64));
    for (int64_t i = 0, at = 0; i < 4; at += shape_count(shapes[i++])) {
        in[i] = (tensor){.s = shapes[i], .type = TYPE_F64, .v = w->v + at};
        grad[i] = (tensor){.s = shapes[i], .type = TYPE_F64, .v = w->g + at};
        x[i] = tape_param(t, &in[i], &grad[i]);
    }
    var *m = ag_skill_weights(t, x[3], tape_input(t, &tasks), NULL, NULL, K, 0);
    var *y = ag_lora_each(t, tape_tensor(t, &zero), x[0], ag_mix_skills(t, x[1], m, false),
                          ag_mix_skills(t, x[2], m, true), tape_input(t, &offsets), 0.5);
    tape_keep(t, y);
    tape_seed(t, y, &dy);
    MUST(tape_plan(t, NULL, RECOMPUTE_NONE));
    MUST(tape_bind(t, &step));
    tape_forward(t);
    if (backward)
        tape_backward(t);
    for (int i = 0; i < SEQS * T * OUT; i++)
        sum += ((const double *)y->t.v)[i] * w->dy[i];
    tape_close(t);
    arena_close(&step);
    return sum;
}

START_TEST(gradients_are_differences)
{
    static whole w = {.tasks = {1, 0, 1}, .offsets = {0, T, 2 * T, 3 * T}};

    if (device_current())
        SKIP("f64 is the CPU's");
    for (int i = 0; i < SIZE; i++)
        w.v[i] = sin(1.7 * i + 0.3);
    for (int i = 0; i < SEQS * T * OUT; i++)
        w.dy[i] = cos(2.9 * i);
    (void)run(&w, true);
    for (int i = 0; i < SIZE; i++) {
        const double v = w.v[i], h = 1e-4;
        w.v[i] = v + h;
        const double above = run(&w, false);
        w.v[i] = v - h;
        const double below = run(&w, false);
        w.v[i] = v;
        ck_assert_msg(fabs((above - below) / (2 * h) - w.g[i]) < 1e-6, "value %d: %g, must be %g", i, w.g[i],
                      (above - below) / (2 * h));
    }
}
END_TEST

TESTS(mhr, one_skill_is_a_lora, tied_heads_are_one, zero_second_factors_change_nothing,
      a_block_is_a_product_of_its_heads, the_order_of_skills_is_nothing_and_a_constant_something,
      rows_are_their_sequences_own, absent_tasks_have_no_gradient, even_odds_are_no_noise, zero_logits_are_equal_shares,
      counts_are_the_papers, gradients_are_differences)
