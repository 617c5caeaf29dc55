/* generate: processed logits, greedy texts and those of beam search are those of transformers (tests/golden/
 * generate), draws follow their probabilities, no answer knows the batch, a conversation computes nothing twice, texts
 * end at stop strings and never in the middle of a character. */
#include "tests/helpers.h"
#include "tests/with_trunk.h"

#include "core/json.h"
#include "recipes/answer_text.h"
#include "recipes/beams.h"
#include "recipes/decoder.h"

#include <math.h>

#define GOLDEN SOURCE_FOLDER "/tests/golden/"

static arena memory;

static void open_memory(void)
{
    MUST(arena_open(&memory, "test", (size_t)1 << 30));
}

static void close_memory(void)
{
    arena_close(&memory);
}

static cJSON *golden_cases(const char *file, cJSON **all)
{
    MUST(json_read(file, all));
    cJSON *cases = cJSON_GetObjectItem(*all, "cases");
    ck_assert(cJSON_GetArraySize(cases) > 0);
    return cases;
}

static int32_t *ids_of(const cJSON *list, int64_t *n)
{
    int32_t *v = arena_take(&memory, cJSON_GetArraySize(list) + 1, sizeof *v);

    *n = 0;
    for (const cJSON *x = list->child; x; x = x->next)
        v[(*n)++] = x->valueint;
    return v;
}

/* Also under transformers' names. */
static sampler_options options_of(const cJSON *settings)
{
    sampler_options o = {0};

    for (const cJSON *x = settings->child; x; x = x->next)
        if (strcmp(x->string, "penalty") == 0 || strcmp(x->string, "repetition_penalty") == 0)
            o.penalty = x->valuedouble;
        else if (strcmp(x->string, "no_repeat") == 0 || strcmp(x->string, "no_repeat_ngram_size") == 0)
            o.no_repeat = x->valueint;
        else if (strcmp(x->string, "temperature") == 0)
            o.temperature = x->valuedouble;
        else if (strcmp(x->string, "top_k") == 0)
            o.top_k = x->valueint;
        else if (strcmp(x->string, "top_p") == 0)
            o.top_p = x->valuedouble;
        else if (strcmp(x->string, "min_p") == 0)
            o.min_p = x->valuedouble;
        else if (!strstr("num_beams length_penalty early_stopping", x->string))
            ck_abort_msg("unknown setting %s", x->string);
    return o;
}

/* ---- logits -------------------------------------------------------------------------------------------------- */

/* A row as transformers has it: what is no candidate is -infinity. */
static void process(sampler *s, float *row, const int32_t *seen, int64_t n)
{
    sampler_process(s, row, seen, n);
    if (s->o.temperature <= 0)
        return;
    const int64_t left = sampler_candidates(s, row);
    for (int64_t i = 0; i < s->words; i++)
        row[i] = -INFINITY;
    for (int64_t i = 0; i < left; i++)
        row[s->c[i].id] = s->c[i].logit;
}

START_TEST(logits_are_processed_as_in_transformers)
{
    cJSON *all;

    open_memory();
    for (const cJSON *x = golden_cases(GOLDEN "generate/sampling.json", &all)->child; x; x = x->next) {
        const cJSON          *before = cJSON_GetObjectItem(x, "before"), *want = cJSON_GetObjectItem(x, "after");
        const sampler_options o = options_of(cJSON_GetObjectItem(x, "settings"));
        char                 *settings = cJSON_PrintUnformatted(cJSON_GetObjectItem(x, "settings"));
        float                 row[64];
        int64_t               n, words = 0;
        const int32_t        *seen = ids_of(cJSON_GetObjectItem(x, "seen"), &n);
        sampler               s;

        for (const cJSON *v = before->child; v; v = v->next)
            row[words++] = (float)v->valuedouble;
        MUST(sampler_open(&s, &memory, words, &o));
        process(&s, row, seen, n);
        words = 0;
        for (const cJSON *v = want->child; v; v = v->next, words++) /* the file has 6 digits */
            ck_assert_msg(cJSON_IsNull(v) ? row[words] == -INFINITY : fabs(row[words] - v->valuedouble) <= 2e-6,
                          "%s: logit %d is %g, must be %g", settings, (int)words, row[words], v->valuedouble);
        cJSON_free(settings);
    }
    cJSON_Delete(all);
    close_memory();
}
END_TEST

START_TEST(candidates_that_are_equal_stay_together)
{
    float           row[] = {1, 3, 2, 3, 2, 2, 0};
    sampler_options o = {.temperature = 1, .top_k = 3};
    sampler         s;

    open_memory();
    MUST(sampler_open(&s, &memory, 7, &o));
    ck_assert_int_eq(sampler_candidates(&s, row), 5);
    ck_assert_int_eq(s.c[0].id, 1);
    ck_assert_int_eq(s.c[4].id, 5);
    close_memory();
}
END_TEST

/* Of 20000 draws a share differs from its probability by four deviations in one of 10000 tests; seeds are fixed. */
START_TEST(draws_follow_their_probabilities)
{
    enum { DRAWS = 20000, WORDS = 5 };
    const float     logits[WORDS] = {0, 1, 2, -1, 0.5F};
    sampler_options o = {.temperature = 0.8, .min_p = 0.1, .seed = 3};
    int             count[WORDS] = {0};
    double          sum = 0;
    sampler         s;

    open_memory();
    MUST(sampler_open(&s, &memory, WORDS, &o));
    for (int i = 0; i < DRAWS; i++)
        count[sampler_draw(&s, logits, i % 7, i / 7)]++;
    for (int i = 0; i < WORDS; i++)
        sum += logits[i] > 0 ? exp(logits[i] / 0.8) : 0; /* exp((0 - 2) / 0.8) is below a tenth */
    for (int i = 0; i < WORDS; i++) {
        const double p = logits[i] > 0 ? exp(logits[i] / 0.8) / sum : 0;
        ck_assert_msg(fabs((double)count[i] / DRAWS - p) <= 4 * sqrt(p * (1 - p) / DRAWS), "token %d: %d draws, p %g",
                      i, count[i], p);
    }
    close_memory();
}
END_TEST

/* ---- texts --------------------------------------------------------------------------------------------------- */

typedef struct trunk {
    weights w;
    model   m;
} trunk;

static void open_trunk(trunk *t, const char *name)
{
    MUST(weights_open(&memory, arena_printf(&memory, GOLDEN "trunks/%s", name), &t->w));
    MUST(model_open(&memory, &t->w, TYPE_F32, &t->m));
}

static beam_options beams_of(const cJSON *settings)
{
    const cJSON *early = cJSON_GetObjectItem(settings, "early_stopping");
    const cJSON *penalty = cJSON_GetObjectItem(settings, "length_penalty");

    return (beam_options){.n = cJSON_GetObjectItem(settings, "num_beams")->valueint,
                          .length_penalty = penalty ? penalty->valuedouble : 1,
                          .stop = cJSON_IsString(early) ? BEAM_STOP_SURE
                                  : cJSON_IsTrue(early) ? BEAM_STOP_FULL
                                                        : BEAM_STOP_LIKELY};
}

enum { MOST = 8 };

/* Answers all prompts of a case, together or one by one. */
static int answer_case(const cJSON *x, model *m, bool together, decoded *got)
{
    const cJSON   *settings = cJSON_GetObjectItem(x, "settings"), *ends = cJSON_GetObjectItem(x, "ends");
    decode_options o = {.max_tokens = cJSON_GetObjectItem(x, "tokens")->valueint};
    prompt         prompts[MOST];
    decode_times   times;
    int64_t        n_ends = 0;
    int            n = 0;

    if (ends) {
        o.ends = ids_of(ends, &n_ends);
        o.beams = beams_of(settings);
    }
    o.n_ends = (int)n_ends;
    o.choose = options_of(settings);
    for (const cJSON *a = cJSON_GetObjectItem(x, "answers")->child; a; a = a->next, n++)
        prompts[n].ids = ids_of(cJSON_GetObjectItem(a, "prompt"), &prompts[n].n);
    for (int i = 0; i < n; i += together ? n : 1)
        MUST(decode(&memory, m, prompts + i, together ? n : 1, &o, got + i, &times));
    return n;
}

static bool same(const decoded *a, const decoded *b)
{
    return a->n == b->n && memcmp(a->ids, b->ids, (size_t)a->n * sizeof *a->ids) == 0;
}

static void check_answer(const cJSON *a, const decoded *got, const char *what)
{
    const cJSON   *score = cJSON_GetObjectItem(a, "score");
    int64_t        n;
    const int32_t *want = ids_of(cJSON_GetObjectItem(a, "ids"), &n);

    ck_assert_msg(got->n == n, "%s: %lld tokens, must be %lld", what, (long long)got->n, (long long)n);
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(got->ids[i] == want[i], "%s: token %d is %d, must be %d", what, (int)i, got->ids[i], want[i]);
    if (!score) {
        ck_assert_msg(got->margin > 1e-4, "%s: margin %g: rounding decides", what, got->margin);
        return;
    }
    ck_assert_msg(got->ended == cJSON_IsTrue(cJSON_GetObjectItem(a, "ended")), "%s: ended %d", what, got->ended);
    /* float32 there, and logits from a float32 trunk here */
    ck_assert_msg(fabs(got->score - score->valuedouble) <= 2e-5 * fmax(1, fabs(score->valuedouble)),
                  "%s: score %.7f, must be %.7f", what, got->score, score->valuedouble);
}

static void check_text(const cJSON *x)
{
    const char *name = cJSON_GetObjectItem(x, "trunk")->valuestring;
    char       *settings = cJSON_PrintUnformatted(cJSON_GetObjectItem(x, "settings")), what[300];
    decoded     got[MOST], alone[MOST];
    trunk       t;
    int         n = 0;

    open_trunk(&t, name);
    answer_case(x, &t.m, true, got);
    answer_case(x, &t.m, false, alone);
    for (const cJSON *a = cJSON_GetObjectItem(x, "answers")->child; a; a = a->next, n++) {
        snprintf(what, sizeof what, "%s, %s, prompt %d", name, settings, n);
        check_answer(a, &got[n], what);
        ck_assert_msg(same(&got[n], &alone[n]), "%s: another text without the others", what);
    }
    cJSON_free(settings);
    weights_close(&t.w);
}

static void check_texts(const char *file)
{
    cJSON *all;

    open_memory();
    for (const cJSON *x = golden_cases(file, &all)->child; x; x = x->next)
        check_text(x);
    cJSON_Delete(all);
    close_memory();
}

START_TEST(greedy_texts_are_those_of_transformers)
{
    check_texts(GOLDEN "generate/texts.json");
}
END_TEST

START_TEST(texts_of_beams_are_those_of_transformers)
{
    check_texts(GOLDEN "generate/beams.json");
}
END_TEST

static void decode_some(small *s, const prompt *p, int n, int64_t number, uint64_t seed, decoded *out)
{
    decode_times         times;
    const decode_options o = {.max_tokens = 20, .number = number, .choose = {.temperature = 1, .seed = seed}};

    MUST(decode(&s->memory, &s->m, p, n, &o, out, &times));
}

START_TEST(a_draw_knows_seed_and_number_and_not_the_batch)
{
    static const int32_t first[] = {1, 5, 9, 100}, second[] = {31, 2, 5};
    const prompt         prompts[] = {{first, 4, 0}, {second, 3, 0}, {second, 3, 0}};
    small                s;
    decoded              all[3], one, other[3];

    small_open(&s, 4);
    decode_some(&s, prompts, 3, 0, 7, all);
    ck_assert(!same(&all[1], &all[2])); /* equal prompts have numbers of their own */
    for (int i = 0; i < 3; i++) {
        decode_some(&s, prompts + i, 1, i, 7, &one);
        ck_assert(same(&all[i], &one));
    }
    decode_some(&s, prompts, 3, 0, 8, other);
    ck_assert(!same(&all[0], &other[0]));
    small_close(&s);
}
END_TEST

static status stop_at_four(void *context, int64_t p, const decoded *so_far, bool *stop)
{
    *(int64_t *)context += 1;
    *stop = p == 0 && so_far->n == 4;
    return p == 1 && so_far->n == 9 ? fail(STATUS_IO, "the watch fails") : STATUS_OK;
}

START_TEST(a_watch_ends_an_answer)
{
    static const int32_t ids[] = {31, 2, 5};
    const prompt         prompts[] = {{ids, 3, 0}, {ids, 3, 0}};
    int64_t              calls = 0;
    decode_options       o = {.max_tokens = 8, .watch = stop_at_four, .context = &calls};
    small                s;
    decoded              d[2];
    decode_times         times;

    small_open(&s, 4);
    MUST(decode(&s.memory, &s.m, prompts, 2, &o, d, &times));
    ck_assert(d[0].n == 4 && d[0].stopped && !d[0].ended && d[1].n == 8 && !d[1].stopped);
    ck_assert_int_eq(calls, 12);
    o.max_tokens = 9;
    MUST_FAIL(decode(&s.memory, &s.m, prompts, 2, &o, d, &times), "the watch fails");
    small_close(&s);
}
END_TEST

/* ---- beams --------------------------------------------------------------------------------------------------- */

/* A step of a search over the logits of each beam. */
static void step(beams *b, sampler *s, const float *rows)
{
    float logits[64];

    memcpy(logits, rows, (size_t)(b->n_running * s->words) * sizeof *logits);
    MUST(beams_step(b, s, logits));
}

static void open_search(beams *b, sampler *s, const decode_options *o, int64_t words)
{
    static const int32_t given[] = {0};

    MUST(beams_open(b, &memory, o, given, 1, 0));
    MUST(sampler_open(s, &memory, words, &o->choose));
}

/* More beams than words: all of them go on, and equal ones in the order of beams and tokens. */
START_TEST(equal_beams_keep_their_order)
{
    static const float   flat[5 * 3] = {0};
    const decode_options o = {.max_tokens = 2, .beams = {.n = 5, .length_penalty = 1}};
    beams                b;
    sampler              s;

    open_memory();
    open_search(&b, &s, &o, 3);
    step(&b, &s, flat);
    ck_assert_int_eq(b.n_running, 3);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(b.running[i].ids[0], i);
    step(&b, &s, flat);
    ck_assert(b.done && b.n_answers == 5);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(b.answers[i].ids[0], i / 3);
        ck_assert_int_eq(b.answers[i].ids[1], i % 3);
        ck_assert_msg(fabs(b.answers[i].score + log(3)) < 1e-6, "score %g", b.answers[i].score);
    }
    close_memory();
}
END_TEST

/* When every token is one that may not come, the answer ends. */
START_TEST(a_search_without_a_way_on_ends)
{
    static const float   flat[2 * 3] = {0};
    const decode_options o = {.max_tokens = 9, .choose = {.no_repeat = 1}, .beams = {.n = 2, .length_penalty = 0}};
    beams                b;
    sampler              s;

    open_memory();
    open_search(&b, &s, &o, 3);
    step(&b, &s, flat);
    step(&b, &s, flat);
    ck_assert(!b.done);
    step(&b, &s, flat);
    ck_assert(b.done && beams_best(&b)->n == 2 && beams_best(&b)->ended);
    ck_assert_msg(fabs(beams_best(&b)->score + 2 * log(3)) < 1e-6, "score %g", beams_best(&b)->score);
    close_memory();
}
END_TEST

static status stop_at_two(void *context, int64_t p, const decoded *so_far, bool *stop)
{
    (void)context;
    ck_assert_int_eq(p, 0);
    *stop = so_far->ids[so_far->n - 1] == 2;
    return STATUS_OK;
}

START_TEST(a_watch_ends_a_beam)
{
    static const float   rows[2 * 3] = {0, 1, 3, 0, 1, 3};
    const decode_options o = {.max_tokens = 2, .watch = stop_at_two, .beams = {.n = 2, .length_penalty = 1}};
    beams                b;
    sampler              s;

    open_memory();
    open_search(&b, &s, &o, 3);
    step(&b, &s, rows);
    ck_assert(!b.done && b.n_running == 2 && b.running[0].ids[0] == 1 && b.running[1].ids[0] == 0);
    step(&b, &s, rows);
    ck_assert(b.done && beams_best(&b)->stopped && beams_best(&b)->n == 1 && beams_best(&b)->ids[0] == 2);
    close_memory();
}
END_TEST

/* ---- conversations ------------------------------------------------------------------------------------------- */

/* Answers ids[0..n) of a conversation as decode does from the beginning; only `fresh` tokens of it are read. */
static void answer_alike(small *s, conversation *c, const int32_t *ids, int64_t n, int64_t fresh, decoded *out)
{
    const prompt         p = {ids, n, 0};
    const decode_options o = {.max_tokens = 12};
    decode_times         times;
    decoded              whole;

    MUST(conversation_answer(c, &s->memory, &p, &o, out, &times));
    ck_assert_int_eq(times.prompt_tokens, fresh);
    MUST(decode(&s->memory, &s->m, &p, 1, &o, &whole, &times));
    ck_assert(whole.margin > 1e-3); /* what rounding does to pieces and wholes decides nothing */
    ck_assert(same(&whole, out));
}

/* Turns of which the second goes on, the third changes what was said, the fourth takes a part of it back. */
static void talk(small *s, conversation *c)
{
    enum { FIRST = 270, NEW = 12, SECOND = FIRST + NEW + 18 }; /* the first is more than is read at once */
    int32_t ids[SECOND];
    decoded d;

    for (int i = 0; i < SECOND; i++)
        ids[i] = 3 + (i * 31 + i * i) % 97;
    answer_alike(s, c, ids, FIRST, FIRST, &d);
    memcpy(ids + FIRST, d.ids, NEW * sizeof *ids);
    answer_alike(s, c, ids, SECOND, SECOND - FIRST - NEW + 1, &d); /* an answer's last token was not computed yet */
    ids[FIRST + 5] = ids[FIRST + 5] == 3 ? 4 : 3;
    answer_alike(s, c, ids, SECOND, SECOND - FIRST - 5, &d);
    answer_alike(s, c, ids, 20, 1, &d);
    answer_alike(s, c, ids, 20, 1, &d);
}

#define LONG_LLAMA                                                                                 \
    "{\"model_type\": \"llama\", \"hidden_size\": 48, \"intermediate_size\": 80, \"num_hidden_layers\": 2, "   \
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"vocab_size\": 128, "               \
    "\"max_position_embeddings\": 1000, \"rms_norm_eps\": 1e-5, \"initializer_range\": 0.3}"

static void check_conversation(const char *method, const char *at)
{
    const char *const none[] = {NULL};
    small             s;
    conversation     *c = NULL;

    small_open_as(&s, LONG_LLAMA, 5);
    if (method) {
        small_add(&s, method, at, none, NULL);
        small_stir(&s, 3);
    }
    MUST(conversation_open(&s.memory, &s.m, 800, &c));
    talk(&s, c);
    conversation_close(c);
    small_close(&s);
}

START_TEST(a_conversation_computes_only_what_is_new)
{
    check_conversation(NULL, NULL);
    check_conversation("prompt", "embed_tokens");
    check_conversation("prefix", "self_attn");
}
END_TEST

START_TEST(a_conversation_has_its_room)
{
    static const int32_t ids[20] = {1, 2, 3};
    decode_options       o = {.max_tokens = 4};
    prompt               p = {ids, 16, 0};
    small                s;
    conversation        *c = NULL;
    decoded              d;
    decode_times         times;

    small_open_as(&s, LONG_LLAMA, 5);
    MUST_FAIL(conversation_open(&s.memory, &s.m, 1001, &c),
              "a conversation of 1001 tokens is more than the model's 1000");
    conversation_close(c);
    MUST(conversation_open(&s.memory, &s.m, 20, &c));
    MUST(conversation_answer(c, &s.memory, &p, &o, &d, &times));
    p.n = 17;
    MUST_FAIL(conversation_answer(c, &s.memory, &p, &o, &d, &times),
              "17 tokens and an answer of 4 have no room in 20");
    conversation_close(c);
    small_close(&s);
}
END_TEST

/* ---- refusals ------------------------------------------------------------------------------------------------ */

START_TEST(a_source_with_a_wrong_token_is_refused)
{
    const int32_t        ids[] = {7, 96};
    const prompt         p = {ids, 2, 0};
    const decode_options o = {.max_tokens = 2};
    trunk                t;
    decoded              d;
    decode_times         times;

    open_memory();
    open_trunk(&t, "t5_relu");
    MUST_FAIL(decode(&memory, &t.m, &p, 1, &o, &d, &times), "token 1 of prompt 0 is 96, must be 0..95");
    weights_close(&t.w);
    close_memory();
}
END_TEST

/* ---- texts of bytes ------------------------------------------------------------------------------------------ */

/* Without a tokenizer bytes are tokens. */
static answer_text text_of(const char *text, int n_stops, const char *const *stops)
{
    const session   s = {0};
    const key_texts list = {n_stops, stops};
    const int64_t   n = (int64_t)strlen(text);
    int32_t        *ids = arena_take(&memory, n + 1, sizeof *ids);
    answer_text     x;

    for (int64_t i = 0; i < n; i++)
        ids[i] = (unsigned char)text[i];
    MUST(answer_text_of(&s, &memory, ids, n, &list, &x));
    return x;
}

START_TEST(a_text_ends_at_the_first_stop_string)
{
    const char *const stops[] = {"\n\n", "END", "ENDING"};
    const struct {
        const char *text;
        size_t      length, sure;
        bool        stopped;
    } cases[] = {
        {"", 0, 0, false},           {"abc", 3, 3, false},        {"abcEN", 5, 3, false}, {"abcEND", 3, 3, true},
        {"a\n\nbEND", 1, 1, true},   {"a\nb", 3, 3, false},       {"a\n", 2, 1, false},   {"END", 0, 0, true},
        {"aEEN", 4, 2, false},       {"aENE", 4, 3, false},
        {"a\xC3", 2, 1, false},      {"a\xC3\xA4", 3, 3, false},  /* a half and a whole character */
        {"a\xE2\x82", 3, 1, false},  {"a\xE2\x82\xAC", 4, 4, false}, {"\xF0\x9F\x8C", 3, 0, false},
        {"\xF0\x9F\x8C\xB3", 4, 4, false}, {"a\xEF\xBF\xBD\xEF\xBF\xBD", 7, 1, false},
        {"E\xC3", 2, 0, false}, /* both at once */
    };

    open_memory();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const answer_text x = text_of(cases[i].text, 3, stops);
        ck_assert_msg(x.length == cases[i].length && x.sure == cases[i].sure && x.stopped == cases[i].stopped,
                      "case %zu: %zu bytes, %zu sure, %d", i, x.length, x.sure, x.stopped);
    }
    ck_assert_uint_eq(text_of("abcEN", 0, NULL).sure, 5);
    close_memory();
}
END_TEST

TESTS(generate, logits_are_processed_as_in_transformers, candidates_that_are_equal_stay_together,
      draws_follow_their_probabilities, greedy_texts_are_those_of_transformers,
      texts_of_beams_are_those_of_transformers, a_draw_knows_seed_and_number_and_not_the_batch,
      a_watch_ends_an_answer, equal_beams_keep_their_order, a_search_without_a_way_on_ends, a_watch_ends_a_beam,
      a_conversation_computes_only_what_is_new, a_conversation_has_its_room, a_source_with_a_wrong_token_is_refused,
      a_text_ends_at_the_first_stop_string)
