/* lora_start: LoRAs that begin with a part of the weight */
#include "tests/helpers.h"
#include "tests/with_trunk.h"

#include "core/file.h"
#include "core/json.h"
#include "core/linalg.h"
#include "core/quant.h"

#include <math.h>

#define NEEDS_LAPACK()                                                                            \
    do {                                                                                          \
        if (!linalg_available())                                                                  \
            SKIP("this build has no LAPACK");                                                     \
    } while (0)

enum { PISSA = 2, OLORA = 3, CORDA = 4, LOFTQ = 5 };

static const trace_options plain = {0};
static const char *const   names[] = {"init_lora_weights", "rank", "alpha", "pissa_niter", "rslora", NULL};

static void open_start(small *s, const char *at, int init, int rank, int niter, bool rslora)
{
    const double values[] = {init, rank, 24, niter, rslora};

    small_open(s, 7);
    small_add(s, "lora", at, names, values);
}

static double distance(const trace_result *a, const trace_result *b)
{
    double worst = 0;

    for (int i = 0; i < a->n; i++) {
        const float *x = a->items[i].t.v, *y = b->items[i].t.v;
        for (int64_t k = 0; k < shape_count(a->items[i].t.s); k++)
            worst = fmax(worst, fabs((double)x[k] - y[k]));
    }
    return worst;
}

static double largest_of(const trace_result *a)
{
    double most = 0;

    for (int i = 0; i < a->n; i++)
        for (int64_t k = 0; k < shape_count(a->items[i].t.s); k++)
            most = fmax(most, fabs((double)((const float *)a->items[i].t.v)[k]));
    return most;
}

static void set_zero(const tuned *x)
{
    memset(x->value.v, 0, (size_t)shape_count(x->value.s) * sizeof(float));
}

/* What is left of a site's weight without what the module trains. */
static float *left_over(small *s, const site *x)
{
    float *w = arena_copy(&s->memory, x->weight->value.v, (size_t)(x->in * x->out) * sizeof *w);

    for (int i = 0; i < s->p->n_tuned; i++)
        if (!s->p->tensors[i].fixed)
            set_zero(&s->p->tensors[i]);
    MUST(peft_merged(s->p, x, w, NULL));
    return w;
}

static double largest(const float *v, int64_t n)
{
    double worst = 0;

    for (int64_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)v[i]));
    return worst;
}

/* A fresh module leaves the model as it is but for roundings (those of merging: tests/test_methods.c). */
START_TEST(a_fresh_start_changes_nothing)
{
    static const struct {
        int  init, niter;
        bool rslora;
    } cases[] = {{PISSA, 0, false}, {PISSA, 0, true}, {PISSA, 4, false}, {OLORA, 0, false}, {OLORA, 0, true}};

    NEEDS_LAPACK();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        small s, bare;
        small_open(&bare, 7);
        open_start(&s, "all-linear", cases[i].init, 6, cases[i].niter, cases[i].rslora);
        const trace_result a = small_trace(&bare, &plain), b = small_trace(&s, &plain);
        ck_assert(distance(&a, &b) < 1.5e-4);
        for (int k = 0; k < s.p->n_tuned; k++)
            ck_assert(largest(s.p->tensors[k].value.v, shape_count(s.p->tensors[k].value.s)) > 0.01);
        left_over(&s, s.p->modules[0].at[0]);
        const trace_result without = small_trace(&s, &plain);
        ck_assert(distance(&a, &without) > 0.1);
        small_close(&s);
        small_close(&bare);
    }
}
END_TEST

/* pissa with all directions leaves nothing, olora with scale 1 neither; with fewer pissa leaves less than olora. */
START_TEST(the_right_part_is_taken)
{
    const double values[] = {OLORA, 24, 24, 0, 0};
    double       square[2] = {0};
    small        s;

    NEEDS_LAPACK();
    open_start(&s, "k_proj", PISSA, 24, 0, false);
    const site *k = s.p->modules[0].at[0];
    ck_assert(largest(left_over(&s, k), k->in * k->out) < 1e-5);
    small_close(&s);
    small_open(&s, 7);
    small_add(&s, "lora", "k_proj", names, values);
    k = s.p->modules[0].at[0];
    ck_assert(largest(left_over(&s, k), k->in * k->out) < 1e-5);
    small_close(&s);
    for (int i = 0; i < 2; i++) {
        const double some[] = {i ? OLORA : PISSA, 5, 5, 0, 0};
        small_open(&s, 7);
        small_add(&s, "lora", "k_proj", names, some);
        k = s.p->modules[0].at[0];
        const float *w = left_over(&s, k);
        for (int64_t n = 0; n < k->in * k->out; n++)
            square[i] += (double)w[n] * w[n];
        small_close(&s);
    }
    ck_assert(square[0] > 0.01 && square[0] < square[1] * 0.95);
}
END_TEST

/* Many turns find what the decomposition finds. */
START_TEST(many_turns_find_the_same)
{
    small exact, near;

    NEEDS_LAPACK();
    open_start(&exact, "q_proj", PISSA, 4, 0, false);
    open_start(&near, "q_proj", PISSA, 4, 1000, false);
    const site  *x = exact.p->modules[0].at[0], *y = near.p->modules[0].at[0];
    const float *v = left_over(&exact, x), *w = left_over(&near, y);
    for (int64_t i = 0; i < x->in * x->out; i++)
        ck_assert(fabs((double)v[i] - (double)w[i]) < 1e-5);
    small_close(&exact);
    small_close(&near);
}
END_TEST

/* A saved adapter is an ordinary LoRA of twice the rank for who does not train it: other programs, and eval. */
START_TEST(a_saved_one_is_an_ordinary_lora)
{
    const adapter_info info = {.base = "small"};

    NEEDS_LAPACK();
    for (int rslora = 0; rslora < 2; rslora++) {
        small  s, t;
        char   folder[64], path[128];
        cJSON *config;
        open_start(&s, "all-linear", rslora ? OLORA : PISSA, 6, 0, rslora);
        small_stir(&s, 5);
        test_folder(folder);
        MUST(adapter_save(s.p, 0, folder, &info));
        snprintf(path, sizeof path, "%s/adapter_config.json", folder);
        MUST(json_read(path, &config));
        ck_assert_int_eq(cJSON_GetObjectItem(config, "r")->valueint, 12);
        ck_assert(fabs(cJSON_GetObjectItem(config, "lora_alpha")->valuedouble - (rslora ? 24 * sqrt(2) : 48)) < 1e-9);
        ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(config, "init_lora_weights")));
        cJSON_Delete(config);
        small_open(&t, 7);
        MUST(adapter_add(t.p, folder, "main", false));
        ck_assert_int_eq(t.p->n_tuned, 2 * t.p->modules[0].n_sites);
        MUST(peft_allocate(t.p, &t.tuned));
        MUST(adapter_load(t.p, 0, folder, &info));
        const trace_result a = small_trace(&s, &plain), b = small_trace(&t, &plain);
        ck_assert(distance(&a, &b) < 2e-4 * largest_of(&a)); /* two large pairs of factors nearly cancel */
        MUST(folder_remove_tree(folder));
        small_close(&s);
        small_close(&t);
    }
}
END_TEST

/* A run's own module takes the file's factors, also those taken out, and keeps their start where there are none. */
START_TEST(a_module_goes_on_from_its_file)
{
    const adapter_info info = {.base = "small"};
    small              s, t;
    char               folder[64];

    NEEDS_LAPACK();
    open_start(&s, "q_proj", PISSA, 6, 2, false);
    small_stir(&s, 5);
    test_folder(folder);
    MUST(adapter_save(s.p, 0, folder, &info));
    open_start(&t, "q_proj", PISSA, 6, 2, false);
    memset(t.p->fixed_values, 0, (size_t)t.p->fixed_size * sizeof(float));
    MUST(adapter_load(t.p, 0, folder, &info));
    ck_assert_mem_eq(s.p->values, t.p->values, (size_t)s.p->size * sizeof(float));
    ck_assert_mem_eq(s.p->fixed_values, t.p->fixed_values, (size_t)s.p->fixed_size * sizeof(float));
    MUST(folder_remove_tree(folder));
    small_close(&s);
    small_close(&t);
}
END_TEST

START_TEST(what_cannot_start_so_is_refused)
{
    static const struct {
        const char *at, *option, *says;
        double      value;
    } cases[] = {{"embed_tokens", "rank", "needs a linear layer", 4},
                 {"q_proj", "dora", "goes neither with dora", 1},
                 {"q_proj", "lora_bias", "nor with lora_bias", 1},
                 {"k_proj", "rank", "rank is 25, must be 1..24", 25}};
    const peft_method *lora = peft_find("lora");
    const bool         lapack = linalg_available();

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *const own[] = {"init_lora_weights", cases[i].option, NULL};
        const double      values[] = {PISSA, cases[i].value};
        small             s;
        small_open(&s, 7);
        MUST_FAIL(peft_add(s.p, "main", lora, small_options(&s, lora, own, values), &cases[i].at, 1, true),
                  cases[i].says);
        small_close(&s);
    }
    if (!lapack) {
        const double pissa[] = {PISSA, 4, 8, 0, 0};
        const char  *at = "q_proj";
        small        s;
        small_open(&s, 7);
        MUST_FAIL(peft_add(s.p, "main", lora, small_options(&s, lora, names, pissa), &at, 1, true), "needs LAPACK");
        small_close(&s);
    }
}
END_TEST

/* ---- loftq ---------------------------------------------------------------------------------------------------- */

static const char *const loftq_names[] = {"init_lora_weights", "loftq_type", "loftq_iter", "rank", "alpha", NULL};

/* How far a site's whole map is from the trunk's weight, as a sum of squares; without: the quantised alone. */
static double lost(int type, int turns, int rank, double alpha, bool without)
{
    const double values[] = {LOFTQ, type, turns, rank, alpha};
    double       sum = 0;
    small        s;

    small_open(&s, 7);
    small_add(&s, "lora", "q_proj", loftq_names, values);
    const site  *q = s.p->modules[0].at[0];
    const int64_t n = q->in * q->out;
    float       *w = arena_take(&s.memory, (size_t)n, sizeof *w);
    const tensor *instead = peft_stand_in(s.p, q->weight->name);
    ck_assert_ptr_nonnull(instead);
    quant_expand(instead->type, instead->v, n, w);
    if (!without)
        MUST(peft_merged(s.p, q, w, NULL));
    peft_detach(s.p);
    ck_assert_int_eq(q->weight->value.type, TYPE_F32);
    const float *own = q->weight->value.v;
    for (int64_t i = 0; i < n; i++)
        sum += ((double)w[i] - own[i]) * ((double)w[i] - own[i]);
    small_close(&s);
    return sum;
}

/* The factors make up for a part of what quantising lost, whatever the scale; more turns for more; with all
 * directions nothing is lost. Of nf4 and int8. */
START_TEST(factors_make_up_for_quantising)
{
    NEEDS_LAPACK();
    for (int type = 0; type < 2; type++) {
        const double bare = lost(type, 1, 8, 8, true), one = lost(type, 1, 8, 8, false);
        ck_assert(one < bare * 0.75 && bare > 0);
        ck_assert(fabs(lost(type, 1, 8, 40, false) - one) < one * 1e-3);
        const double many = lost(type, 5, 8, 8, false);
        ck_assert_msg(many < one * 0.95, "type %d: %g after five turns, %g after one", type, many, one);
        ck_assert(lost(type, 1, 48, 48, false) < bare * 1e-6);
    }
}
END_TEST

/* What bitsandbytes makes of them. */
START_TEST(nf4_is_that_of_others)
{
    static const double want[] = {-8,      -8,     -5.56954, -5.56954, -4.20058, -3.15934, -2.27553, -0.7284,
                                  0,       1.28744, 1.9689,  2.70332,  3.52568,  4.50094,  5.78365,  8};
    const double        values[] = {LOFTQ, 0, 1, 4, 4};
    small               s;

    NEEDS_LAPACK();
    small_open(&s, 7);
    float *w = NULL;
    for (int i = 0; i < s.m.n_sites && !w; i++)
        if (strcmp(s.m.sites[i].name, "block.0.attn.q") == 0)
            w = s.m.sites[i].weight->value.v;
    ck_assert_ptr_nonnull(w);
    for (int i = 0; i < 64; i++)
        w[i] = i < 16 ? (float)(i - 8) : 0;
    small_add(&s, "lora", "q_proj", loftq_names, values);
    const float *q = s.p->modules[0].at[0]->weight->value.v;
    ck_assert_ptr_ne(q, w);
    for (int i = 0; i < 16; i++)
        ck_assert_msg(fabs((double)q[i] - want[i]) < 1e-5, "value %d is %g", i, (double)q[i]);
    ck_assert(q[20] == 0);
    small_close(&s);
}
END_TEST

/* The file says how its weights were quantised; read on the same trunk it is the same model, without LAPACK too
 * where nothing is decomposed. Types that PEFT has not it refuses to read. */
START_TEST(a_file_is_of_quantised_weights)
{
    const adapter_info info = {.base = "small"};
    const double       values[] = {LOFTQ, 0, 2, 4, 12};
    char               folder[64], path[128];
    cJSON             *config;
    small              s, t;

    NEEDS_LAPACK();
    small_open(&s, 7);
    small_add(&s, "lora", "all-linear", loftq_names, values);
    small_stir(&s, 5);
    test_folder(folder);
    MUST(adapter_save(s.p, 0, folder, &info));
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    MUST(json_read(path, &config));
    ck_assert_str_eq(cJSON_GetObjectItem(config, "init_lora_weights")->valuestring, "loftq");
    const cJSON *own = cJSON_GetObjectItem(config, "loftq_config");
    ck_assert_int_eq(cJSON_GetObjectItem(own, "loftq_bits")->valueint, 4);
    ck_assert_int_eq(cJSON_GetObjectItem(own, "loftq_iter")->valueint, 2);
    ck_assert_int_eq(cJSON_GetObjectItem(config, "r")->valueint, 4);
    cJSON_Delete(config);
    small_open(&t, 7);
    MUST(adapter_add(t.p, folder, "main", false));
    MUST(peft_allocate(t.p, &t.tuned));
    MUST(adapter_load(t.p, 0, folder, &info));
    const trace_result a = small_trace(&s, &plain), b = small_trace(&t, &plain);
    ck_assert(distance(&a, &b) == 0);
    MUST(folder_remove_tree(folder));
    small_close(&s);
    small_close(&t);
}
END_TEST

/* Weights of rows that a type's blocks fit into lie as they would in a GGUF file. */
START_TEST(weights_lie_quantised)
{
    static const struct {
        int         number;
        const char *type;
    } types[] = {{2, "q8_0"}, {5, "q4_1"}, {6, "q4_0"}};
    static const char wide[] =
        "{\"model_type\": \"llama\", \"vocab_size\": 128, \"hidden_size\": 64, \"num_hidden_layers\": 1, "
        "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"intermediate_size\": 96, "
        "\"rms_norm_eps\": 1e-5, \"rope_theta\": 10000, \"tie_word_embeddings\": true, "
        "\"max_position_embeddings\": 64}";

    NEEDS_LAPACK();
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        const double values[] = {LOFTQ, types[i].number, 1, 4, 4};
        small        s, bare;
        small_open_as(&s, wide, 7);
        small_open_as(&bare, wide, 7);
        small_add(&s, "lora", "all-linear", loftq_names, values);
        const site *q = s.p->modules[0].at[0];
        ck_assert_str_eq(dtype_name(q->weight->value.type), types[i].type);
        const trace_result with = small_trace(&s, &plain), without = small_trace(&bare, &plain);
        for (int k = 0; k < s.p->n_tuned; k++)
            if (!s.p->tensors[k].fixed)
                set_zero(&s.p->tensors[k]);
        const trace_result quantised = small_trace(&s, &plain);
        ck_assert(distance(&quantised, &without) > 1e-4);
        ck_assert(distance(&with, &without) < distance(&quantised, &without));
        small_close(&s);
        small_close(&bare);
    }
}
END_TEST

START_TEST(what_cannot_be_quantised_is_refused)
{
    static const struct {
        const char *at, *says;
        int         type;
        dtype       is;
    } cases[] = {{"head", "is the head", 0, TYPE_F32},
                 {"embed_tokens", "needs a linear layer", 0, TYPE_F32},
                 {"q_proj", "whole blocks of 32 values, this weight's have 48", 6, TYPE_F32},
                 {"q_proj", "which is q4_0 already", 0, TYPE_Q4_0}};
    const peft_method *lora = peft_find("lora");

    NEEDS_LAPACK();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const double values[] = {LOFTQ, cases[i].type, 1, 4, 4};
        small        s;
        small_open(&s, 7);
        for (int k = 0; k < s.m.n_sites; k++)
            if (s.m.sites[k].kind == SITE_LINEAR)
                s.m.sites[k].weight->value.type = cases[i].is;
        MUST_FAIL(peft_add(s.p, "main", lora, small_options(&s, lora, loftq_names, values), &cases[i].at, 1, true),
                  cases[i].says);
        small_close(&s);
    }
}
END_TEST

static const char adapter_words[] = "\"peft_type\": \"LORA\", \"target_modules\": [\"q_proj\"], \"lora_alpha\": 8";

static void write_config(small *s, const char *folder, const char *more)
{
    const char *text = arena_printf(&s->memory, "{%s, %s}", adapter_words, more);

    MUST(file_replace(arena_printf(&s->memory, "%s/adapter_config.json", folder), text, strlen(text)));
}

/* Folders of other programs whose start cannot be made again, and files that say what they cannot be. */
START_TEST(files_that_do_not_fit_are_refused)
{
    static const char *const inits[] = {"pissa_niter_16", "mica", "lora_ga"};
    static const char *const wrong[][3] = {{"pissa", "\"r\": 5", "r is 5, must be even"},
                                           {"pissa", "\"r\": 4, \"rank_pattern\": {\"q_proj\": 3}", "must be even"},
                                           {"lora_new", "\"r\": 4", "was trained as 'lora_new'"}};
    small s;
    char  folder[64];

    small_open(&s, 7);
    test_folder(folder);
    for (size_t i = 0; i < COUNT_OF(inits); i++) {
        write_config(&s, folder, arena_printf(&s.memory, "\"r\": 4, \"init_lora_weights\": \"%s\"", inits[i]));
        MUST_FAIL(adapter_add(s.p, folder, "main", true), "changes the trunk");
    }
    write_config(&s, folder, "\"r\": 4, \"init_lora_weights\": \"loftq\", \"loftq_config\": {\"loftq_bits\": 2}");
    MUST_FAIL(adapter_add(s.p, folder, "main", true), "loftq_bits is 2, must be 4 or 8");
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        const safetensors_pair pair = {.key = "cambium.trained_as", .value = wrong[i][0]};
        write_config(&s, folder, wrong[i][1]);
        MUST(safetensors_write(arena_printf(&s.memory, "%s/adapter_model.safetensors", folder), NULL, 0, &pair, 1));
        MUST_FAIL(adapter_add(s.p, folder, "main", true), wrong[i][2]);
    }
    MUST(folder_remove_tree(folder));
    small_close(&s);
}
END_TEST

TESTS(lora_start, a_fresh_start_changes_nothing, the_right_part_is_taken, many_turns_find_the_same,
      a_saved_one_is_an_ordinary_lora, a_module_goes_on_from_its_file, what_cannot_start_so_is_refused,
      factors_make_up_for_quantising, nf4_is_that_of_others, a_file_is_of_quantised_weights, weights_lie_quantised,
      what_cannot_be_quantised_is_refused, files_that_do_not_fit_are_refused)
