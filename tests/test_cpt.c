/* cpt: a context in front of every sequence, of which a part is predicted and the rest changes a little */
#include "tests/helpers.h"
#include "tests/with_training.h"

#include "core/file.h"
#include "core/json.h"
#include "peft/adapter.h"

#include <math.h>

enum { CONTEXT = 8, TOKENS = 6 };

/* input, words, output; words, input, words, output; a token that nothing is said of */
static const char *const ids[] = {"9", "40", "41", "3", "90", "17", "66", "5"};
static const char *const types[] = {"2", "3", "4", "5", "6", "7", "8", "0"};
static const int32_t     numbers[] = {9, 40, 41, 3, 90, 17, 66, 5};
static const double      input_most = 0.3, format_most = 0.1; /* lengths, whatever the width */

static void *options_of(small *s, const char *const *of_types, int n_types)
{
    static const char *const names[] = {"epsilon", "format_epsilon", NULL};
    const double             unit = sqrt(2048.0 / 48), values[] = {input_most * unit, format_most * unit};
    const peft_method       *m = peft_find("cpt");
    char                    *o = small_options(s, m, names, values);

    *(key_texts *)(o + m->keys->keys[0].offset) = (key_texts){CONTEXT, ids};
    *(key_texts *)(o + m->keys->keys[1].offset) = (key_texts){n_types, of_types};
    return o;
}

static void open_cpt(small *s)
{
    const char *at = "embed_tokens";

    small_open(s, 7);
    MUST(peft_add(s->p, "main", peft_find("cpt"), options_of(s, types, CONTEXT), &at, 1, true));
    MUST(peft_allocate(s->p, &s->tuned));
}

static tuned *changes_of(const small *s)
{
    for (int i = 0; i < s->p->n_tuned; i++)
        if (strcmp(s->p->tensors[i].name, "delta_embedding.weight") == 0)
            return &s->p->tensors[i];
    return NULL;
}

/* Before anything changed a sequence behind the context is the context's tokens and its own in one. */
static trace_result trace_behind(small *bare, const char *labels)
{
    cJSON       *list = cJSON_Parse(arena_printf(&bare->memory, "[{\"ids\": [9, 40, 41, 3, 90, 17, 66, 5, 3, 10, 17, "
                                                 "24, 31, 38]%s}]", labels));
    trace_result r;

    MUST(trace_run(&bare->memory, &bare->m, bare->p, list, "behind", &(trace_options){0}, &r));
    cJSON_Delete(list);
    return r;
}

START_TEST(a_fresh_one_is_its_tokens)
{
    small s, bare;

    open_cpt(&s);
    small_open(&bare, 7);
    const trace_result want = trace_behind(&bare, "");
    cJSON             *list = cJSON_Parse("[{\"ids\": [3, 10, 17, 24, 31, 38]}]");
    trace_result       got;
    MUST(trace_run(&s.memory, &s.m, s.p, list, "alone", &(trace_options){.front = true}, &got));
    cJSON_Delete(list);
    ck_assert(shape_equal(got.items[0].t.s, want.items[0].t.s));
    ck_assert_mem_eq(got.items[0].t.v, want.items[0].t.v, tensor_bytes(&want.items[0].t));
    small_close(&s);
    small_close(&bare);
}
END_TEST

/* Training counts the context's outputs, 41 and 66, beside every sample's targets; what it is judged by does not. */
START_TEST(outputs_of_the_context_are_targets)
{
    training       g;
    small          bare;
    const int32_t *labels;
    step_report    r;

    small_open(&bare, 7);
    const trace_result want = trace_behind(&bare, ", \"labels\": [-100, -100, 41, -100, -100, -100, 66, -100, -100, "
                                                  "10, 17, 24, 31, 38]");
    open_cpt(&g.s);
    training_open(&g, 3, TOKENS, 3, 1);
    trainer_close(&g.t);
    g.x.front = CONTEXT;
    MUST(model_front_labels(&g.s.memory, &g.s.m, &labels));
    ck_assert_ptr_nonnull(labels);
    for (int told = 0; told < 2; told++) {
        trainer_options o = {.schedule = {.schedule = "constant"}, .steps = 10, .optimizer_options = &g.adamw};
        g.x.front_labels = told ? labels : NULL;
        MUST(adamw_set(&g.adamw, 0, 1e-8, 0, &o.optimizer));
        MUST(packer_open(&g.s.memory, &g.x, &(pack_options){.pack = 64, .batch_samples = 3}, &g.data));
        o.pack = g.data.capacity;
        o.seqs = g.data.seqs_capacity;
        o.leaves = g.data.leaves_capacity;
        MUST(trainer_open(&g.t, &g.s.memory, &g.s.tuned, &g.s.m, g.s.p, &o, false));
        MUST(trainer_step(&g.t, &g.data, 0, &r));
        ck_assert_int_eq(r.targets, 3 * (told ? TOKENS - 1 + 2 : TOKENS - 1));
        if (told)
            ck_assert_msg(fabs(r.loss - want.loss) < 1e-5, "%g, must be %g", r.loss, want.loss);
        else
            ck_assert(fabs(r.loss - want.loss) > 1e-3);
        trainer_close(&g.t);
    }
    g.t = (trainer){0};
    small_close(&g.s);
    small_close(&bare);
}
END_TEST

/* The first of a context is predicted by nothing, and nothing is said without an output. */
START_TEST(what_is_not_predicted)
{
    static const char *const first[] = {"4", "1", "1", "1", "1", "1", "1", "4"};
    static const int32_t     none[] = {40, -100, -100, -100, -100, -100, -100, 66};
    const char              *at = "embed_tokens";
    const int32_t           *labels;
    examples                 x = {.n = 1, .front = CONTEXT, .front_labels = none, .longest = 2};
    packer                   p;
    pack_step                step;
    small                    s;

    small_open(&s, 7);
    MUST(peft_add(s.p, "plain", peft_find("cpt"), options_of(&s, NULL, 0), &at, 1, true));
    MUST(model_front_labels(&s.memory, &s.m, &labels));
    ck_assert_ptr_null(labels);
    MUST(peft_add(s.p, "first", peft_find("cpt"), options_of(&s, first, CONTEXT), &at, 1, true));
    MUST(model_front_labels(&s.memory, &s.m, &labels));
    ck_assert_int_eq(labels[7], -100);
    ck_assert_int_eq(labels[8], numbers[0]); /* behind the first module's tokens */
    ck_assert_int_eq(labels[15], numbers[7]);
    x.v = &(example){.n = 2, .ids = numbers, .labels = numbers, .label = -1, .batch = -1};
    MUST(packer_open(&s.memory, &x, &(pack_options){.pack = 16, .batch_samples = 1}, &p));
    packer_step(&p, &step);
    ck_assert_int_eq(step.n_targets, 2);
    small_close(&s);
}
END_TEST

static double length_of(const tuned *d, int64_t i)
{
    const int64_t C = d->value.s.d[1];
    double        sum = 0;

    for (int64_t c = 0; c < C; c++)
        sum += (double)((const float *)d->value.v)[i * C + c] * (double)((const float *)d->value.v)[i * C + c];
    return sqrt(sum);
}

/* After a step no change is longer than its kind may be; shorter ones stay, outputs never change anything. */
START_TEST(changes_stay_short)
{
    static const double most[] = {0.3, 0.1, 0, 0.1, 0.3, 0.1, 0, 0};
    const peft_step     step = {0};
    small               s;

    open_cpt(&s);
    ck_assert(peft_steps(s.p));
    tuned *d = changes_of(&s);
    float *v = d->value.v;
    for (int scale = 0; scale < 2; scale++) {
        for (int64_t i = 0; i < CONTEXT * 48; i++)
            v[i] = scale ? 0.05f * (float)(i % 3) : 1e-3f;
        MUST(peft_after_step(s.p, &step));
        for (int64_t i = 0; i < CONTEXT; i++)
            ck_assert(fabs(length_of(d, i) - (most[i] == 0 ? 0 : scale ? most[i] : 1e-3 * sqrt(48))) < 1e-6);
    }
    small_close(&s);
}
END_TEST

START_TEST(outputs_have_no_gradient)
{
    const char *const   name = "delta_embedding.weight";
    const trace_options with = {.gradients = &name, .n_gradients = 1};
    small               s;

    open_cpt(&s);
    small_stir(&s, 3);
    const trace_result r = small_trace(&s, &with);
    const float       *g = r.items[r.n - 1].t.v;
    for (int64_t i = 0; i < CONTEXT; i++) {
        float largest = 0;
        for (int64_t c = 0; c < 48; c++)
            largest = fmaxf(largest, fabsf(g[i * 48 + c]));
        ck_assert((largest > 0) == (i != 2 && i != 6 && i != 7));
    }
    small_close(&s);
}
END_TEST

/* Its file has the rows as PEFT has them; without what lies beside it they are a prompt's. */
START_TEST(others_read_the_rows)
{
    const adapter_info info = {.base = "small"};
    char               folder[64], path[128];
    small              s, t;

    open_cpt(&s);
    small_stir(&s, 5);
    test_folder(folder);
    MUST(adapter_save(s.p, 0, folder, &info));
    snprintf(path, sizeof path, "%s/" ENCODER_FILE, folder);
    ck_assert_int_eq(remove(path), 0);
    small_open(&t, 7);
    MUST(adapter_add(t.p, folder, "main", true));
    ck_assert(!peft_steps(t.p));
    MUST(peft_allocate(t.p, &t.tuned));
    MUST(adapter_load(t.p, 0, folder, &info));
    ck_assert_int_eq(t.p->n_tuned, 1);
    ck_assert_str_eq(t.p->tensors[0].name, "prompt_embeddings");
    const trace_result a = small_trace(&s, &(trace_options){0}), b = small_trace(&t, &(trace_options){0});
    ck_assert_mem_eq(a.items[0].t.v, b.items[0].t.v, tensor_bytes(&a.items[0].t));
    MUST(folder_remove_tree(folder));
    small_close(&s);
    small_close(&t);
}
END_TEST

static void check_file(small *s, const char *folder, const char *more, bool trains, const char *says)
{
    const char *text = arena_printf(&s->memory, "{\"peft_type\": \"CPT\", \"num_virtual_tokens\": 2, %s}", more);

    MUST(file_replace(arena_printf(&s->memory, "%s/adapter_config.json", folder), text, strlen(text)));
    if (says)
        MUST_FAIL(adapter_add(s->p, folder, "main", trains), says);
    else
        MUST(adapter_add(s->p, folder, "main", trains));
}

START_TEST(what_does_not_fit_is_refused)
{
    static const char *const few[] = {"1"}, *const word[] = {"1", "1", "1", "x", "1", "1", "1", "1"};
    static const char        decay[] = "\"cpt_token_ids\": [3, 4], \"opt_weighted_loss_type\": \"decay\", "
                                "\"opt_loss_decay_factor\": 0.9";
    const peft_method       *m = peft_find("cpt");
    const char              *at = "embed_tokens";
    char                     folder[64];
    small                    s;

    small_open(&s, 7);
    MUST_FAIL(peft_add(s.p, "a", m, options_of(&s, few, 1), &at, 1, true), "token_types has 1 numbers, token_ids 8");
    MUST_FAIL(peft_add(s.p, "b", m, options_of(&s, word, CONTEXT), &at, 1, true), "token_types has 'x'");
    static const char *const far[] = {"128"};
    char *o = options_of(&s, NULL, 0);
    *(key_texts *)(o + m->keys->keys[0].offset) = (key_texts){1, far};
    MUST_FAIL(peft_add(s.p, "c", m, o, &at, 1, true), "token_ids has '128', must be numbers in 0..127");
    small_close(&s);

    small_open(&s, 7);
    test_folder(folder);
    check_file(&s, folder, "\"cpt_mask\": [1]", true, "cpt_token_ids is missing");
    check_file(&s, folder, "\"cpt_token_ids\": [3, 4.5]", true, "must be a list of whole numbers");
    check_file(&s, folder, "\"cpt_token_ids\": [3, 4], \"cpt_mask\": [1, 0]", true, "hides a token");
    check_file(&s, folder, "\"cpt_token_ids\": [3, 4], \"opt_projection_epsilon\": -1", true, "must not be negative");
    check_file(&s, folder, decay, true, "opt_loss_decay_factor must be 1");
    small_close(&s);
    small_open(&s, 7);
    check_file(&s, folder, decay, false, NULL);
    MUST(folder_remove_tree(folder));
    small_close(&s);
}
END_TEST

TESTS(cpt, a_fresh_one_is_its_tokens, outputs_of_the_context_are_targets, what_is_not_predicted, changes_stay_short,
      outputs_have_no_gradient, others_read_the_rows, what_does_not_fit_is_refused)
