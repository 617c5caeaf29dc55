/* metrics: every figure and every interval against the numbers of the reference implementations in
 * tests/golden/metrics, which bench/peers/make_metrics_golden.py writes */
#include "tests/check.h"

#include "core/json.h"
#include "recipes/metrics.h"

#include <math.h>

/* A figure is a few sums of at most a thousand products of doubles and some functions of them: 1000 * 2^-53 =
 * 1.1e-13 of the largest term, ten times that for what comes behind. Figures far below 1 are differences of
 * terms around 1. */
#define TOLERANCE 1e-12

enum { METRICS_MAX = 64, TAGS_MAX = 32 };

static arena a;

static void open_arena(void)
{
    MUST(arena_open(&a, "test", (size_t)1 << 28));
}

/* ---- reading cases ------------------------------------------------------------------------------------- */

typedef struct golden_case {
    const char    *name; /* in messages */
    metric_input   input;
    metric_options o;
    const cJSON   *samples; /* [predicted, true] */
} golden_case;

static int option(const cJSON *c, const char *name)
{
    const cJSON *o = cJSON_GetObjectItem(cJSON_GetObjectItem(c, "options"), name);

    return o ? o->valueint : 0;
}

static golden_case read_case(const char *file, const cJSON *c, metric_input input)
{
    static const char *tags[TAGS_MAX];
    const cJSON *options = cJSON_GetObjectItem(c, "options"), *tag;
    golden_case out = {.input = input, .samples = cJSON_GetObjectItem(c, "samples")};

    out.o = (metric_options){.classes = option(c, "classes"), .k = option(c, "k"), .bins = option(c, "bins"),
                             .tags = tags};
    out.o.scheme = cJSON_GetStringValue(cJSON_GetObjectItem(options, "scheme"));

    cJSON_ArrayForEach(tag, cJSON_GetObjectItem(options, "tags"))
        tags[out.o.n_tags++] = tag->valuestring;
    out.name = arena_printf(&a, "%s: %s", file, cJSON_GetObjectItem(c, "name")->valuestring);
    ck_assert_ptr_nonnull(out.samples);
    return out;
}

static double *doubles(const cJSON *list, int *n)
{
    double      *v = arena_take(&a, (size_t)cJSON_GetArraySize(list), sizeof *v);
    const cJSON *x;

    *n = 0;
    cJSON_ArrayForEach(x, list)
        v[(*n)++] = x->valuedouble;
    return v;
}

static metric_text text_of(const cJSON *x)
{
    return (metric_text){x->valuestring, strlen(x->valuestring)};
}

static status add_text(metric_tally *t, const cJSON *predicted, const cJSON *truths)
{
    metric_text  v[8];
    int          n = 0;
    const cJSON *x;

    cJSON_ArrayForEach(x, truths)
        v[n++] = text_of(x);
    return metric_add_text(t, text_of(predicted), v, n);
}

/* A sample of the files: [predicted, true]. */
static status add_sample(metric_tally *t, metric_input input, const cJSON *sample)
{
    const cJSON *x = cJSON_GetArrayItem(sample, 0), *y = cJSON_GetArrayItem(sample, 1);
    double      *p = NULL, *q = NULL;
    int          n = 0, m = 0;

    if (input == METRIC_TEXTS)
        return add_text(t, x, y);
    if (cJSON_IsArray(x))
        p = doubles(x, &n);
    if (cJSON_IsArray(y))
        q = doubles(y, &m);
    uint8_t *bits = arena_take(&a, 2 * (size_t)n, 1);
    int32_t *ids = arena_take(&a, 2 * (size_t)n, sizeof *ids);
    for (int i = 0; p && q && i < n; i++) {
        bits[i] = p[i] != 0;
        bits[n + i] = q[i] != 0;
        ids[i] = (int32_t)p[i];
        ids[n + i] = (int32_t)q[i];
    }
    switch (input) {
    case METRIC_CLASSES:
        return metric_add_class(t, x->valueint, y->valueint);
    case METRIC_LABELS:
        return metric_add_labels(t, bits, bits + n);
    case METRIC_SCORES:
        return metric_add_scores(t, p, y->valueint);
    case METRIC_VALUES:
        return metric_add_value(t, x->valuedouble, y->valuedouble);
    case METRIC_TAGS:
        return metric_add_tags(t, ids, ids + n, n);
    default:
        return metric_add_loss(t, x->valuedouble, y->valuedouble);
    }
}

/* The tally of sample `only`, or of all when that is negative. */
static metric_tally tally_of(const golden_case *c, const char *metric, int only)
{
    const int    n = cJSON_GetArraySize(c->samples);
    metric_tally t;

    MUST(metric_open(&t, &a, metric, c->input, &c->o, n));
    for (int i = 0; i < n; i++)
        if (only < 0 || i == only)
            MUST(add_sample(&t, c->input, cJSON_GetArrayItem(c->samples, i)));
    return t;
}

/* ---- comparing ----------------------------------------------------------------------------------------- */

static int compared[METRICS_MAX];

static int index_of(const char *metric)
{
    int i = 0;

    while (metric_name(i) && strcmp(metric_name(i), metric) != 0)
        i++;
    ck_assert_msg(metric_name(i) != NULL && i < METRICS_MAX, "there is no metric %s", metric);
    return i;
}

static void compare(const golden_case *c, const char *metric, const char *what, double got, const cJSON *want)
{
    if (cJSON_IsNull(want)) {
        ck_assert_msg(isnan(got), "%s: %s%s is %.17g, must be NaN", c->name, metric, what, got);
        return;
    }
    ck_assert(cJSON_IsNumber(want));
    ck_assert_msg(fabs(got - want->valuedouble) <= TOLERANCE * fmax(1, fabs(want->valuedouble)),
                  "%s: %s%s is %.17g, must be %.17g", c->name, metric, what, got, want->valuedouble);
}

static void compare_figures(const golden_case *c, const cJSON *wants, int only)
{
    const cJSON *want;
    char         what[32] = "";
    double       got;

    if (only >= 0)
        snprintf(what, sizeof what, " of sample %d", only);
    cJSON_ArrayForEach(want, wants) {
        const size_t       mark = arena_mark(&a);
        const metric_tally t = tally_of(c, want->string, only);
        MUST(metric_figure(&t, &got));
        compare(c, want->string, what, got, want);
        compared[index_of(want->string)]++;
        arena_rewind(&a, mark);
    }
}

static void compare_intervals(const golden_case *c, const cJSON *file, const cJSON *wants)
{
    const double seed = cJSON_GetObjectItem(file, "seed")->valuedouble;
    const int    resamples = cJSON_GetObjectItem(file, "resamples")->valueint;
    const double level = cJSON_GetObjectItem(file, "level")->valuedouble;
    const cJSON *want;

    cJSON_ArrayForEach(want, wants) {
        const metric_tally t = tally_of(c, want->string, -1);
        metric_interval    got;
        MUST(metric_bootstrap(&t, (uint64_t)seed, resamples, level, &got));
        compare(c, want->string, "'s low end", got.lo, cJSON_GetArrayItem(want, 0));
        compare(c, want->string, "'s high end", got.hi, cJSON_GetArrayItem(want, 1));
        ck_assert_int_eq(got.undefined, cJSON_GetArrayItem(want, 2)->valueint);
    }
}

static cJSON *read_file(const char *name)
{
    cJSON *file;

    MUST(json_read(arena_printf(&a, SOURCE_FOLDER "/tests/golden/metrics/%s.json", name), &file));
    return file;
}

static void compare_file(const char *name, metric_input input)
{
    cJSON       *file = read_file(name);
    const cJSON *item, *one;

    cJSON_ArrayForEach(item, cJSON_GetObjectItem(file, "cases")) {
        const golden_case c = read_case(name, item, input);
        int               i = 0;
        compare_figures(&c, cJSON_GetObjectItem(item, "want"), -1);
        cJSON_ArrayForEach(one, cJSON_GetObjectItem(item, "each"))
            compare_figures(&c, one, i++);
        compare_intervals(&c, file, cJSON_GetObjectItem(item, "intervals"));
    }
    cJSON_Delete(file);
}

START_TEST(test_golden)
{
    open_arena();
    compare_file("classes", METRIC_CLASSES);
    compare_file("labels", METRIC_LABELS);
    compare_file("scores", METRIC_SCORES);
    compare_file("values", METRIC_VALUES);
    compare_file("losses", METRIC_LOSSES);
    compare_file("tags", METRIC_TAGS);
    compare_file("texts", METRIC_TEXTS);
    for (int i = 0; metric_name(i); i++)
        ck_assert_msg(compared[i] > 1, "%s was compared with %d numbers", metric_name(i), compared[i]);
    arena_close(&a);
}
END_TEST

START_TEST(test_seeds)
{
    open_arena();
    cJSON       *file = read_file("seeds");
    const cJSON *item;
    int          n, lists = 0;

    cJSON_ArrayForEach(item, cJSON_GetObjectItem(file, "cases")) {
        const golden_case c = {.name = "seeds"};
        double            mean, deviation;
        const double     *v = doubles(cJSON_GetObjectItem(item, "figures"), &n);
        metric_over_seeds(v, n, &mean, &deviation);
        compare(&c, "mean", "", mean, cJSON_GetObjectItem(item, "mean"));
        compare(&c, "deviation", "", deviation, cJSON_GetObjectItem(item, "deviation"));
        lists++;
    }
    ck_assert_int_gt(lists, 3);
    cJSON_Delete(file);
    arena_close(&a);
}
END_TEST

/* ---- what has no reference ----------------------------------------------------------------------------- */

START_TEST(test_bootstrap_is_of_the_seed)
{
    metric_tally    t;
    metric_interval one, again, other, narrow;

    open_arena();
    MUST(metric_open(&t, &a, "mae", METRIC_VALUES, NULL, 50));
    for (int i = 0; i < 50; i++)
        MUST(metric_add_value(&t, i * i % 17, i * 3 % 11));
    MUST(metric_bootstrap(&t, 1, 500, 0.95, &one));
    MUST(metric_bootstrap(&t, 1, 500, 0.95, &again));
    MUST(metric_bootstrap(&t, 2, 500, 0.95, &other));
    MUST(metric_bootstrap(&t, 1, 500, 0.5, &narrow));
    ck_assert(one.lo == again.lo && one.hi == again.hi);
    ck_assert(one.lo != other.lo && one.hi != other.hi);
    ck_assert(one.lo < narrow.lo && narrow.lo < narrow.hi && narrow.hi < one.hi);
    arena_close(&a);
}
END_TEST

/* 400 times 40 samples: the interval of 90 % holds the true mean in about 90 % of them. The count has a
 * standard deviation of 6 around 360, and percentile intervals of 40 samples are up to 2 % (8) too narrow:
 * 360 - 8 - 5 * 6. */
START_TEST(test_interval_covers)
{
    int hits = 0;

    open_arena();
    for (uint32_t k = 0; k < 400; k++) {
        const size_t    mark = arena_mark(&a);
        metric_tally    t;
        metric_interval i;
        uint32_t        state = k * 7919 + 1;
        MUST(metric_open(&t, &a, "mae", METRIC_VALUES, NULL, 40));
        for (int n = 0; n < 40; n++) {
            state = state * 1664525u + 1013904223u;
            MUST(metric_add_value(&t, (double)(state >> 8) * 0x1p-24, 0)); /* uniform: the mean is 1/2 */
        }
        MUST(metric_bootstrap(&t, k, 200, 0.9, &i));
        hits += i.lo <= 0.5 && 0.5 <= i.hi;
        arena_rewind(&a, mark);
    }
    ck_assert_msg(hits >= 322 && hits <= 390, "the intervals hold the mean %d times of 400", hits);
    arena_close(&a);
}
END_TEST

START_TEST(test_undefined)
{
    metric_tally    t;
    metric_interval i;
    double          figure;

    open_arena();
    for (int k = 0; metric_name(k); k++) {
        const char  *tags[] = {"O", "B-X"};
        const int    input = (int)(metric_inputs(k) & -metric_inputs(k)); /* the first that it takes */
        MUST(metric_open(&t, &a, metric_name(k), (metric_input)input,
                         &(metric_options){.classes = 2, .k = 1, .tags = tags, .n_tags = 2}, 0));
        MUST(metric_figure(&t, &figure));
        ck_assert_msg(isnan(figure), "%s of no samples is %g", metric_name(k), figure);
        MUST(metric_bootstrap(&t, 0, 3, 0.9, &i));
        ck_assert(isnan(i.lo) && isnan(i.hi) && i.undefined == 3);
    }
    arena_close(&a);
}
END_TEST

/* Bytes that are no UTF-8 are U+FFFD, and a NUL is a character. */
START_TEST(test_bad_bytes)
{
    static const char *const metrics[] = {"exact_match",   "token_f1", "rouge_l",
                                          "bleu_sentence", "chrf",     "chrf_plus"};
    const metric_text x = {"ab\xFF\xC3 c\0d \xE2\x82", 10};
    double       figure;

    open_arena();
    for (size_t k = 0; k < COUNT_OF(metrics); k++) {
        metric_tally t;
        MUST(metric_open(&t, &a, metrics[k], METRIC_TEXTS, NULL, 2));
        MUST(metric_add_text(&t, x, &x, 1));
        MUST(metric_figure(&t, &figure));
        ck_assert_msg(fabs(figure - (figure > 2 ? 100 : 1)) < 1e-9, "%s of itself is %g", metrics[k], figure);
        MUST(metric_add_text(&t, x, &(metric_text){"ab", 2}, 1));
        double both;
        MUST(metric_figure(&t, &both));
        ck_assert_msg(both < figure, "%s", metrics[k]);
    }
    arena_close(&a);
}
END_TEST

START_TEST(test_refused)
{
    metric_tally         t;
    const char          *good[] = {"O", "B-X", "I-X"}, *unknown[] = {"O", "X-Y"}, *joined[] = {"O", "BX"};
    const char          *other[] = {"O", "E-X"};
    const metric_options three = {.classes = 3, .k = 4};

    open_arena();
    MUST_FAIL(metric_open(&t, &a, "rogue_l", METRIC_TEXTS, NULL, 1),
              "there is no metric 'rogue_l'; did you mean 'rouge_l'?");
    MUST_FAIL(metric_open(&t, &a, "bleu", METRIC_CLASSES, &three, 1), "bleu is not a metric of classes");
    MUST_FAIL(metric_open(&t, &a, "accuracy", METRIC_CLASSES, NULL, 1),
              "accuracy: classes is 0, must be at least 1");
    MUST_FAIL(metric_open(&t, &a, "f1", METRIC_CLASSES, &three, 1),
              "f1 is for two classes, and there are 3: take f1_macro, f1_micro or f1_weighted");
    MUST_FAIL(metric_open(&t, &a, "top_k", METRIC_SCORES, &three, 1), "top_k: k is 4, must be 1..3");
    MUST_FAIL(metric_open(&t, &a, "ece", METRIC_SCORES, &(metric_options){.classes = 2, .bins = -1}, 1),
              "ece: bins is -1, must be at least 1");
    MUST_FAIL(metric_open(&t, &a, "span_f1", METRIC_TAGS, NULL, 1), "span_f1 needs the names of the tags");
    MUST_FAIL(metric_open(&t, &a, "span_f1", METRIC_TAGS, &(metric_options){.tags = unknown, .n_tags = 2}, 1),
              "tag 1 is 'X-Y', must be O, or one of the letters BIES and then -TYPE");
    MUST_FAIL(metric_open(&t, &a, "span_f1", METRIC_TAGS, &(metric_options){.tags = joined, .n_tags = 2}, 1),
              "tag 1 is 'BX'");
    MUST_FAIL(metric_open(&t, &a, "span_f1", METRIC_TAGS,
                          &(metric_options){.tags = other, .n_tags = 2, .scheme = "iob2"}, 1),
              "tag 1 is 'E-X', must be O, or one of the letters BI");
    MUST_FAIL(metric_open(&t, &a, "span_f1", METRIC_TAGS,
                          &(metric_options){.tags = good, .n_tags = 3, .scheme = "bio"}, 1),
              "the scheme of tags is 'bio', must be iob1, iob2 or iobes");

    MUST(metric_open(&t, &a, "f1_macro", METRIC_CLASSES, &three, 1));
    MUST_FAIL(metric_add_class(&t, 3, 0), "the predicted class is 3, must be 0..2");
    MUST_FAIL(metric_add_class(&t, 0, -1), "the true class is -1, must be 0..2");
    MUST(metric_open(&t, &a, "span_f1", METRIC_TAGS, &(metric_options){.tags = good, .n_tags = 3}, 1));
    MUST_FAIL(metric_add_tags(&t, (int32_t[]){0, 1}, (int32_t[]){0, 3}, 2), "tag 1 is 3, must be 0..2");
    MUST(metric_open(&t, &a, "ece", METRIC_SCORES, &three, 1));
    MUST_FAIL(metric_add_scores(&t, (double[]){0.5, 1.5, 0}, 0),
              "the probability of class 1 is 1.5, must be in 0..1");
    MUST_FAIL(metric_add_scores(&t, (double[]){0.5, NAN, 0}, 0), "the score of class 1 is not a number");
    MUST(metric_open(&t, &a, "mse", METRIC_VALUES, NULL, 1));
    MUST_FAIL(metric_add_value(&t, INFINITY, 0), "is not finite");
    arena_close(&a);
}
END_TEST

TESTS(metrics, test_golden, test_seeds, test_bootstrap_is_of_the_seed, test_interval_covers, test_undefined,
      test_bad_bytes, test_refused)
