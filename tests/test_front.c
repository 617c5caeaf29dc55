/* front: virtual tokens, keys and values in front of every sequence, in packing, in training and in decoding; tensors
 * of the trunk that are trained beside a method's sites */
#include "tests/helpers.h"
#include "tests/with_trunk.h"

#include "core/file.h"
#include "data/pack.h"
#include "recipes/decoder.h"

#include <math.h>

/* What stands in front: a prefix of 5, a prompt of 3, both; and trained tokens, which the prompts have. */
typedef struct kind {
    const char *method, *at;
} kind;

static void add(small *s, const kind *k, const char *name)
{
    static const char *const tokens[] = {"5", "12", "100"}, *const names[] = {"tokens", NULL};
    const peft_method       *m = peft_find(k->method);
    const double             n = strcmp(k->method, "prefix") == 0 ? 5 : 3;
    const bool               front = m->everywhere;
    char                    *options = small_options(s, m, front ? names : NULL, &n);

    if (!front)
        *(key_texts *)(options + m->keys->keys[0].offset) = (key_texts){3, tokens};
    MUST(peft_add(s->p, name, m, options, &k->at, 1, true));
}

static void open_kinds(small *s, const kind *kinds, int n)
{
    small_open(s, 7);
    for (int i = 0; i < n; i++)
        add(s, &kinds[i], kinds[i].method);
    MUST(peft_allocate(s->p, &s->tuned));
    small_stir(s, 3);
}

static const kind kinds[] = {{"trainable_tokens", "embed_tokens"}, {"prefix", "self_attn"}, {"prompt", "embed_tokens"}};

static trace_result trace_ids(small *s, const char *json, const trace_options *o)
{
    cJSON       *list = cJSON_Parse(json);
    trace_result r;

    MUST(trace_run(&s->memory, &s->m, s->p, list, "front", o, &r));
    cJSON_Delete(list);
    return r;
}

/* The best next token of a sequence, without a cache. */
static int32_t next_token(small *s, const int32_t *ids, int64_t n)
{
    char *text = arena_printf(&s->memory, "[{\"ids\": [%d", ids[0]);

    for (int64_t i = 1; i < n; i++)
        text = arena_printf(&s->memory, "%s, %d", text, ids[i]);
    const trace_result r = trace_ids(s, arena_printf(&s->memory, "%s]}]", text), &(trace_options){0});
    const float       *row = (const float *)r.items[0].t.v + (n - 1) * s->m.words;
    int32_t            best = 0;
    for (int32_t i = 1; i < s->m.words; i++)
        best = row[i] > row[best] ? i : best;
    return best;
}

/* Two prompts of different lengths, with pages of keys and token by token, write what whole runs say. */
static void check_decoding(small *s)
{
    enum { NEW = 6 };
    static const int32_t first[] = {1, 5, 9, 100, 7, 12}, second[] = {31, 2, 5};
    const prompt         prompts[] = {{first, 6, 0}, {second, 3, 0}};
    decoded              d[2];
    decode_times         times;

    MUST(decode(&s->memory, &s->m, prompts, 2, &(decode_options){.max_tokens = NEW, .ignore_end = true}, d, &times));
    for (int p = 0; p < 2; p++) {
        int32_t ids[16];
        int64_t n = prompts[p].n;
        memcpy(ids, prompts[p].ids, (size_t)n * sizeof *ids);
        ck_assert_int_eq(d[p].n, NEW);
        ck_assert(d[p].margin > 1e-3); /* what whole runs and the cache round differently decides nothing */
        for (int i = 0; i < NEW; i++, n++) {
            ids[n] = next_token(s, ids, n);
            ck_assert_int_eq(d[p].ids[i], ids[n]);
        }
    }
}

START_TEST(decoding_with_a_cache_is_decoding_without)
{
    const struct {
        int from, n;
    } some[] = {{0, 1}, {1, 1}, {2, 1}, {1, 2}, {0, 3}};

    for (size_t i = 0; i < COUNT_OF(some); i++) {
        small s;
        open_kinds(&s, kinds + some[i].from, some[i].n);
        check_decoding(&s);
        small_close(&s);
    }
}
END_TEST

/* Samples in one stream never see each other, nor each other's front. */
START_TEST(packed_is_alone)
{
    small s;

    open_kinds(&s, kinds, 3);
    const trace_result both = trace_ids(&s, "[{\"ids\": [1, 5, 9, 100]}, {\"ids\": [3, 12, 8]}]", &(trace_options){0});
    const trace_result alone = trace_ids(&s, "[{\"ids\": [3, 12, 8]}]", &(trace_options){0});
    ck_assert_int_eq(both.items[1].t.s.d[0], 3);
    ck_assert_mem_eq(both.items[1].t.v, alone.items[0].t.v, tensor_bytes(&alone.items[0].t));
    small_close(&s);
}
END_TEST

START_TEST(recomputed_gradients_have_the_same_bits)
{
    const trace_options how[] = {{.how = RECOMPUTE_NONE}, {.how = RECOMPUTE_BLOCK}};
    small               s;
    trace_result        r[2];
    const char         *names[8];

    open_kinds(&s, kinds, 3);
    for (int i = 0; i < s.p->n_tuned; i++)
        names[i] = s.p->tensors[i].name;
    for (int i = 0; i < 2; i++) {
        trace_options o = how[i];
        o.gradients = names;
        o.n_gradients = s.p->n_tuned;
        r[i] = trace_ids(&s, "[{\"ids\": [1, 5, 9, 100]}, {\"ids\": [3, 12, 8]}]", &o);
    }
    ck_assert_int_eq(s.p->n_tuned, 3);
    for (int k = 2; k < 5; k++)
        ck_assert_mem_eq(r[0].items[k].t.v, r[1].items[k].t.v, tensor_bytes(&r[0].items[k].t));
    small_close(&s);
}
END_TEST

/* Capacity, targets and positions count what is in front. */
START_TEST(packing_counts_virtual_tokens)
{
    const int32_t ids[] = {1, 2, 3, 4, 5, 6};
    example       v[] = {{.n = 4, .ids = ids, .labels = ids, .label = -1, .batch = -1},
                         {.n = 6, .ids = ids, .labels = ids, .label = -1, .batch = -1},
                         {.n = 4, .ids = ids, .labels = ids, .label = -1, .batch = -1}};
    const examples x = {.n = 3, .v = v, .longest = 6, .front = 3};
    arena          a;
    packer         p;
    pack_step      step;
    batch          b;

    MUST(arena_open(&a, "pack", 1 << 24));
    MUST_FAIL(packer_open_once(&a, &x, 8, 0, &p), "sample 1 has 9 tokens with the virtual ones in front");
    MUST(packer_open_once(&a, &x, 14, 0, &p));
    ck_assert_int_eq(p.seqs_capacity, 2);
    MUST(batch_open(&a, 14, 2, &b));
    b.front = 3;
    b.first_position = 5;
    packer_step(&p, &step);
    ck_assert_int_eq(step.n_samples, 2); /* 7 + 7; 9 waits */
    ck_assert_int_eq(step.n_tokens, 14);
    packer_fill(&p, &step, 0, &b);
    ck_assert_int_eq(b.n_tokens, 14);
    ck_assert_int_eq(b.offsets[1], 7);
    ck_assert_int_eq(b.n_targets, 6);
    ck_assert_int_eq(b.target_rows[0], 3); /* the first word says the second */
    ck_assert_int_eq(b.target_ids[0], 2);
    ck_assert_int_eq(b.target_rows[3], 10);
    ck_assert_int_eq(b.positions[0], 5);
    ck_assert_int_eq(b.positions[13], 11);
    ck_assert_int_eq(b.ids[2], 0);
    ck_assert_int_eq(b.ids[3], 1);
    arena_close(&a);
}
END_TEST

START_TEST(too_long_with_its_front_is_refused)
{
    static const int32_t ids[] = {1, 2, 3};
    const prompt         p = {ids, 3, 0};
    small                s; /* 64 positions */
    decoded              d;
    decode_times         times;

    open_kinds(&s, kinds + 1, 2);
    MUST(decode(&s.memory, &s.m, &p, 1, &(decode_options){.max_tokens = 53, .ignore_end = true}, &d, &times));
    MUST_FAIL(decode(&s.memory, &s.m, &p, 1, &(decode_options){.max_tokens = 54}, &d, &times),
              "a prompt of 11 tokens with what is in front and 54 new ones");
    small_close(&s);
}
END_TEST

/* ---- beside the sites ------------------------------------------------------------------------------------- */

static void open_lora(small *s)
{
    const peft_method *m = peft_find("lora");
    const char        *at = "q_proj", *names[] = {"rank", NULL};
    const double       rank = 2;

    small_open(s, 7);
    MUST(peft_add(s->p, "main", m, small_options(s, m, names, &rank), &at, 1, true));
}

static int64_t values_of(const peft *p)
{
    int64_t n = 0;

    for (int i = 0; i < p->n_tuned; i++)
        n += shape_count(p->tensors[i].value.s);
    return n;
}

static double difference(const trace_result *a, const trace_result *b)
{
    double worst = 0;

    for (int i = 0; i < 2; i++) {
        const float *x = a->items[i].t.v, *y = b->items[i].t.v;
        for (int64_t k = 0; k < shape_count(a->items[i].t.s); k++)
            worst = fmax(worst, fabs((double)x[k] - y[k]));
    }
    return worst;
}

/* Saved, loaded, counted, off. */
static void check_beside(small *s, int64_t lora, int64_t whole)
{
    const trace_options plain = {0};
    small               t;
    char                folder[64];

    ck_assert_int_eq(peft_whole_count(s->p, 0), whole);
    ck_assert_int_eq(values_of(s->p), lora + whole);
    ck_assert_int_eq(s->p->trained, lora + whole);
    MUST(peft_allocate(s->p, &s->tuned));
    small_open(&t, 7);
    const trace_result bare = small_trace(&t, &plain), fresh = small_trace(s, &plain);
    ck_assert(difference(&bare, &fresh) == 0);
    small_stir(s, 5);
    const trace_result on = small_trace(s, &plain);
    ck_assert(difference(&bare, &on) > 1e-3);
    peft_detach(s->p);
    const trace_result off = small_trace(s, &plain);
    ck_assert(difference(&bare, &off) == 0);
    peft_attach_again(s->p);
    test_folder(folder);
    MUST(adapter_save(s->p, 0, folder, &(adapter_info){.base = "small"}));
    MUST(adapter_add(t.p, folder, "main", true));
    MUST(peft_allocate(t.p, &t.tuned));
    MUST(adapter_load(t.p, 0, folder, NULL));
    const trace_result again = small_trace(&t, &plain);
    ck_assert(difference(&on, &again) == 0);
    MUST(folder_remove_tree(folder));
    small_close(&t);
    small_close(s);
}

enum { LORA = 3 * 2 * (48 + 48), WORDS = 128, WIDTH = 48 };

START_TEST(parts_of_the_trunk_are_trained_beside_lora)
{
    static const char *const norm[] = {"norm"}, *const head[] = {"lm_head"}, *const table[] = {"embed_tokens"};
    static const char *const both[] = {"embed_tokens", "model.embed_tokens", "lm_head"};
    static const char *const linear[] = {"k_proj"}, *const wrong[] = {"k_porj"};
    static const int32_t tokens[] = {9, 3, 127};
    small                s;

    open_lora(&s);
    MUST_FAIL(peft_tune_whole(s.p, 0, wrong, 1, false), "'k_porj' is no part of this llama model");
    MUST(peft_tune_whole(s.p, 0, norm, 1, false));
    check_beside(&s, LORA, 7 * WIDTH);
    open_lora(&s);
    MUST(peft_tune_whole(s.p, 0, head, 1, false));
    ck_assert(peft_parts_tied(s.p));
    check_beside(&s, LORA, WORDS * WIDTH);
    open_lora(&s);
    MUST(peft_tune_whole(s.p, 0, table, 1, false));
    check_beside(&s, LORA, WORDS * WIDTH);
    open_lora(&s);
    MUST(peft_tune_whole(s.p, 0, both, 3, true));
    ck_assert(!peft_parts_tied(s.p));
    check_beside(&s, LORA, WORDS * WIDTH);
    open_lora(&s);
    MUST(peft_tune_whole(s.p, 0, linear, 1, false));
    check_beside(&s, LORA, 3 * (24 * WIDTH + 24));
    open_lora(&s);
    MUST(peft_tune_tokens(s.p, 0, tokens, 3));
    check_beside(&s, LORA, 3 * WIDTH);
}
END_TEST

START_TEST(wrong_tokens_are_refused)
{
    static const int32_t twice[] = {4, 4}, far[] = {128};
    small                s;

    open_lora(&s);
    MUST_FAIL(peft_tune_tokens(s.p, 0, twice, 2), "token 4 is to be trained twice");
    MUST_FAIL(peft_tune_tokens(s.p, 0, far, 1), "token 128 is to be trained, must be 0..127");
    MUST_FAIL(peft_tune_tokens(s.p, 0, far, 0), "no tokens are named");
    add(&s, &kinds[2], "prompt");
    MUST_FAIL(peft_tune_tokens(s.p, 0, twice, 1), "must stand before those of virtual ones");
    small_close(&s);
}
END_TEST

/* In front of some blocks only, keys would have other positions than the tokens think. */
START_TEST(a_prefix_sits_in_all_blocks)
{
    const peft_method *m = peft_find("prefix");
    const char        *at = "block.1.kv";
    small              s;

    small_open(&s, 1);
    MUST_FAIL(peft_add(s.p, "main", m, small_options(&s, m, NULL, NULL), &at, 1, true),
              "it is asked for in 1 blocks, must be in all 3");
    small_close(&s);
}
END_TEST

START_TEST(an_lstm_is_refused_for_training)
{
    const peft_method *m = peft_find("p_tuning");
    const char        *at = "embed_tokens", *names[] = {"encoder", NULL};
    const double       lstm = 1;
    small              s;

    small_open(&s, 1);
    MUST_FAIL(peft_add(s.p, "main", m, small_options(&s, m, names, &lstm), &at, 1, true),
              "an lstm encoder cannot be trained in this version; use mlp");
    small_close(&s);
}
END_TEST

/* A folder without the network is trained as it is stored, and PEFT's own have none. */
START_TEST(a_result_without_its_network_is_read)
{
    const struct {
        const char *method, *at, *option;
    } some[] = {{"p_tuning", "embed_tokens", NULL}, {"prefix", "self_attn", "projection"}};

    for (size_t i = 0; i < COUNT_OF(some); i++) {
        const char         *names[] = {some[i].option, NULL};
        const double        yes = 1;
        const trace_options plain = {0};
        small               s, t;
        char                folder[64], encoder[96];

        small_open(&s, 7);
        small_add(&s, some[i].method, some[i].at, names, &yes);
        small_stir(&s, 4);
        const trace_result made = small_trace(&s, &plain);
        test_folder(folder);
        MUST(adapter_save(s.p, 0, folder, &(adapter_info){.base = "small"}));
        snprintf(encoder, sizeof encoder, "%s/encoder.safetensors", folder);
        ck_assert_int_eq(remove(encoder), 0);
        small_open(&t, 7);
        MUST(adapter_add(t.p, folder, "main", true));
        MUST(peft_allocate(t.p, &t.tuned));
        MUST(adapter_load(t.p, 0, folder, NULL));
        ck_assert_int_eq(t.p->n_tuned, 1);
        const trace_result stored = small_trace(&t, &plain);
        ck_assert(difference(&made, &stored) == 0);
        MUST(folder_remove_tree(folder));
        small_close(&s);
        small_close(&t);
    }
}
END_TEST

TESTS(front, an_lstm_is_refused_for_training, a_result_without_its_network_is_read,
      decoding_with_a_cache_is_decoding_without, packed_is_alone, recomputed_gradients_have_the_same_bits,
      packing_counts_virtual_tokens, too_long_with_its_front_is_refused, parts_of_the_trunk_are_trained_beside_lora,
      wrong_tokens_are_refused, a_prefix_sits_in_all_blocks)
