/* methods: what every row of peft/methods.def promises, read from its traits */
#include "tests/helpers.h"
#include "tests/with_trunk.h"

#include "core/file.h"
#include "core/linalg.h"
#include "core/rng.h"

#include <math.h>

static const trace_options plain = {0};

/* PEFT_CASE(method, sites, option, value): tests/peft_cases.def */
static const struct {
    const char *method, *at, *option;
    double      value;
} cases[] = {
#define PEFT_CASE(method, at, option, value) {#method, at, option, value},
#include "tests/peft_cases.def"
#undef PEFT_CASE
};
enum { CASES = sizeof cases / sizeof cases[0] };

static void open_case(small *s, int i)
{
    const char *names[2] = {cases[i].option, NULL};

    small_open(s, 7);
    small_add(s, cases[i].method, cases[i].at, names, &cases[i].value);
}

/* A row that a build without LAPACK refuses: lora with one of the starts that decompose a weight. */
static bool cannot_run(int i)
{
    return !linalg_available() && cases[i].option && strcmp(cases[i].option, "init_lora_weights") == 0 &&
           cases[i].value > 1;
}

/* Says by name what the other tests leave out. */
START_TEST(every_row_runs)
{
    char left_out[1024] = "";

    for (int i = 0; i < CASES; i++)
        if (cannot_run(i))
            snprintf(left_out + strlen(left_out), sizeof left_out - strlen(left_out), "; %s at %s with %s: %g",
                     cases[i].method, cases[i].at, cases[i].option, cases[i].value);
    if (left_out[0])
        SKIP("this build has no LAPACK for these rows%s", left_out);
}
END_TEST

static uint32_t traits_of(const small *s)
{
    return peft_traits(s->p->modules[0].method, s->p->modules[0].options);
}

static double largest_difference(const trace_result *a, const trace_result *b)
{
    double worst = 0;

    ck_assert_int_eq(a->n, b->n);
    for (int i = 0; i < a->n; i++) {
        const float  *x = a->items[i].t.v, *y = b->items[i].t.v;
        const int64_t n = shape_count(a->items[i].t.s);
        for (int64_t k = 0; k < n; k++)
            worst = fmax(worst, fabs((double)x[k] - y[k]));
    }
    return worst;
}

START_TEST(every_method_has_a_case)
{
    int                       n;
    const peft_method *const *all = peft_methods(&n);

    for (int i = 0; i < n; i++) {
        bool found = false;
        for (int k = 0; k < CASES; k++)
            found |= strcmp(cases[k].method, all[i]->name) == 0;
        ck_assert_msg(found, "%s has no row in tests/peft_cases.def", all[i]->name);
    }
}
END_TEST

START_TEST(identity_at_start_and_off_means_off)
{
    for (int i = 0; i < CASES; i++) {
        small s, bare;
        if (cannot_run(i))
            continue;
        open_case(&s, i);
        small_open(&bare, 7);
        const trace_result without = small_trace(&bare, &plain), fresh = small_trace(&s, &plain);
        if (traits_of(&s) & PEFT_IDENTITY_AT_START)
            ck_assert_msg(largest_difference(&without, &fresh) == 0, "%s is no identity at its start",
                          cases[i].method);
        small_stir(&s, 3);
        const trace_result on = small_trace(&s, &plain);
        ck_assert_msg(largest_difference(&without, &on) > 1e-3, "%s does nothing", cases[i].method);
        peft_detach(s.p);
        const trace_result off = small_trace(&s, &plain);
        ck_assert(largest_difference(&without, &off) == 0);
        peft_attach_again(s.p);
        const trace_result again = small_trace(&s, &plain);
        ck_assert(largest_difference(&on, &again) == 0);
        small_close(&s);
        small_close(&bare);
    }
}
END_TEST

START_TEST(merged_equals_unmerged)
{
    /* all-linear has square (q, o) and oblong (k, v, gate, up, down) weights */
    for (int i = 0; i < CASES; i++) {
        small s;
        if (cannot_run(i))
            continue;
        open_case(&s, i);
        if (!(traits_of(&s) & PEFT_MERGES) ||
            s.p->modules[0].at[0]->kind & (SITE_HEAD | SITE_EMBEDDING)) { /* tied: one changes the other */
            small_close(&s);
            continue;
        }
        small_stir(&s, 4);
        if (model_tasks(&s.m) > 0) {
            MUST_FAIL(peft_merged(s.p, s.p->modules[0].at[0], NULL, NULL), "say with --task");
            s.p->task = model_tasks(&s.m) - 1;
        }
        const trace_result unmerged = small_trace(&s, &plain);
        peft_detach(s.p);
        for (int k = 0; k < s.p->n_tuned; k++)
            if (s.p->tensors[k].place)
                s.p->tensors[k].place->value = *peft_stand_in(s.p, s.p->tensors[k].place->name);
        for (int k = 0; k < s.m.n_sites; k++)
            if (s.m.sites[k].kind == SITE_LINEAR || s.m.sites[k].kind == SITE_EMBEDDING)
                MUST(peft_merged(s.p, &s.m.sites[k], s.m.sites[k].weight->value.v,
                                 s.m.sites[k].bias ? s.m.sites[k].bias->value.v : NULL));
        const trace_result merged = small_trace(&s, &plain);
        /* two roundings of 2^-24 a weight, sums of 80, three blocks, logits of about 10: 10 * 80 *
         * 6e-8 * 3 = 1.4e-4 */
        const double worst = largest_difference(&unmerged, &merged);
        ck_assert_msg(worst < 1.5e-4, "%s: merged is off by %g", cases[i].method, worst);
        small_close(&s);
    }
}
END_TEST

START_TEST(count_equals_the_tensors)
{
    for (int i = 0; i < CASES; i++) {
        small   s;
        int64_t formula = 0, values = 0;
        if (cannot_run(i))
            continue;
        open_case(&s, i);
        const module *m = &s.p->modules[0];
        for (int k = 0; k < m->n_sites; k++)
            formula += m->method->count(m->at[k], m->options);
        if (m->method->count_beside)
            formula += m->method->count_beside(s.p, 0, m->options);
        for (int k = 0; k < s.p->n_tuned; k++)
            values += s.p->tensors[k].fixed ? 0 : shape_count(s.p->tensors[k].value.s);
        ck_assert_int_eq(formula, values);
        ck_assert_int_eq(values, s.p->trained);
        small_close(&s);
    }
}
END_TEST

START_TEST(saved_and_loaded_is_equal)
{
    for (int i = 0; i < CASES; i++) {
        small               s, t;
        char                folder[64];
        const adapter_info  info = {.base = "small", .fingerprint = "aa"};
        const adapter_info  other = {.base = "small", .fingerprint = "bb"};
        if (cannot_run(i) || !peft_find(cases[i].method)->read_config)
            continue;
        open_case(&s, i);
        small_stir(&s, 5);
        test_folder(folder);
        MUST(adapter_save(s.p, 0, folder, &info));
        small_open(&t, 7);
        MUST(adapter_add(t.p, folder, "main", true));
        MUST(peft_allocate(t.p, &t.tuned));
        MUST(adapter_load(t.p, 0, folder, &info));
        ck_assert_int_eq(s.p->size, t.p->size);
        ck_assert_mem_eq(s.p->values, t.p->values, (size_t)s.p->size * sizeof(float));
        ck_assert_int_eq(s.p->fixed_size, t.p->fixed_size);
        ck_assert_mem_eq(s.p->fixed_values, t.p->fixed_values, (size_t)s.p->fixed_size * sizeof(float));
        const trace_result a = small_trace(&s, &plain), b = small_trace(&t, &plain);
        ck_assert(largest_difference(&a, &b) == 0);
        MUST_FAIL(adapter_load(t.p, 0, folder, &other), "another base model");
        MUST(folder_remove_tree(folder));
        small_close(&s);
        small_close(&t);
    }
}
END_TEST

START_TEST(values_that_are_not_finite_are_not_saved)
{
    small              s;
    char               folder[64];
    const adapter_info info = {.base = "small"};

    open_case(&s, 0);
    test_folder(folder);
    ((float *)s.p->tensors[3].value.v)[1] = NAN;
    MUST_FAIL(adapter_save(s.p, 0, folder, &info), "must be finite");
    ck_assert_ptr_nonnull(strstr(status_text(), s.p->tensors[3].name));
    MUST(folder_remove_tree(folder));
    small_close(&s);
}
END_TEST

/* Places of an adapter file must lie in their matrix, in order. */
START_TEST(wrong_places_are_refused)
{
    static const char *const says[] = {"must be below 48 and 48", "must be below 48 and 48",
                                       "must come behind", "must come behind"};
    const adapter_info       info = {.base = "small"};
    char                     folder[64];
    small                    s;

    small_open(&s, 7);
    const char  *rank = "rank", *option[] = {rank, NULL};
    const double two = 2;
    small_add(&s, "shira", "q_proj", option, &two);
    test_folder(folder);
    int32_t      *v = s.p->tensors[1].value.v;
    const int64_t n = s.p->tensors[1].value.s.d[1];
    ck_assert_int_eq(s.p->tensors[1].value.type, TYPE_I32);
    for (int i = 0; i < 4; i++) {
        const int32_t row = v[1], column = v[n + 1];
        if (i < 2)
            v[1] = i ? 48 : -1;
        else {
            v[1] = i == 2 ? v[0] : v[2];
            v[n + 1] = i == 2 ? v[n] : v[n + 2];
        }
        MUST(adapter_save(s.p, 0, folder, &info));
        MUST_FAIL(adapter_load(s.p, 0, folder, &info), says[i]);
        v[1] = row;
        v[n + 1] = column;
    }
    MUST(adapter_save(s.p, 0, folder, &info));
    MUST(adapter_load(s.p, 0, folder, &info));
    MUST(folder_remove_tree(folder));
    small_close(&s);
}
END_TEST

START_TEST(wrong_targets_are_refused)
{
    small              s;
    const peft_method *lora = peft_find("lora");
    const char        *wrong[] = {"q_prjo", "block.9.attn.q", "re:nothing.*", "re:("};
    const char        *says[] = {"did you mean 'q_proj'?", "selects no site", "selects no site",
                                 "not a regular expression"};
    void              *options;

    small_open(&s, 1);
    options = small_options(&s, lora, NULL, NULL);
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%d", i);
        MUST_FAIL(peft_add(s.p, name, lora, options, &wrong[i], 1, true), says[i]);
    }
    small_close(&s);
}
END_TEST

START_TEST(rank_is_bounded_by_the_matrix)
{
    small        s;
    const char  *names[] = {"rank", NULL}, *at = "k_proj";
    const double rank = 25; /* k is [24, 48] */

    small_open(&s, 1);
    const peft_method *lora = peft_find("lora");
    MUST_FAIL(peft_add(s.p, "main", lora, small_options(&s, lora, names, &rank), &at, 1, true),
              "rank is 25, must be 1..24");
    ck_assert_ptr_nonnull(strstr(status_text(), "in block.0.attn.k"));
    small_close(&s);
}
END_TEST

/* The gradient of the mean loss with respect to tuned values against central differences of the loss. The
 * loss is summed in double over f32 logits (error about 1e-6); with h = 2^-8 the quotient is good to
 * 1e-6 / 2^-7 = 1.3e-4 plus the third derivative's h^2 / 6. */
START_TEST(gradients_agree_with_differences)
{
    for (int i = 0; i < CASES; i++) {
        small       s;
        const char *names[64];
        tuned      *trained[64];
        int         n = 0;
        if (cannot_run(i))
            continue;
        open_case(&s, i);
        if (traits_of(&s) & PEFT_HOLDS_GRADIENT) { /* what it is instead, golden numbers say */
            small_close(&s);
            continue;
        }
        small_stir(&s, 6);
        for (int k = 0; k < s.p->n_tuned && n < 64; k++)
            if (!s.p->tensors[k].fixed) {
                trained[n] = &s.p->tensors[k];
                names[n++] = s.p->tensors[k].name;
            }
        const trace_options with = {.gradients = names, .n_gradients = n};
        const trace_result  r = small_trace(&s, &with);
        for (int k = 0; k < n; k++) {
            const tuned  *x = trained[k];
            const float  *g = r.items[r.n - n + k].t.v;
            const int64_t at = (int64_t)(rng_philox(rng_key_for(1, "at"), (uint32_t)k, 0, 0, 0).r[0] %
                                         (uint64_t)shape_count(x->value.s));
            float *v = (float *)x->value.v + at, was = *v;
            *v = was + 0x1p-8f;
            const double up = small_trace(&s, &plain).loss;
            *v = was - 0x1p-8f;
            const double down = small_trace(&s, &plain).loss;
            *v = was;
            const double want = (up - down) / 0x1p-7;
            ck_assert_msg(fabs(g[at] - want) < 5e-4 + 2e-2 * fabs(want), "%s[%lld]: %g, must be %g",
                          x->name, (long long)at, (double)g[at], want);
        }
        small_close(&s);
    }
}
END_TEST

/* Writes an adapter_config.json with these fields and reads it. */
static status read_fields_of(small *s, const char *type, const char *fields, const char *const **sites,
                             int *n)
{
    char               folder[64];
    const peft_method *method;
    void              *options;

    test_folder(folder);
    const char *text = arena_printf(&s->memory, "{\"peft_type\": \"%s\", \"r\": 4, %s}", type, fields);
    MUST(file_replace(arena_printf(&s->memory, "%s/adapter_config.json", folder), text, strlen(text)));
    const status read = adapter_read_config(&s->memory, folder, &s->m, &method, &options, sites, n);
    MUST(folder_remove_tree(folder));
    return read;
}

static status read_fields(small *s, const char *fields, const char *const **sites, int *n)
{
    return read_fields_of(s, "LORA", fields, sites, n);
}

/* What PEFT itself selects: a whole name passes over layers_to_transform. */
START_TEST(targets_are_read_as_peft_does)
{
    static const char layers[] = "\"target_modules\": [\"q_proj\", \"lm_head\"], \"layers_to_transform\": 1";
    small              s;
    const char *const *sites;
    int                n;

    small_open(&s, 1);
    MUST(read_fields(&s, layers, &sites, &n));
    ck_assert_int_eq(n, 2);
    ck_assert_str_eq(sites[0], "model.layers.1.self_attn.q_proj");
    ck_assert_str_eq(sites[1], "lm_head");
    MUST(read_fields(&s, "\"target_modules\": \".*q_proj\", \"fan_in_fan_out\": true", &sites, &n));
    ck_assert_int_eq(n, 3);
    MUST(read_fields(&s, "\"target_modules\": \".*(q_proj|embed_tokens)\"", &sites, &n));
    ck_assert_int_eq(n, 4);
    MUST_FAIL(read_fields_of(&s, "VERA", "\"target_modules\": \".*(q_proj|embed_tokens)\"", &sites, &n),
              "selects model.embed_tokens, where the method cannot sit");
    MUST_FAIL(read_fields(&s, "\"init_lora_weights\": \"MiCA\"", &sites, &n), "changes the trunk");
    small_close(&s);
}
END_TEST

TESTS(methods, every_method_has_a_case, every_row_runs, identity_at_start_and_off_means_off, merged_equals_unmerged,
      count_equals_the_tensors, saved_and_loaded_is_equal, values_that_are_not_finite_are_not_saved,
      targets_are_read_as_peft_does, wrong_targets_are_refused, wrong_places_are_refused,
      rank_is_bounded_by_the_matrix, gradients_agree_with_differences)
