/* optimizers, schedules, clipping and averages against golden/optim (section 6 of golden/peft) */
#include "tests/check.h"

#include "core/file.h"
#include "core/json.h"
#include "core/safetensors.h"
#include "core/threads.h"
#include "optim/average.h"
#include "optim/clip.h"
#include "optim/optim.h"
#include "optim/schedule.h"
#include "optim/state.h"
#include "tests/helpers.h"

#include <math.h>

enum { VALUES = 15 + 3 + 24, STEPS = 25 };

static const optim_span golden_spans[] = {
    {.first = 0, .count = 15, .rows = 3, .columns = 5}, /* W */
    {.first = 15, .count = 3},                          /* b */
    {.first = 18, .count = 24, .rows = 2, .columns = 3} /* s: four matrices */
};
static const char *const golden_names[] = {"W", "b", "s"};

/* ---- reading golden files ---- */

static safetensors golden_open(arena *a, const char *name)
{
    safetensors g;

    MUST(safetensors_open(a, arena_printf(a, "%s/optim/%s", golden_folder(), name), &g));
    return g;
}

static void golden_values(const safetensors *g, const char *name, float *out, int64_t n)
{
    const safetensors_entry *e = safetensors_find(g, name);

    ck_assert_msg(e && e->t.type == TYPE_F32 && shape_count(e->t.s) == n,
                  "golden/optim must have %s as %lld f32 values", name, (long long)n);
    memcpy(out, e->v, e->bytes);
}

/* prefix.W, prefix.b, prefix.s into one flat buffer */
static void golden_flat(const safetensors *g, const char *prefix, float *out)
{
    for (size_t i = 0; i < COUNT_OF(golden_spans); i++) {
        char name[128];
        snprintf(name, sizeof name, "%s.%s", prefix, golden_names[i]);
        golden_values(g, name, out + golden_spans[i].first, golden_spans[i].count);
    }
}

/* ---- filling options from a key table ---- */

static key_texts preset_list(arena *a, const char *preset)
{
    static const char *v[4];
    char *text = arena_string(a, preset + 1, strlen(preset) - 2), *save = NULL;
    int n = 0;

    for (char *p = strtok_r(text, ", ", &save); p; p = strtok_r(NULL, ", ", &save))
        v[n++] = p;
    return (key_texts){n, arena_copy(a, v, sizeof v)};
}

static void set_preset(arena *a, const key *k, void *at)
{
    if (k->kind == KEY_REAL)
        *(double *)at = k->preset ? strtod(k->preset, NULL) : 0;
    else if (k->kind == KEY_BOOL)
        *(bool *)at = k->preset && strcmp(k->preset, "yes") == 0;
    else if (k->kind == KEY_TEXTS)
        *(key_texts *)at = preset_list(a, k->preset);
    else
        *(const char **)at = k->preset;
}

static void set_json(arena *a, const key *k, void *at, const cJSON *item)
{
    if (k->kind == KEY_REAL)
        *(double *)at = item->valuedouble;
    else if (k->kind == KEY_BOOL)
        *(bool *)at = cJSON_IsTrue(item);
    else if (k->kind == KEY_CHOICE)
        *(const char **)at = item->valuestring;
    else {
        const char *v[2];
        for (int i = 0; i < 2; i++)
            v[i] = arena_printf(a, "%.17g", cJSON_GetArrayItem(item, i)->valuedouble);
        *(key_texts *)at = (key_texts){2, arena_copy(a, v, sizeof v)};
    }
}

/* Presets, then what `json` (may be NULL) sets. `other` names keys of the reference that are not
 * options here. */
static void *make_options(arena *a, const key_table *t, const cJSON *json, const char *other)
{
    char *options = arena_take(a, 1, t->size);
    int used = 0;

    memset(options, 0, t->size);
    for (int i = 0; i < t->n; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, t->keys[i].name);
        used += item != NULL;
        if (item && !cJSON_IsNull(item))
            set_json(a, &t->keys[i], options + t->keys[i].offset, item);
        else
            set_preset(a, &t->keys[i], options + t->keys[i].offset);
    }
    if (cJSON_GetObjectItemCaseSensitive(json, other))
        used++;
    ck_assert_msg(!json || used == cJSON_GetArraySize(json), "%s: an option was not used", t->what);
    return options;
}

static const optimizer *optimizer_of(const cJSON *entry)
{
    static const char *const names[][2] = {
        {"AdamW", "adamw"},   {"Adam", "adam"},       {"SGD", "sgd"},
        {"Lion", "lion"},     {"RMSprop", "rmsprop"}, {"Adagrad", "adagrad"},
        {"Adamax", "adamax"}, {"NAdam", "nadam"},     {"RAdam", "radam"},
    };
    const char *class = cJSON_GetObjectItem(entry, "class")->valuestring;
    const char *from = cJSON_GetObjectItem(entry, "from")->valuestring;
    const char *name = strcmp(from, "torch.optim") == 0 ? "adafactor_torch" : "adafactor";
    const optimizer *found = NULL;

    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strcmp(names[i][0], class) == 0)
            name = names[i][1];
    MUST(optim_find(name, &found));
    return found;
}

/* A step rounds a value of at most 2 three times (decay, change, sum), and its change by some ten
 * roundings of at most lr (0.1 and below), which weighs less; the reference is rounded once. */
static double tolerance(int steps)
{
    return (3 * steps + 1) * 0x1p-24 * 2;
}

static double run_golden(arena *a, const cJSON *entry, const safetensors *problem,
                         const safetensors *wanted)
{
    const optimizer *kind = optimizer_of(entry);
    const bool plain = strcmp(kind->name, "adam") == 0 || strcmp(kind->name, "adamw") == 0;
    const void *options = make_options(a, kind->keys, cJSON_GetObjectItem(entry, "options"),
                                       plain ? "decoupled_weight_decay" : "");
    const optim_common *common = options;
    const optim_group group = {common->lr, common->weight_decay};
    optim o;
    float p[VALUES], g[VALUES], w[VALUES];
    double worst = 0;

    MUST(optim_open(&o, a, kind, options, golden_spans, 3));
    golden_flat(problem, "start", p);
    for (int t = 0; t < STEPS; t++) {
        golden_flat(problem, arena_printf(a, "grad.%d", t), g);
        for (int i = 0; i < VALUES; i++)
            g[i] *= 8; /* exact, undone by the scale */
        optim_step(&o, p, g, 0.125, &group, NULL);
        if (t != 0 && t != 1 && t != 2 && t != 9 && t != 24)
            continue;
        golden_flat(wanted, arena_printf(a, "%s.step%d", entry->string, t + 1), w);
        for (int i = 0; i < VALUES; i++) {
            const double off = fabs((double)p[i] - w[i]);
            ck_assert_msg(off <= tolerance(t + 1), "%s step %d value %d: %.9g, must be %.9g",
                          entry->string, t + 1, i, p[i], w[i]);
            worst = off > worst ? off : worst;
        }
    }
    return worst;
}

START_TEST(test_optimizers)
{
    if (!golden_folder())
        SKIP("no golden folder");
    arena a;
    MUST(arena_open(&a, "test", 1 << 26));
    safetensors problem = golden_open(&a, "problem.safetensors");
    safetensors wanted = golden_open(&a, "optimizers.safetensors");
    cJSON *index;
    const cJSON *entry;
    int n = 0;

    MUST(json_read(arena_printf(&a, "%s/optim/index.json", golden_folder()), &index));
    cJSON_ArrayForEach(entry, cJSON_GetObjectItem(index, "optimizers"))
    {
        const double worst = run_golden(&a, entry, &problem, &wanted);
        if (getenv("CAMBIUM_VERBOSE"))
            printf("%-26s %.2g\n", entry->string, worst);
        n++;
    }
    ck_assert_int_ge(n, 20);
    cJSON_Delete(index);
    safetensors_close(&problem);
    safetensors_close(&wanted);
    arena_close(&a);
}
END_TEST

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
        const void *options = make_options(&a, kind->keys, NULL, "");
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
        optim_common *options = make_options(&a, kind->keys, NULL, "");
        optim o;
        average v[2];
        h5_file f;

        for (int run = 0; run < 2; run++) {
            fill(p[run], VALUES, 1);
            MUST(optim_open(&o, &a, kind, options, golden_spans, 3));
            MUST(average_open(&v[run], &a, &averages, p[run], VALUES));
            for (uint32_t t = 0; t < 6; t++) {
                if (run == 1 && t == 3) {
                    MUST(h5_create(&f, path));
                    MUST(optim_state_put(&o, &f));
                    MUST(average_state_put(&v[1], &f));
                    MUST(h5_finish(&f));
                    MUST(optim_open(&o, &a, kind, options, golden_spans, 3));
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
    MUST_FAIL(optim_open(&o, &a, kind, make_options(&a, kind->keys, json, ""), golden_spans, 3),
              "adamw: betas[1] is '1', must be");
    cJSON_Delete(json);
    MUST(optim_find("sgd", &kind));
    json = cJSON_Parse("{\"nesterov\": true}");
    MUST_FAIL(optim_open(&o, &a, kind, make_options(&a, kind->keys, json, ""), golden_spans, 3),
              "sgd: nesterov needs momentum above 0");
    cJSON_Delete(json);
    MUST(optim_find("adafactor", &kind));
    json = cJSON_Parse("{\"lr\": 1}");
    MUST_FAIL(optim_open(&o, &a, kind, make_options(&a, kind->keys, json, ""), golden_spans, 3),
              "relative_step");
    cJSON_Delete(json);
    arena_close(&a);
}
END_TEST

/* ---- schedules ---- */

static void set_schedule(schedule_options *o, const cJSON *json)
{
    const struct {
        const char *name;
        double *to;
    } reals[] = {{"num_warmup_steps", &o->warmup},
                 {"num_cycles", &o->num_cycles},
                 {"min_lr", &o->min_lr},
                 {"min_lr_ratio", &o->min_lr_ratio},
                 {"lr_end", &o->lr_end},
                 {"power", &o->power},
                 {"timescale", &o->timescale},
                 {"num_stable_steps", &o->num_stable_steps},
                 {"num_decay_steps", &o->num_decay_steps}};
    const cJSON *item;

    cJSON_ArrayForEach(item, json)
    {
        bool known = strcmp(item->string, "num_training_steps") == 0;
        for (size_t i = 0; i < COUNT_OF(reals); i++)
            if (strcmp(reals[i].name, item->string) == 0) {
                *reals[i].to = item->valuedouble;
                known = true;
            }
        if (strcmp(item->string, "warmup_type") == 0 || strcmp(item->string, "decay_type") == 0) {
            *(item->string[0] == 'w' ? &o->warmup_type : &o->decay_type) = item->valuestring;
            known = true;
        }
        ck_assert_msg(known, "schedule option %s is not known", item->string);
    }
}

/* "cosine_cycles_1_5" -> "cosine": the longest name that it begins with */
static const char *schedule_of(const char *entry)
{
    static const char *const names[] = {"constant",   "constant_with_warmup", "linear",
                                        "cosine",     "cosine_with_restarts", "cosine_with_min_lr",
                                        "polynomial", "inverse_sqrt",         "wsd"};
    const char *best = "";

    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strncmp(entry, names[i], strlen(names[i])) == 0 && strlen(names[i]) > strlen(best))
            best = names[i];
    return best;
}

START_TEST(test_schedules)
{
    if (!golden_folder())
        SKIP("no golden folder");
    arena a;
    cJSON *index;
    const cJSON *entry;
    int n = 0;

    MUST(arena_open(&a, "test", 1 << 22));
    MUST(json_read(arena_printf(&a, "%s/optim/schedules.json", golden_folder()), &index));
    cJSON_ArrayForEach(entry, index)
    {
        const cJSON *given = cJSON_GetObjectItem(entry, "options");
        const cJSON *total = cJSON_GetObjectItem(given, "num_training_steps");
        const cJSON *lr = cJSON_GetObjectItem(entry, "lr");
        const double peak = cJSON_GetObjectItem(entry, "peak")->valuedouble;
        schedule_options *o = make_options(&a, &schedule_keys, NULL, "");
        schedule s;

        set_schedule(o, given);
        o->schedule = schedule_of(entry->string);
        MUST(schedule_open(&s, o, total ? total->valueint : 40, peak));
        for (int t = 0; t < cJSON_GetArraySize(lr); t++) {
            const double want = cJSON_GetArrayItem(lr, t)->valuedouble;
            /* both in double: a few roundings, and cos() of an angle rounded at 5 */
            ck_assert_msg(fabs(schedule_lr(&s, peak, t) - want) <= peak * 0x1p-49,
                          "%s (%s): lr[%d] is %.17g, must be %.17g", entry->string, o->schedule, t,
                          schedule_lr(&s, peak, t), want);
        }
        n++;
    }
    ck_assert_int_ge(n, 15);
    cJSON_Delete(index);
    arena_close(&a);
}
END_TEST

START_TEST(test_schedule_options)
{
    arena a;
    schedule s;

    MUST(arena_open(&a, "test", 1 << 20));
    schedule_options *o = make_options(&a, &schedule_keys, NULL, "");
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

static void clipped(const safetensors *problem, const safetensors *wanted, const char *name,
                    clip_options options)
{
    float g[VALUES], w[VALUES], total;
    double norm;
    char at[64];

    golden_flat(problem, "grad.0", g);
    for (int i = 0; i < VALUES; i++)
        g[i] *= 4;
    const double factor = clip_gradient(&options, g, VALUES, 0.25, &norm);
    snprintf(at, sizeof at, "clip.%s", name);
    golden_flat(wanted, at, w);
    for (int i = 0; i < VALUES; i++) /* the product and the reference are rounded once each */
        ck_assert_msg(fabs(factor * g[i] - w[i]) <= 0x1p-23 * fabs((double)w[i]),
                      "%s value %d: %.9g, must be %.9g", name, i, factor * g[i], w[i]);
    if (options.clip > 0) {
        snprintf(at, sizeof at, "clip.%s.total", name);
        golden_values(wanted, at, &total, 1);
        ck_assert_msg(fabs(norm - total) <= 0x1p-24 * norm, "%s: norm %.9g, must be %.9g", name,
                      norm, total);
    }
}

START_TEST(test_clip)
{
    if (!golden_folder())
        SKIP("no golden folder");
    arena a;
    MUST(arena_open(&a, "test", 1 << 24));
    safetensors problem = golden_open(&a, "problem.safetensors");
    safetensors wanted = golden_open(&a, "clip_average.safetensors");

    clipped(&problem, &wanted, "norm_1", (clip_options){.clip = 1});
    clipped(&problem, &wanted, "norm_0_1", (clip_options){.clip = 0.1});
    clipped(&problem, &wanted, "norm_inf", (clip_options){.clip = 0.05, .clip_norm = "inf"});
    clipped(&problem, &wanted, "value", (clip_options){.clip_value = 0.05});
    safetensors_close(&problem);
    safetensors_close(&wanted);
    arena_close(&a);
}
END_TEST

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

START_TEST(test_averages)
{
    if (!golden_folder())
        SKIP("no golden folder");
    arena a;
    MUST(arena_open(&a, "test", 1 << 24));
    safetensors problem = golden_open(&a, "problem.safetensors");
    safetensors wanted = golden_open(&a, "clip_average.safetensors");
    const char *const kinds[] = {"ema", "ema_warm", "ema_debiased", "swa"};
    average v[4];
    float p[VALUES], g[VALUES], w[VALUES], out[VALUES];

    golden_flat(&problem, "start", p);
    for (int k = 0; k < 4; k++)
        MUST(average_open(&v[k], &a, &(average_options){kinds[k], 0.9}, p, VALUES));
    for (int t = 0; t < STEPS; t++) {
        golden_flat(&problem, arena_printf(&a, "grad.%d", t), g);
        for (int i = 0; i < VALUES; i++)
            p[i] -= 0.3f * g[i];
        for (int k = 0; k < 4; k++) {
            average_update(&v[k], p);
            if (t != 0 && t != 1 && t != 9 && t != 24)
                continue;
            golden_flat(&wanted, arena_printf(&a, "average.%s.step%d", kinds[k], t + 1), w);
            average_read(&v[k], out);
            for (int i = 0; i < VALUES; i++)
                ck_assert_msg(fabs((double)out[i] - w[i]) <= tolerance(t + 1),
                              "%s step %d value %d: %.9g, must be %.9g", kinds[k], t + 1, i, out[i],
                              w[i]);
        }
    }
    MUST_FAIL(average_open(&v[0], &a, &(average_options){"mean", 0.9}, p, VALUES), "'mean', must");
    safetensors_close(&problem);
    safetensors_close(&wanted);
    arena_close(&a);
}
END_TEST

TESTS(optim, test_optimizers, test_threads_and_skips, test_state_resumes, test_refusals,
      test_schedules, test_schedule_options, test_clip, test_norms, test_averages)
