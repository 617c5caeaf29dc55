/* optimizers, schedules, clipping and averages: what no golden case shows (those are tests/with_golden_optim.c) */
#include "tests/check.h"

#include "core/file.h"
#include "core/json.h"
#include "core/threads.h"
#include "optim/average.h"
#include "optim/clip.h"
#include "optim/optim.h"
#include "optim/schedule.h"
#include "optim/state.h"
#include "tests/helpers.h"
#include "tests/with_options.h"

#include <math.h>

enum { VALUES = 15 + 3 + 24 };

static const optim_span spans[] = {
    {.first = 0, .count = 15, .rows = 3, .columns = 5}, /* W */
    {.first = 15, .count = 3},                          /* b */
    {.first = 18, .count = 24, .rows = 2, .columns = 3} /* s: four matrices */
};

static void *make_options(arena *a, const key_table *t, const cJSON *json)
{
    void *options;

    MUST(options_from_json(a, t, json, NULL, &options));
    return options;
}

/* ---- the pass itself ---- */

enum { BIG = 3 * OPTIM_PIECE + 77 };

static void fill(float *v, int64_t n, uint32_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        v[i] = (float)(seed >> 8) * 0x1p-23f - 1;
    }
}

START_TEST(test_threads_and_skips)
{
    const optim_span spans[] = {
        {.first = 0, .count = BIG - 5000, .group = 0},
        {.first = BIG - 5000, .count = 4000, .group = 1, .rows = 40, .columns = 100},
        {.first = BIG - 1000, .count = 1000, .group = 0}};
    arena a;
    MUST(arena_open(&a, "test", 1 << 28));
    float *p[2], *g = arena_take(&a, BIG, sizeof *g);

    for (int row = 0; optim_row(row); row++) {
        const optimizer *kind = optim_row(row);
        const void *options = make_options(&a, kind->keys, NULL);
        const size_t mark = arena_mark(&a);

        for (int run = 0; run < 2; run++) {
            optim o;
            threads_set(run ? 5 : 1);
            p[run] = arena_take(&a, BIG, sizeof *g);
            fill(p[run], BIG, 1);
            MUST(optim_open(&o, &a, kind, options, spans, 3));
            ck_assert_int_eq(optim_state_bytes(kind, options, spans, 3),
                             3 * 8 + 4 * (o.slot[0].count + o.slot[1].count + o.slot[2].count));
            for (uint32_t t = 0; t < 3; t++) {
                const optim_group groups[] = {{1e-2, 0.1}, {2e-2, 0}};
                const uint8_t skip[] = {0, t == 1, 1};
                fill(g, BIG, 7 + t);
                optim_step(&o, p[run], g, 0.5, groups, skip);
            }
            ck_assert_int_eq(o.steps[0], 3);
            ck_assert_int_eq(o.steps[1], 2);
            ck_assert_int_eq(o.steps[2], 0);
        }
        ck_assert_msg(memcmp(p[0], p[1], BIG * sizeof *g) == 0, "%s: threads change the result",
                      kind->name);
        fill(g, BIG, 1);
        ck_assert_msg(memcmp(p[0] + BIG - 1000, g + BIG - 1000, 1000 * sizeof *g) == 0,
                      "%s: a skipped tensor moved", kind->name);
        for (int i = 0; i < BIG - 5000; i += 501)
            ck_assert_msg(p[0][i] != g[i] && isfinite(p[0][i]), "%s: value %d is %g", kind->name, i,
                          p[0][i]);
        arena_rewind(&a, mark);
    }
    threads_set(0);
    arena_close(&a);
}
END_TEST

/* Six steps, and three, saved, loaded into a new optimizer, and three: the same bits. */
START_TEST(test_state_resumes)
{
    const optim_group group = {1e-2, 0.1};
    char folder[64], path[128];
    float p[2][VALUES], g[VALUES];
    arena a;

    MUST(arena_open(&a, "test", 1 << 24));
    snprintf(path, sizeof path, "%s/state.h5", test_folder(folder));
    for (int row = 0; optim_row(row); row++) {
        const optimizer *kind = optim_row(row);
        const average_options averages = {"ema_debiased", 0.9};
        optim_common *options = make_options(&a, kind->keys, NULL);
        optim o;
        average v[2];
        h5_file f;

        for (int run = 0; run < 2; run++) {
            fill(p[run], VALUES, 1);
            MUST(optim_open(&o, &a, kind, options, spans, 3));
            MUST(average_open(&v[run], &a, &averages, p[run], VALUES));
            for (uint32_t t = 0; t < 6; t++) {
                if (run == 1 && t == 3) {
                    MUST(h5_create(&f, path));
                    MUST(optim_state_put(&o, &f));
                    MUST(average_state_put(&v[1], &f));
                    MUST(h5_finish(&f));
                    MUST(optim_open(&o, &a, kind, options, spans, 3));
                    MUST(average_open(&v[1], &a, &averages, g, VALUES));
                    MUST(h5_open(&f, path));
                    MUST(optim_state_get(&o, &f));
                    MUST(average_state_get(&v[1], &f));
                    h5_close(&f);
                }
                fill(g, VALUES, 7 + t);
                optim_step(&o, p[run], g, 0.5, &group, NULL);
                average_update(&v[run], p[run]);
            }
        }
        ck_assert_msg(memcmp(p[0], p[1], sizeof p[0]) == 0, "%s: resumed differs", kind->name);
        ck_assert(memcmp(v[0].v, v[1].v, sizeof p[0]) == 0 && v[1].updates == 6);
        MUST(h5_create(&f, path));
        if (o.n_slots) {
            o.slot[0].v[o.slot[0].count - 1] = NAN;
            MUST_FAIL(optim_state_put(&o, &f), "of tensor 2 is nan, must be finite");
        }
        MUST(h5_finish(&f));
        MUST(h5_open(&f, path));
        MUST_FAIL(optim_state_get(&o, &f), "has no attribute optim.name");
        h5_close(&f);
    }
    MUST(folder_remove_tree(folder));
    arena_close(&a);
}
END_TEST

START_TEST(test_refusals)
{
    arena a;
    optim o;
    const optimizer *kind;

    MUST(arena_open(&a, "test", 1 << 20));
    MUST_FAIL(optim_find("adamv", &kind), "name is 'adamv', must be one of adamw");
    MUST(optim_find("adamw", &kind));
    cJSON *json = cJSON_Parse("{\"betas\": [0.9, 1.0]}");
    MUST_FAIL(optim_open(&o, &a, kind, make_options(&a, kind->keys, json), spans, 3),
              "adamw: betas[1] is '1', must be");
    cJSON_Delete(json);
    MUST(optim_find("sgd", &kind));
    json = cJSON_Parse("{\"nesterov\": true}");
    MUST_FAIL(optim_open(&o, &a, kind, make_options(&a, kind->keys, json), spans, 3),
              "sgd: nesterov needs momentum above 0");
    cJSON_Delete(json);
    MUST(optim_find("adafactor", &kind));
    json = cJSON_Parse("{\"lr\": 1}");
    MUST_FAIL(optim_open(&o, &a, kind, make_options(&a, kind->keys, json), spans, 3),
              "relative_step");
    cJSON_Delete(json);
    arena_close(&a);
}
END_TEST

/* ---- schedules ---- */

START_TEST(test_schedule_options)
{
    arena a;
    schedule s;

    MUST(arena_open(&a, "test", 1 << 20));
    schedule_options *o = make_options(&a, &schedule_keys, NULL);
    ck_assert(schedule_steps(0.05, 32) == 2 && schedule_steps(0.07, 100) == 7);
    ck_assert(schedule_steps(1, 100) == 1 && schedule_steps(0, 100) == 0);
    ck_assert(schedule_steps(0.001, 100) == 1);
    o->schedule = "cosine";
    o->warmup = 0.1;
    MUST(schedule_open(&s, o, 20, 1));
    ck_assert(schedule_lr(&s, 1, 0) == 0 && schedule_lr(&s, 1, 1) == 0.5);
    ck_assert(schedule_lr(&s, 1, 2) == 1 && schedule_lr(&s, 0, 5) == 0);
    o->power = 2;
    MUST_FAIL(schedule_open(&s, o, 20, 1), "power is set, but the schedule cosine");
    o->power = 0;
    o->schedule = "cosinus";
    MUST_FAIL(schedule_open(&s, o, 20, 1), "schedule is 'cosinus', must be one of constant|");
    o->schedule = "wsd";
    o->num_decay_steps = 19;
    MUST_FAIL(schedule_open(&s, o, 20, 1), "wsd has 2 steps of warm-up and 19 of decay");
    o->num_decay_steps = 0;
    MUST(schedule_open(&s, o, 20, 1));
    ck_assert(s.stable == 16 && s.decay == 2);
    o->schedule = "polynomial";
    o->lr_end = 1;
    MUST_FAIL(schedule_open(&s, o, 20, 1), "must be below lr = 1");
    arena_close(&a);
}
END_TEST

/* ---- clipping and averages ---- */

START_TEST(test_norms)
{
    arena a;
    MUST(arena_open(&a, "test", 1 << 24));
    const int64_t sizes[] = {0, 1, 7, OPTIM_PIECE, OPTIM_PIECE + 1, BIG};
    float *g = arena_take(&a, BIG, sizeof *g);

    fill(g, BIG, 3);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        long double sum = 0, most = 0;
        for (int64_t j = 0; j < sizes[i]; j++) {
            sum += (long double)g[j] * g[j];
            most = fabsl((long double)g[j]) > most ? fabsl((long double)g[j]) : most;
        }
        threads_set(1);
        const double one = clip_norm2(g, sizes[i], 3);
        threads_set(4);
        ck_assert(one == clip_norm2(g, sizes[i], 3));
        /* at most (16384 / 8 + log2 pieces) additions in a row, half of it under the root */
        ck_assert(fabs(one - 3 * (double)sqrtl(sum)) <= 1100 * 0x1p-53 * one);
        ck_assert(clip_norm_max(g, sizes[i], -3) == 3 * (double)most);
    }
    threads_set(0);
    g[OPTIM_PIECE + 9] = NAN;
    ck_assert(isnan(clip_norm2(g, BIG, 1)) && isnan(clip_norm_max(g, BIG, 1)));
    ck_assert(isnan(clip_factor(NAN, 1)) && clip_factor(NAN, 0) == 1);
    g[OPTIM_PIECE + 9] = INFINITY;
    ck_assert(isinf(clip_norm2(g, BIG, 1)) && isinf(clip_norm_max(g, BIG, 1)));
    ck_assert(clip_factor(0, 1) == 1 && clip_factor(0.5, 1) == 1 && clip_factor(7, 0) == 1);
    ck_assert(clip_factor(4, 1) == 1 / (4 + 1e-6));
    arena_close(&a);
}
END_TEST

START_TEST(test_average_names)
{
    const float p[2] = {1, 2};
    average v;
    arena a;

    MUST(arena_open(&a, "test", 1 << 20));
    MUST_FAIL(average_open(&v, &a, &(average_options){"mean", 0.9}, p, 2), "'mean', must");
    arena_close(&a);
}
END_TEST

TESTS(optim, test_threads_and_skips, test_state_resumes, test_refusals, test_schedule_options,
      test_norms, test_average_names)
