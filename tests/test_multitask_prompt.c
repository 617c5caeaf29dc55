/* multitask_prompt: virtual tokens of every task's own, in one stream, in training and in decoding */
#include "tests/helpers.h"
#include "tests/with_trunk.h"

#include "recipes/decoder.h"

#include <math.h>

enum { TASKS = 3 };

static const char *const names[] = {"tokens", "tasks", "ranks", NULL};
static const double      values[] = {5, TASKS, 2};

static void open_prompts(small *s)
{
    small_open(s, 7);
    small_add(s, "multitask_prompt", "embed_tokens", names, values);
    small_stir(s, 3);
}

static trace_result trace(small *s, const char *json, const trace_options *o)
{
    cJSON       *list = cJSON_Parse(json);
    trace_result r;

    MUST(trace_run(&s->memory, &s->m, s->p, list, "prompts", o, &r));
    cJSON_Delete(list);
    return r;
}

static bool equal(const safetensors_item *a, const safetensors_item *b)
{
    return shape_equal(a->t.s, b->t.s) && memcmp(a->t.v, b->t.v, tensor_bytes(&a->t)) == 0;
}

/* In one stream every sequence has its own task's tokens, as if it were alone. */
START_TEST(packed_is_alone)
{
    static const char *const alone[] = {"[{\"ids\": [1, 5, 9, 100], \"task\": 2}]",
                                        "[{\"ids\": [3, 12], \"task\": 0}]",
                                        "[{\"ids\": [1, 5, 9, 100], \"task\": 1}]"};
    const trace_options      front = {.front = true};
    trace_result             one[3];
    small                    s;

    open_prompts(&s);
    const trace_result all = trace(&s, "[{\"ids\": [1, 5, 9, 100], \"task\": 2}, {\"ids\": [3, 12], \"task\": 0}, "
                                       "{\"ids\": [1, 5, 9, 100], \"task\": 1}]", &front);
    for (int i = 0; i < 3; i++) {
        one[i] = trace(&s, alone[i], &front);
        ck_assert_int_eq(one[i].items[0].t.s.d[0], i == 1 ? 7 : 9);
        ck_assert(equal(&all.items[i], &one[i].items[0]));
    }
    ck_assert(!equal(&one[0].items[0], &one[2].items[0]));
    small_close(&s);
}
END_TEST

/* One task's tokens are those of a prompt that is the product. */
START_TEST(rows_are_the_product)
{
    static const char *const tokens[] = {"tokens", NULL};
    static const double      five = 5;
    small                    s, plain;

    open_prompts(&s);
    small_open(&plain, 7);
    small_add(&plain, "prompt", "embed_tokens", tokens, &five);
    const float *shared = s.p->tensors[0].value.v, *cols = s.p->tensors[1].value.v, *rows = s.p->tensors[2].value.v;
    float       *out = plain.p->tensors[0].value.v;
    ck_assert_str_eq(s.p->tensors[1].name, "prefix_task_cols");
    for (int64_t i = 0; i < 5; i++)
        for (int64_t c = 0; c < 48; c++) {
            const float *own = cols + (5 + i) * 2; /* of task 1, as rows from 96 on */
            out[i * 48 + c] = shared[i * 48 + c] * (own[0] * rows[96 + c] + own[1] * rows[144 + c]);
        }
    const trace_result want = trace(&plain, "[{\"ids\": [1, 5, 9, 100]}]", &(trace_options){0});
    const trace_result got = trace(&s, "[{\"ids\": [1, 5, 9, 100], \"task\": 1}]", &(trace_options){0});
    const float       *x = want.items[0].t.v, *y = got.items[0].t.v;
    for (int64_t k = 0; k < shape_count(want.items[0].t.s); k++)
        ck_assert(fabs((double)x[k] - (double)y[k]) < 2e-5); /* 20 roundings of logits of about 10 */
    small_close(&s);
    small_close(&plain);
}
END_TEST

/* A task learns from its own sequences alone; the shared rows from all. */
START_TEST(tasks_do_not_mix)
{
    const char *const   wanted[] = {"prefix_task_cols", "prefix_task_rows"};
    const trace_options with = {.gradients = wanted, .n_gradients = 2};
    small               s;

    open_prompts(&s);
    const trace_result r = trace(&s, "[{\"ids\": [1, 5, 9, 100], \"task\": 2}, {\"ids\": [3, 12], \"task\": 0}]",
                                 &with);
    for (int k = 0; k < 2; k++) {
        const tensor *g = &r.items[r.n - 2 + k].t;
        const int64_t n = shape_count(g->s) / TASKS;
        for (int64_t i = 0; i < n; i++) {
            ck_assert(((const float *)g->v)[i] != 0);
            ck_assert(((const float *)g->v)[n + i] == 0);
            ck_assert(((const float *)g->v)[2 * n + i] != 0);
        }
    }
    small_close(&s);
}
END_TEST

/* The best next token of a sequence, without a cache. */
static int32_t next_token(small *s, const int32_t *ids, int64_t n, int task)
{
    char *text = arena_printf(&s->memory, "[{\"task\": %d, \"ids\": [%d", task, ids[0]);

    for (int64_t i = 1; i < n; i++)
        text = arena_printf(&s->memory, "%s, %d", text, ids[i]);
    const trace_result r = trace(s, arena_printf(&s->memory, "%s]}]", text), &(trace_options){0});
    const float       *row = (const float *)r.items[0].t.v + (n - 1) * s->m.words;
    int32_t            best = 0;
    for (int32_t i = 1; i < s->m.words; i++)
        best = row[i] > row[best] ? i : best;
    return best;
}

START_TEST(decoding_with_a_cache_is_decoding_without)
{
    enum { NEW = 5 };
    static const int32_t first[] = {1, 5, 9, 100, 7, 12};
    const prompt         prompts[] = {{first, 6, 2}, {first, 3, 1}, {first, 6, 0}};
    decoded              d[3];
    decode_times         times;
    small                s;

    open_prompts(&s);
    MUST(decode(&s.memory, &s.m, prompts, 3, &(decode_options){.max_tokens = NEW, .ignore_end = true}, d, &times));
    for (int p = 0; p < 3; p++) {
        int32_t ids[16];
        int64_t n = prompts[p].n;
        memcpy(ids, prompts[p].ids, (size_t)n * sizeof *ids);
        ck_assert(d[p].margin > 1e-3); /* what whole runs and the cache round differently decides nothing */
        for (int i = 0; i < NEW; i++, n++) {
            ids[n] = next_token(&s, ids, n, prompts[p].task);
            ck_assert_int_eq(d[p].ids[i], ids[n]);
        }
    }
    small_close(&s);
}
END_TEST

START_TEST(what_does_not_fit_is_refused)
{
    static const char *const tokens[] = {"tokens", NULL};
    const peft_method       *m = peft_find("multitask_prompt");
    const double             many = 49;
    const char              *at = "embed_tokens";
    small                    s;

    small_open(&s, 7);
    MUST_FAIL(peft_add(s.p, "main", m, small_options(&s, m, tokens, &many), &at, 1, true),
              "tokens is 49, must be at most the model's width, 48");
    small_close(&s);
    open_prompts(&s);
    ck_assert_int_eq(model_tasks(&s.m), TASKS);
    MUST_FAIL(model_check_task(&s.m, TASKS), "task is 3, must be 0..2");
    small_close(&s);
}
END_TEST

TESTS(multitask_prompt, packed_is_alone, rows_are_the_product, tasks_do_not_mix,
      decoding_with_a_cache_is_decoding_without, what_does_not_fit_is_refused)
