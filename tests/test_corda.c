/* corda: LoRAs that begin with directions that samples choose */
#include "tests/helpers.h"
#include "tests/with_trunk.h"

#include "core/file.h"
#include "core/linalg.h"
#include "peft/corda.h"
#include "recipes/prepare.h"

#include <math.h>

#define NEEDS_LAPACK()                                                                            \
    do {                                                                                          \
        if (!linalg_available())                                                                  \
            SKIP("this build has no LAPACK");                                                     \
    } while (0)

enum { CORDA = 4, IPM = 0, KPM = 1 };

/* ---- by hand: W = [[1, 2], [3, 4]] -------------------------------------------------------------------------- */

typedef struct by_hand {
    double left[4], values[2], right[4];
} by_hand;

/* C as the sum of one sample, so that its mean is it. */
static by_hand decompose(double c0, double c1)
{
    double     w[] = {1, 2, 3, 4};
    float      sum[] = {(float)c0, 0, 0, (float)c1};
    covariance c = {.in = 2, .samples = 1, .sum = sum};
    by_hand    x;
    arena      work;

    MUST(arena_open(&work, "work", 1 << 20));
    MUST(corda_decompose(&work, w, 2, 2, &c, x.left, x.values, x.right));
    arena_close(&work);
    return x;
}

static double part(const by_hand *x, int k, int o, int i)
{
    return x->left[o * 2 + k] * x->values[k] * x->right[k * 2 + i];
}

static void near(double got, double want)
{
    ck_assert_msg(fabs(got - want) < 1e-6, "%.7f, must be %.7f", got, want);
}

/* |B| and |A| of one direction with roots on both sides. */
static void norms(const by_hand *x, int k, double b, double a)
{
    near(sqrt(x->values[k]), b);
    near(sqrt(x->values[k]) * hypot(x->right[k * 2], x->right[k * 2 + 1]), a);
}

START_TEST(directions_are_those_of_the_paper)
{
    NEEDS_LAPACK();
    const by_hand x = decompose(2, 1); /* damped: 2.015, 1.015 */
    near(x.values[0], 7.805905);
    near(x.values[1], 0.524020);
    static const double first[] = {1.140401, 1.607433, 2.945644, 4.151982};
    for (int i = 0; i < 4; i++) {
        near(part(&x, 0, i / 2, i % 2), first[i]);
        near(part(&x, 1, i / 2, i % 2), i + 1 - first[i]);
    }
    norms(&x, 0, 2.793905, 1.953878);
    norms(&x, 1, 0.723892, 0.617596);
}
END_TEST

/* Inputs that are alike in all directions choose as pissa does; their size only moves weight from A to B. */
START_TEST(size_changes_the_balance_alone)
{
    static const double pissa[] = {1.273574, 1.807207, 2.878979, 4.085286};

    NEEDS_LAPACK();
    for (int size = 1; size < 4; size++) {
        const by_hand x = decompose(size, size);
        for (int i = 0; i < 4; i++)
            near(part(&x, 0, i / 2, i % 2), pissa[i]);
    }
    const by_hand small_one = decompose(2, 1), large = decompose(8, 4);
    for (int i = 0; i < 4; i++)
        near(part(&small_one, 0, i / 2, i % 2), part(&large, 0, i / 2, i % 2));
    norms(&large, 0, 5.587810, 0.976939);
}
END_TEST

/* A sample counts by its largest value, of whatever sign the others are; the mean is over samples. */
START_TEST(samples_count_by_their_largest_value)
{
    static const float one[] = {2, -4, 1, 0}, two[] = {-8, -1, -2, -4};
    covariance        *c;
    arena              a;

    MUST(arena_open(&a, "seen", 1 << 20));
    MUST(covariance_open(&a, 2, 2, &c));
    MUST(covariance_add(c, one, 2)); /* by 2: [1, -2], [0.5, 0] */
    near((double)c->sum[0], 1.25);
    near((double)c->sum[1], -2);
    near((double)c->sum[2], -2);
    near((double)c->sum[3], 4);
    MUST(covariance_add(c, two, 2)); /* by 1 */
    near((double)c->sum[0], 1.25 + 68);
    near((double)c->sum[1], -2 + 16);
    near((double)c->sum[3], 4 + 17);
    ck_assert_int_eq(c->samples, 2);
    static const float zero[] = {0, -1}, broken[] = {1, NAN}, wide[] = {INFINITY, 1};
    MUST_FAIL(covariance_add(c, zero, 1), "largest input of sample 2 is 0");
    MUST_FAIL(covariance_add(c, broken, 1), "an input of sample 2 is nan");
    MUST_FAIL(covariance_add(c, wide, 1), "largest input of sample 2 is inf");
    arena_close(&a);
}
END_TEST

/* ---- on a trunk ------------------------------------------------------------------------------------------------ */

static const int32_t       ids[] = {3, 90, 17, 44, 5, 66, 120, 9, 31, 2, 77, 8};
static const trace_options plain = {0};
static const char *const   names[] = {"init_lora_weights", "corda_method", "rank", "alpha", "corda_samples", NULL};

/* Three samples of unlike lengths. */
static examples three(example v[3])
{
    static const int32_t first[] = {0, 3, 8, 12};

    for (int i = 0; i < 3; i++)
        v[i] = (example){.n = first[i + 1] - first[i], .ids = ids + first[i], .label = -1, .batch = -1};
    return (examples){.n = 3, .v = v, .longest = 5};
}

static void open_start(small *s, const char *at, int method, int rank, double alpha)
{
    const double       values[] = {CORDA, method, rank, alpha, 256};
    const peft_method *lora = peft_find("lora");
    example            v[3];
    const examples     x = three(v);

    small_open(s, 7);
    MUST(peft_add(s->p, "main", lora, small_options(s, lora, names, values), &at, 1, true));
    ck_assert(peft_traits(lora, s->p->modules[0].options) & PEFT_SEES);
    MUST(prepare_module(s->p, 0, &x, &s->memory));
    MUST(peft_allocate(s->p, &s->tuned));
}

static double distance(const trace_result *a, const trace_result *b)
{
    double worst = 0;

    for (int i = 0; i < a->n; i++) {
        const float *x = a->items[i].t.v, *y = b->items[i].t.v;
        for (int64_t k = 0; k < shape_count(a->items[i].t.s); k++)
            worst = fmax(worst, fabs((double)x[k] - (double)y[k]));
    }
    return worst;
}

/* What is left of a site's weight without what the module trains. */
static float *left_over(small *s, const site *x)
{
    float *w = arena_copy(&s->memory, x->weight->value.v, (size_t)(x->in * x->out) * sizeof *w);

    memset(s->p->values, 0, (size_t)s->p->size * sizeof(float));
    MUST(peft_merged(s->p, x, w, NULL));
    return w;
}

/* A fresh module leaves the model as it is but for roundings, whatever alpha (the bound: tests/test_lora_start.c). */
START_TEST(a_fresh_start_changes_nothing)
{
    small bare;

    NEEDS_LAPACK();
    small_open(&bare, 7);
    const trace_result a = small_trace(&bare, &plain);
    for (int i = 0; i < 4; i++) {
        small s;
        open_start(&s, "all-linear", i % 2, 6, i < 2 ? 6 : 24);
        const trace_result b = small_trace(&s, &plain);
        ck_assert(distance(&a, &b) < 1.5e-4);
        left_over(&s, s.p->modules[0].at[0]);
        const trace_result without = small_trace(&s, &plain);
        ck_assert(distance(&a, &without) > 1e-3);
        small_close(&s);
    }
    small_close(&bare);
}
END_TEST

/* All directions leave nothing; the first r and the last n - r together are all. k is [24, 48]. */
START_TEST(the_directions_are_all_there)
{
    NEEDS_LAPACK();
    for (int method = IPM; method <= KPM; method++) {
        small s;
        open_start(&s, "k_proj", method, 24, 12);
        const site  *k = s.p->modules[0].at[1];
        const float *w = left_over(&s, k);
        for (int64_t i = 0; i < k->in * k->out; i++)
            ck_assert(fabs((double)w[i]) < 1e-5);
        small_close(&s);
    }
    small first, last;
    open_start(&first, "k_proj", IPM, 5, 5);
    open_start(&last, "k_proj", KPM, 19, 19);
    const site  *k = first.p->modules[0].at[1];
    const float *v = left_over(&first, k), *w = left_over(&last, last.p->modules[0].at[1]), *own = k->weight->value.v;
    for (int64_t i = 0; i < k->in * k->out; i++)
        ck_assert(fabs((double)v[i] + (double)w[i] - (double)own[i]) < 1e-5);
    small_close(&first);
    small_close(&last);
}
END_TEST

/* What is seen are the trunk's own values: q, k and v have the same, and other modules change nothing. */
START_TEST(the_bare_trunk_is_seen)
{
    const double rank = 4, alpha = 8;
    small        s, t;

    NEEDS_LAPACK();
    open_start(&s, "re:.*\\.(q_proj|k_proj|down_proj)", IPM, 4, 8);
    const double       values[] = {CORDA, IPM, rank, alpha, 256};
    const peft_method *lora = peft_find("lora"), *bias = peft_find("bitfit"), *prompt = peft_find("prompt");
    const char        *at = "re:.*\\.(q_proj|k_proj|down_proj)", *all = "*", *words = "embed_tokens";
    example            v[3];
    const examples     x = three(v);
    small_open(&t, 7);
    MUST(peft_add(t.p, "front", prompt, small_options(&t, prompt, NULL, NULL), &words, 1, true));
    MUST(peft_add(t.p, "main", lora, small_options(&t, lora, names, values), &at, 1, true));
    MUST(peft_add(t.p, "bias", bias, small_options(&t, bias, NULL, NULL), &all, 1, true));
    MUST(prepare_module(t.p, 1, &x, &t.memory));
    MUST(peft_allocate(t.p, &t.tuned));
    for (int i = 0; i < s.p->n_tuned; i++) {
        const tuned *a = &s.p->tensors[i], *b = NULL;
        for (int k = 0; k < t.p->n_tuned; k++)
            if (strcmp(t.p->tensors[k].name, a->name) == 0)
                b = &t.p->tensors[k];
        ck_assert_ptr_nonnull(b);
        ck_assert_mem_eq(a->value.v, b->value.v, tensor_bytes(&a->value));
    }
    small_close(&s);
    small_close(&t);
}
END_TEST

/* No more samples than were asked for; which, is spread evenly. */
START_TEST(so_many_samples_are_seen)
{
    const double       values[] = {CORDA, IPM, 4, 8, 1};
    const peft_method *lora = peft_find("lora");
    const char        *at = "q_proj";
    example            v[3];
    examples           x = three(v);
    small              s, t;

    NEEDS_LAPACK();
    for (int i = 0; i < 2; i++) {
        small *one = i ? &t : &s;
        small_open(one, 7);
        MUST(peft_add(one->p, "main", lora, small_options(one, lora, names, values), &at, 1, true));
        MUST(prepare_module(one->p, 0, &x, &one->memory));
        MUST(peft_allocate(one->p, &one->tuned));
        x.n = 1;
    }
    ck_assert_mem_eq(s.p->values, t.p->values, (size_t)s.p->size * sizeof(float));
    small_close(&s);
    small_close(&t);
}
END_TEST

START_TEST(without_samples_it_is_refused)
{
    const double       values[] = {CORDA, IPM, 4, 8, 1};
    const peft_method *lora = peft_find("lora");
    const char        *at = "q_proj";
    const examples     none = {0};
    small              s;

    NEEDS_LAPACK();
    small_open(&s, 7);
    MUST(peft_add(s.p, "main", lora, small_options(&s, lora, names, values), &at, 1, true));
    MUST_FAIL(prepare_module(s.p, 0, &none, &s.memory), "no sample that its start could see");
    MUST_FAIL(peft_allocate(s.p, &s.tuned), "which changes the trunk by what samples showed");
    small_close(&s);
}
END_TEST

/* A saved one is an ordinary LoRA of twice the rank; trained further it is what it was and sees nothing. */
START_TEST(a_saved_one_goes_on)
{
    const adapter_info info = {.base = "small"};
    char               folder[64];

    NEEDS_LAPACK();
    for (int trains = 0; trains < 2; trains++) {
        small s, t;
        open_start(&s, "q_proj", KPM, 6, 12);
        small_stir(&s, 5);
        test_folder(folder);
        MUST(adapter_save(s.p, 0, folder, &info));
        small_open(&t, 7);
        MUST(adapter_add(t.p, folder, "main", trains));
        ck_assert(!(peft_traits(t.p->modules[0].method, t.p->modules[0].options) & PEFT_SEES));
        MUST(peft_allocate(t.p, &t.tuned));
        MUST(adapter_load(t.p, 0, folder, &info));
        ck_assert_int_eq(t.p->tensors[0].value.s.d[0], trains ? 6 : 12);
        const trace_result a = small_trace(&s, &plain), b = small_trace(&t, &plain);
        ck_assert(distance(&a, &b) < 2e-4);
        MUST(folder_remove_tree(folder));
        small_close(&s);
        small_close(&t);
    }
}
END_TEST

TESTS(corda, directions_are_those_of_the_paper, size_changes_the_balance_alone, samples_count_by_their_largest_value,
      a_fresh_start_changes_nothing, the_directions_are_all_there, the_bare_trunk_is_seen, so_many_samples_are_seen,
      without_samples_it_is_refused, a_saved_one_goes_on)
