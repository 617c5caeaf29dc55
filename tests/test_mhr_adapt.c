/* test_mhr_adapt: new tasks from the skills of a trained module: all, the mixture, the mean, copies under equal
 * weights; and folders that do not fit */
#include "tests/helpers.h"
#include "tests/with_trajectory.h"
#include "tests/with_trunk.h"

#include "core/file.h"
#include "core/text.h"
#include "peft/poly.h"

#include <math.h>

enum { RANK = 3, SKILLS = 4, HEADS = 2 };

static const trace_options plain = {0};
static const poly_options  trained = {.rank = RANK, .alpha = 2, .tasks = 3, .skills = SKILLS, .splits = HEADS};

/* ---- helpers ------------------------------------------------------------------------------------- */

static status open_module(small *s, const poly_options *o, const char *at)
{
    TRY(peft_add(s->p, "main", &peft_poly, o, &at, 1, true));
    return peft_allocate(s->p, &s->tuned);
}

/* A folder with a module of random skills, on the trunk that small_open makes. */
static void make_inventory(char folder[64], uint64_t seed)
{
    small s;

    test_folder(folder);
    small_open(&s, seed);
    MUST(open_module(&s, &trained, "all-linear"));
    small_stir(&s, 4);
    char hex[65];
    MUST(weights_fingerprint(&s.w, hex));
    MUST(adapter_save(s.p, 0, folder, &(adapter_info){.fingerprint = hex}));
    small_close(&s);
}

static poly_options adapt(const char *folder, const char *how)
{
    return (poly_options){.rank = RANK, .alpha = 2, .tasks = 1, .skills = SKILLS, .splits = HEADS,
                          .inventory = folder, .adapt = how};
}

static void open_adapted(small *s, poly_options *o, const char *folder, const char *how)
{
    *o = adapt(folder, how);
    small_open(s, 3);
    MUST(open_module(s, o, "all-linear"));
}

static const tuned *find(const small *s, const site *at, const char *end)
{
    for (int i = 0; i < s->p->n_tuned; i++)
        if (strstr(s->p->tensors[i].name, at->checkpoint) && text_ends(s->p->tensors[i].name, end))
            return &s->p->tensors[i];
    ck_abort_msg("no tensor %s %s", at->checkpoint, end);
    return NULL;
}

/* The mean over the skills of the value for input i and rank r. */
static double mean_a(const site *at, const float *v, int64_t i, int64_t r)
{
    const int64_t in = at->in / HEADS;
    double        sum = 0;

    for (int64_t k = 0; k < SKILLS; k++)
        sum += (double)v[((i / in * SKILLS + k) * in + i % in) * RANK + r];
    return sum / SKILLS;
}

static double difference(const trace_result *a, const trace_result *b, double *largest)
{
    double worst = 0;

    ck_assert_int_eq(a->n, b->n);
    *largest = 0;
    for (int i = 0; i < a->n; i++)
        for (int64_t k = 0; k < shape_count(a->items[i].t.s); k++) {
            const float x = ((const float *)a->items[i].t.v)[k], y = ((const float *)b->items[i].t.v)[k];
            worst = fmax(worst, fabs((double)x - (double)y));
            *largest = fmax(*largest, fabs((double)x));
        }
    return worst;
}

/* Some steps on two samples of task 0. */
static void train(small *s, const char *hyper)
{
    static const int32_t ids[2][9] = {{1, 5, 9, 100, 7, 3, 127, 4, 6}, {11, 12, 13, 14, 15, 16, 17, 18, 19}};
    example              e[2];
    examples             x = {.n = 2, .v = e, .n_tokens = 18, .longest = 9, .batched = true};
    trajectory           t = {.a = &s->memory, .tuned = &s->tuned, .m = &s->m, .p = s->p, .x = &x, .micro = 1};
    cJSON               *json = cJSON_Parse(hyper);

    for (int i = 0; i < 2; i++)
        e[i] = (example){.n = 9, .ids = ids[i], .labels = ids[i], .label = -1, .batch = 0};
    MUST(trajectory_options(&s->memory, json, "hyper", &t.o));
    MUST(trajectory_run(&t));
    cJSON_Delete(json);
}

/* ---- what is taken, and what is trained ---------------------------------------------------------- */

/* Skills as they were saved, a fresh mixture of one row. */
START_TEST(skills_come_from_the_folder)
{
    static const char *const ways[] = {"mhr", "mhr_z", "mhr_mu_k_copies"};
    char                     folder[64];
    small                    from, s;
    poly_options             o;

    make_inventory(folder, 3);
    small_open(&from, 3);
    MUST(adapter_add(from.p, folder, "from", false));
    MUST(peft_allocate(from.p, &from.tuned));
    MUST(adapter_load(from.p, 0, folder, NULL));
    for (size_t w = 0; w < COUNT_OF(ways); w++) {
        open_adapted(&s, &o, folder, ways[w]);
        for (int i = 0; i < s.p->modules[0].n_sites; i++) {
            const site *at = s.p->modules[0].at[i];
            for (int b = 0; b < 2; b++) {
                const char  *end = b ? "poly_lora_B" : "poly_lora_A";
                const tuned *x = find(&s, at, end), *y = find(&from, at, end);
                ck_assert(memcmp(x->value.v, y->value.v, tensor_bytes(&x->value)) == 0);
                ck_assert(x->fixed == (w == 1));
            }
            const tuned *z = find(&s, at, "module_logits");
            ck_assert(z->fixed == (w == 2));
            ck_assert_int_eq(z->value.s.d[0], 1);
            for (int64_t k = 0; k < shape_count(z->value.s); k++)
                ck_assert(fabs((double)((const float *)z->value.v)[k]) <= (w == 2 ? 0 : 1e-3));
        }
        small_close(&s);
    }
    small_close(&from);
    MUST(folder_remove_tree(folder));
}
END_TEST

/* Equal weights: the mean of the A and that of the B, which is not the mean of the products. */
START_TEST(equal_weights_are_the_mean_adapter)
{
    char         folder[64];
    small        mean, copies, products;
    poly_options o, p;
    double       largest;

    make_inventory(folder, 3);
    open_adapted(&mean, &o, folder, "mhr_mu");
    open_adapted(&copies, &p, folder, "mhr_mu_k_copies");
    const trace_result one = small_trace(&mean, &plain), all = small_trace(&copies, &plain);
    /* 80 terms in another order and three blocks, a quarter of 80 * 3 * 2^-24 */
    const double off = difference(&one, &all, &largest);
    ck_assert_msg(off < 0x1p-18 * largest, "off by %g of %g", off, largest);

    small_open(&products, 3);
    for (int n = 0; n < copies.p->modules[0].n_sites; n++) {
        const site  *at = copies.p->modules[0].at[n];
        const float *a = find(&copies, at, "poly_lora_A")->value.v, *b = find(&copies, at, "poly_lora_B")->value.v;
        float       *w = products.m.sites[at - copies.m.sites].weight->value.v;
        const int64_t in = at->in / HEADS, out = at->out / HEADS;
        for (int64_t m = 0; m < at->out; m++)
            for (int64_t i = 0; i < at->in; i++)
                for (int64_t k = 0; k < SKILLS; k++)
                    for (int64_t r = 0; r < RANK; r++) {
                        const float low = a[((i / in * SKILLS + k) * in + i % in) * RANK + r];
                        const float high = b[((m / out * SKILLS + k) * RANK + r) * out + m % out];
                        w[m * at->in + i] += 2.0f / RANK / SKILLS * low * high;
                    }
    }
    const trace_result other = small_trace(&products, &plain);
    ck_assert(difference(&one, &other, &largest) > 1e-2);
    small_close(&products);
    small_close(&copies);
    small_close(&mean);
    MUST(folder_remove_tree(folder));
}
END_TEST

START_TEST(the_mixture_is_trained_alone)
{
    char         folder[64];
    small        s;
    poly_options o;

    make_inventory(folder, 3);
    open_adapted(&s, &o, folder, "mhr_z");
    float *was = arena_copy(&s.memory, s.p->fixed_values, (size_t)s.p->fixed_size * sizeof *was);
    float *z = arena_copy(&s.memory, s.p->values, (size_t)s.p->size * sizeof *z);
    train(&s, "{\"lr\": 0.1, \"schedule\": \"constant\", \"warmup\": 0, \"steps\": 3}");
    ck_assert(memcmp(was, s.p->fixed_values, (size_t)s.p->fixed_size * sizeof *was) == 0);
    for (int i = 0; i < s.p->n_tuned; i++) {
        const tuned *x = &s.p->tensors[i];
        if (!x->fixed)
            ck_assert(memcmp(x->value.v, z + x->first, tensor_bytes(&x->value)) != 0);
    }
    ck_assert_int_eq(s.p->trained, s.p->modules[0].n_sites * HEADS * SKILLS);
    small_close(&s);
    MUST(folder_remove_tree(folder));
}
END_TEST

/* Plain descent moves the mean of K copies by 1 / K of what it moves the mean itself, all copies alike. */
START_TEST(copies_descend_slower_by_their_number)
{
    static const char hyper[] = "{\"name\": \"sgd\", \"lr\": 0.5, \"schedule\": \"constant\", \"warmup\": 0, "
                                "\"steps\": 1}";
    char              folder[64];
    small             mean, copies, before;
    poly_options      o, p, q;
    double            moved = 0;

    make_inventory(folder, 3);
    open_adapted(&before, &q, folder, "mhr_mu_k_copies");
    open_adapted(&mean, &o, folder, "mhr_mu");
    open_adapted(&copies, &p, folder, "mhr_mu_k_copies");
    train(&mean, hyper);
    train(&copies, hyper);
    for (int n = 0; n < mean.p->modules[0].n_sites; n++) {
        const site  *at = mean.p->modules[0].at[n];
        const float *a = find(&mean, at, "lora_A.weight")->value.v, *c = find(&copies, at, "poly_lora_A")->value.v;
        const float *was = find(&before, at, "poly_lora_A")->value.v;
        const int64_t skill = at->in / HEADS * RANK;
        for (int64_t i = 0; i < at->in; i++)
            for (int64_t r = 0; r < RANK; r++) {
                const double start = mean_a(at, was, i, r), step = (double)a[r * at->in + i] - start;
                ck_assert(fabs(mean_a(at, c, i, r) - start - step / SKILLS) < 1e-6);
                moved = fmax(moved, fabs(step));
            }
        for (int64_t i = 0; i < skill; i++) /* copies 0 and 1 of head 0 */
            ck_assert(fabs((double)(c[i] - c[skill + i]) - (double)(was[i] - was[skill + i])) < 2e-7);
    }
    ck_assert(moved > 1e-3);
    small_close(&copies);
    small_close(&mean);
    small_close(&before);
    MUST(folder_remove_tree(folder));
}
END_TEST

/* Adam makes equal steps of a gradient and of 1 / K of it. */
START_TEST(copies_go_the_means_way_under_adam)
{
    static const char hyper[] = "{\"lr\": 0.005, \"eps\": 1e-12, \"schedule\": \"constant\", \"warmup\": 0, "
                                "\"steps\": 4}";
    char              folder[64];
    small             mean, copies;
    poly_options      o, p;

    make_inventory(folder, 3);
    open_adapted(&mean, &o, folder, "mhr_mu");
    open_adapted(&copies, &p, folder, "mhr_mu_k_copies");
    train(&mean, hyper);
    train(&copies, hyper);
    for (int n = 0; n < mean.p->modules[0].n_sites; n++) {
        const site  *at = mean.p->modules[0].at[n];
        const float *a = find(&mean, at, "lora_A.weight")->value.v, *c = find(&copies, at, "poly_lora_A")->value.v;
        for (int64_t i = 0; i < at->in; i++)
            for (int64_t r = 0; r < RANK; r++) {
                const double is = mean_a(at, c, i, r), must = (double)a[r * at->in + i];
                ck_assert_msg(fabs(is - must) < 1e-4, "%s: %g, must be %g", at->name, is, must);
            }
    }
    small_close(&copies);
    small_close(&mean);
    MUST(folder_remove_tree(folder));
}
END_TEST

/* ---- files --------------------------------------------------------------------------------------- */

/* The mean is saved as a LoRA with that alpha, which any number of tasks may use. */
START_TEST(a_mean_is_saved_as_a_lora)
{
    char         folder[64], out[64];
    small        s, again;
    poly_options o;
    double       largest;

    make_inventory(folder, 3);
    test_folder(out);
    open_adapted(&s, &o, folder, "mhr_mu");
    ck_assert_int_eq(model_tasks(&s.m), 0);
    MUST(adapter_save(s.p, 0, out, &(adapter_info){0}));
    small_open(&again, 3);
    MUST(adapter_add(again.p, out, "main", true));
    ck_assert_str_eq(again.p->modules[0].method->name, "lora");
    MUST(peft_allocate(again.p, &again.tuned));
    MUST(adapter_load(again.p, 0, out, NULL));
    const trace_result x = small_trace(&s, &plain), y = small_trace(&again, &plain);
    ck_assert(difference(&x, &y, &largest) == 0);
    small_close(&again);
    small_close(&s);
    MUST(folder_remove_tree(out));
    MUST(folder_remove_tree(folder));
}
END_TEST

/* A folder remembers that there was no noise, for those who train it further; PEFT's own have some. */
START_TEST(noise_is_remembered)
{
    for (int noise = 0; noise < 2; noise++)
        for (int trains = 0; trains < 2; trains++) {
            poly_options o = trained;
            char         folder[64];
            small        s, again;
            o.noise = noise;
            test_folder(folder);
            small_open(&s, 3);
            MUST(open_module(&s, &o, "q_proj"));
            MUST(adapter_save(s.p, 0, folder, &(adapter_info){0}));
            small_open(&again, 3);
            MUST(adapter_add(again.p, folder, "main", trains));
            const poly_options *got = again.p->modules[0].options;
            ck_assert(got->noise == (noise || !trains));
            small_close(&again);
            small_close(&s);
            MUST(folder_remove_tree(folder));
        }
}
END_TEST

/* PEFT's poly has no alpha: another one is of a type that PEFT refuses. */
START_TEST(another_alpha_is_another_type)
{
    char   folder[64];
    cJSON *config;

    make_inventory(folder, 3);
    char path[128];
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    MUST(json_read(path, &config));
    ck_assert_str_eq(cJSON_GetObjectItem(config, "poly_type")->valuestring, "poly_alpha");
    ck_assert(cJSON_GetObjectItem(config, "alpha")->valuedouble == 2);
    cJSON_Delete(config);
    ck_assert(!(peft_traits(&peft_poly, &trained) & PEFT_FILE));
    MUST(folder_remove_tree(folder));
}
END_TEST

static void refused(const poly_options *o, const char *at, const char *why)
{
    small s;

    small_open(&s, 3);
    MUST_FAIL(open_module(&s, o, at), why);
    small_close(&s);
}

START_TEST(what_does_not_fit_is_refused)
{
    char         folder[64], other[64];
    poly_options o;

    make_inventory(folder, 3);
    o = adapt(NULL, "mhr_z");
    refused(&o, "all-linear", "adapt is mhr_z, which needs an inventory");
    o = adapt("/nowhere", "mhr");
    refused(&o, "all-linear", "/nowhere");
    o = adapt(folder, "mhr");
    o.rank = 2;
    refused(&o, "all-linear", "rank is 2, must be 3 as in the inventory");
    o = adapt(folder, "mhr_mu");
    o.splits = 1;
    refused(&o, "all-linear", "splits is 1, must be 2 as in the inventory");
    o.splits = HEADS;
    o.alpha = 1;
    refused(&o, "all-linear", "alpha is 1, must be 2 as in the inventory");
    o = adapt(folder, "mhr_z");
    refused(&o, "q_proj", "has skills at 21 sites, `at` selects 3; must be the same");
    make_inventory(other, 5);
    o = adapt(other, "mhr");
    refused(&o, "all-linear", "was trained on another base model");
    MUST(folder_remove_tree(other));
    MUST(folder_remove_tree(folder));
}
END_TEST

START_TEST(another_method_is_no_inventory)
{
    char         folder[64];
    small        s;
    poly_options o = adapt(folder, "mhr");

    test_folder(folder);
    small_open(&s, 3);
    small_add(&s, "lora", "all-linear", NULL, NULL);
    MUST(adapter_save(s.p, 0, folder, &(adapter_info){0}));
    small_close(&s);
    refused(&o, "all-linear", "is a LORA adapter, must be a POLY one");
    MUST(folder_remove_tree(folder));
}
END_TEST

/* U(-b, b): no value is above the bound, and the largest of many is near it. */
START_TEST(the_papers_start_has_its_bound)
{
    poly_options o = {.rank = 8, .alpha = 1, .tasks = 1, .skills = 4, .splits = 4};

    for (int paper = 0; paper < 2; paper++) {
        small  s;
        double most = 0;
        o.init = paper ? "mhr" : "peft";
        small_open(&s, 3);
        MUST(open_module(&s, &o, "q_proj"));
        const tuned *a = find(&s, s.p->modules[0].at[0], "poly_lora_A");
        for (int64_t i = 0; i < shape_count(a->value.s); i++)
            most = fmax(most, fabs((double)((const float *)a->value.v)[i]));
        const double bound = paper ? 1 / sqrt(3 * 48.0) : 1 / sqrt(48 / 4.0);
        ck_assert(most <= bound && most > 0.98 * bound);
        small_close(&s);
    }
}
END_TEST

TESTS(mhr_adapt, skills_come_from_the_folder, equal_weights_are_the_mean_adapter, the_mixture_is_trained_alone,
      copies_descend_slower_by_their_number, copies_go_the_means_way_under_adam, a_mean_is_saved_as_a_lora,
      another_alpha_is_another_type, noise_is_remembered, what_does_not_fit_is_refused,
      another_method_is_no_inventory, the_papers_start_has_its_bound)
