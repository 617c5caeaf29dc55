/* convert: SentencePiece's BPE from GGUF files to tokenizer.json and back; what a base without a tokenizer does */
#include "tests/with_convert.h"
#include "tests/with_trunk.h"

#include "core/file.h"
#include "core/gguf_write.h"
#include "core/json.h"
#include "core/rng.h"
#include "core/safetensors.h"
#include "data/tokenizer.h"
#include "data/tokenizer_convert.h"
#include "recipes/session.h"

#define MARK "\xE2\x96\x81"

/* ---- pieces --------------------------------------------------------------------------------------- */

enum { SPECIAL = 3, BYTES = 256, LETTERS = 4, MADE = 60, EXTRA = 2 };
enum { PIECES = SPECIAL + BYTES + LETTERS + MADE + EXTRA };

typedef struct pieces {
    gguf_text v[PIECES];
    float     scores[PIECES];
    int32_t   types[PIECES];
    int       n;
} pieces;

static void add(pieces *p, const char *text, float score, int32_t type)
{
    p->v[p->n] = (gguf_text){text, strlen(text)};
    p->scores[p->n] = score;
    p->types[p->n++] = type;
}

/* Whole numbers one after another. */
typedef struct numbers {
    rng_key  key;
    uint32_t n;
} numbers;

static int below(numbers *r, int n)
{
    return (int)(rng_philox(r->key, r->n++, 0, 0, 0).r[0] % (uint32_t)n);
}

static bool is_there(const pieces *p, const char *text)
{
    for (int i = 0; i < p->n; i++)
        if (p->v[i].n == strlen(text) && memcmp(p->v[i].v, text, p->v[i].n) == 0)
            return true;
    return false;
}

/* Pieces of a, b, c and blanks, each made of two others, in no order of their scores. */
static void make_pieces(pieces *p, uint64_t seed)
{
    static const char *const letters[LETTERS] = {"a", "b", "c", MARK};
    numbers                  r = {.key = rng_key_for(seed, "pieces")};

    *p = (pieces){0};
    add(p, "<unk>", 0, 2);
    add(p, "<s>", 0, 3);
    add(p, "</s>", 0, 3);
    for (int i = 0; i < BYTES; i++)
        add(p, arena_printf(&setup, "<0x%02X>", (unsigned)i), 0, 6);
    for (int i = 0; i < LETTERS; i++)
        add(p, letters[i], -1000, 1);
    const int first = SPECIAL + BYTES;
    while (p->n < first + LETTERS + MADE) {
        const gguf_text a = p->v[first + below(&r, p->n - first)], b = p->v[first + below(&r, p->n - first)];
        const char     *both = arena_printf(&setup, "%.*s%.*s", (int)a.n, a.v, (int)b.n, b.v);
        if (a.n + b.n <= 12 && !is_there(p, both))
            add(p, both, -(float)(below(&r, 1000) * 100 + p->n), 1);
    }
    add(p, "<turn>", 0, 4);
    add(p, "[PAD]", 0, 5);
}

static const char *write_gguf(const pieces *p, const char *name, bool prefix)
{
    gguf_meta m = {.a = &setup};

    gguf_put_string(&m, "tokenizer.ggml.model", "llama");
    gguf_put_texts(&m, "tokenizer.ggml.tokens", p->v, (uint64_t)p->n);
    gguf_put_array(&m, "tokenizer.ggml.scores", GGUF_F32, p->scores, (uint64_t)p->n);
    gguf_put_array(&m, "tokenizer.ggml.token_type", GGUF_I32, p->types, (uint64_t)p->n);
    gguf_put_u32(&m, "tokenizer.ggml.bos_token_id", 1);
    gguf_put_u32(&m, "tokenizer.ggml.eos_token_id", 2);
    gguf_put_bool(&m, "tokenizer.ggml.add_space_prefix", prefix);
    MUST(gguf_write(here(name), &m, NULL, 0, NULL));
    return here(name);
}

static const char *to_folder(const char *file, const char *name)
{
    gguf g;

    MUST(folder_make(here(name)));
    MUST(gguf_open(&setup, file, &g));
    MUST(tokenizer_from_gguf(&setup, &g, here(name)));
    gguf_close(&g);
    return here(name);
}

static const char *to_file(const char *from, int64_t words, const char *name)
{
    gguf_meta m = {.a = &setup};

    MUST(tokenizer_to_gguf(&setup, from, words, &m));
    MUST(gguf_write(here(name), &m, NULL, 0, NULL));
    return here(name);
}

static void same_ids(const tokenizer *a, const tokenizer *b, const char *text, size_t n)
{
    token_list x, y;
    char      *s, *t;
    size_t     k, l;

    MUST(tokenizer_encode(a, &setup, text, n, true, &x));
    MUST(tokenizer_encode(b, &setup, text, n, true, &y));
    ck_assert_msg(x.n == y.n && memcmp(x.ids, y.ids, (size_t)x.n * sizeof *x.ids) == 0, "\"%.*s\"", (int)n, text);
    MUST(tokenizer_decode(a, &setup, x.ids, x.n, true, &s, &k));
    MUST(tokenizer_decode(b, &setup, y.ids, y.n, true, &t, &l));
    ck_assert(k == l && memcmp(s, t, k) == 0);
}

static void same_on_texts(const char *a, const char *b, uint64_t seed)
{
    static const char *const parts[] = {"a", "b", "c", " ", "a", "b", "\xC3\xA9", "<s>", "<turn>", "x"};
    numbers                  r = {.key = rng_key_for(seed, "texts")};
    tokenizer               *x, *y;
    char                     text[512];

    MUST(tokenizer_open(&setup, a, &x));
    MUST(tokenizer_open(&setup, b, &y));
    ck_assert(tokenizer_bos(x) == tokenizer_bos(y) && tokenizer_eos(x) == tokenizer_eos(y));
    for (int i = 0; i < 300; i++) {
        const size_t mark = arena_mark(&setup);
        const int    n = below(&r, 60), few = i % 3 == 0 ? 10 : 6;
        text[0] = '\0';
        for (int k = 0; k < n; k++)
            strcat(text, parts[below(&r, few)]);
        same_ids(x, y, text, strlen(text));
        arena_rewind(&setup, mark);
    }
    tokenizer_close(x);
    tokenizer_close(y);
}

static void same_array(const gguf *a, const gguf *b, const char *key)
{
    const gguf_value *x = gguf_find(a, key), *y = gguf_find(b, key);

    ck_assert_msg(x && y && x->n == y->n && x->bytes == y->bytes && memcmp(x->v, y->v, x->bytes) == 0, "%s", key);
}

/* Scores become merges, merges scores, and texts keep their tokens. */
START_TEST(pieces_come_back)
{
    convert_begin();
    for (uint64_t seed = 1; seed <= 6; seed++) {
        pieces      p;
        gguf        a, b;
        const char *name = arena_printf(&setup, "a%d", (int)seed), *again = arena_printf(&setup, "b%d", (int)seed);
        make_pieces(&p, seed);
        const char *file = write_gguf(&p, arena_printf(&setup, "%s.gguf", name), seed % 2);
        const char *json = to_folder(file, name), *back = to_file(json, p.n, arena_printf(&setup, "%s.gguf", again));
        same_on_texts(file, json, seed);
        same_on_texts(file, back, seed + 100);
        MUST(gguf_open(&setup, file, &a));
        MUST(gguf_open(&setup, back, &b));
        same_array(&a, &b, "tokenizer.ggml.token_type");
        const gguf_value *prefix = gguf_find(&b, "tokenizer.ggml.add_space_prefix");
        ck_assert(prefix && *prefix->v == seed % 2);
        gguf_close(&a);
        gguf_close(&b);
        same_on_texts(json, to_folder(back, again), seed + 200);
    }
    convert_end();
}
END_TEST

/* The way of gemma's tokenizer.json: no blank in front, a cut that never happens, added tokens. */
START_TEST(gemma_is_known)
{
    char  *text, *at;
    size_t n;
    pieces p;

    convert_begin();
    make_pieces(&p, 3);
    const char *json = to_folder(write_gguf(&p, "x.gguf", false), "x");
    const char *path = path_join(&setup, json, "tokenizer.json");
    MUST(file_read(&setup, path, 1 << 20, &text, &n));
    at = strstr(text, "\"pre_tokenizer\": null");
    ck_assert_ptr_nonnull(at);
    const char *cut = arena_printf(&setup,
                                   "%.*s\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"String\": \" \"}, "
                                   "\"behavior\": \"MergedWithPrevious\", \"invert\": false}%s",
                                   (int)(at - text), text,
                                   at + strlen("\"pre_tokenizer\": null"));
    MUST(file_replace(path, cut, strlen(cut)));
    same_on_texts(json, to_file(json, p.n + 5, "y.gguf"), 9);
    convert_end();
}
END_TEST

static const char *edited(const char *json, const char *from, const char *to)
{
    const char *path = path_join(&setup, json, "tokenizer.json"), *out = here("edited");
    char       *text, *at;
    size_t      n;

    MUST(file_read(&setup, path, 1 << 20, &text, &n));
    at = strstr(text, from);
    ck_assert_msg(at != NULL, "%s is not in %s", from, path);
    const char *changed = arena_printf(&setup, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    if (!path_exists(out))
        MUST(folder_make(out));
    MUST(file_replace(path_join(&setup, out, "tokenizer.json"), changed, strlen(changed)));
    return out;
}

START_TEST(what_scores_cannot_say_is_refused)
{
    gguf_meta m = {.a = &setup};
    pieces    p;

    convert_begin();
    p = (pieces){0};
    add(&p, "<unk>", 0, 2);
    for (int i = 0; i < BYTES; i++)
        add(&p, arena_printf(&setup, "<0x%02X>", (unsigned)i), 0, 6);
    add(&p, "a", -9, 1);
    add(&p, "ab", -1, 1);
    add(&p, "b", -9, 1);
    add(&p, "ba", -2, 1);
    add(&p, "aba", -3, 1);
    add(&p, "<s>", 0, 3);
    add(&p, "</s>", 0, 3);
    gguf_put_string(&m, "tokenizer.ggml.model", "llama");
    gguf_put_texts(&m, "tokenizer.ggml.tokens", p.v, (uint64_t)p.n);
    gguf_put_array(&m, "tokenizer.ggml.scores", GGUF_F32, p.scores, (uint64_t)p.n);
    gguf_put_array(&m, "tokenizer.ggml.token_type", GGUF_I32, p.types, (uint64_t)p.n);
    gguf_put_bool(&m, "tokenizer.ggml.add_bos_token", false);
    MUST(gguf_write(here("x.gguf"), &m, NULL, 0, NULL));
    const char *json = to_folder(here("x.gguf"), "x");

    MUST_FAIL(tokenizer_to_gguf(&setup, edited(json, ",\n   [\"a\", \"ba\"]", ""), p.n, &m),
              "\"a\" and \"ba\" are not merged");
    MUST_FAIL(tokenizer_to_gguf(&setup, edited(json, "[\"a\", \"b\"],\n   [\"b\", \"a\"],\n   [\"a\", \"ba\"]",
                                               "[\"a\", \"b\"],\n   [\"a\", \"ba\"],\n   [\"b\", \"a\"]"), p.n, &m),
              "stand among those of another token");
    MUST_FAIL(tokenizer_to_gguf(&setup, edited(json, "{\"type\": \"Prepend\", \"prepend\": \"" MARK "\"}, ",
                                               "{\"type\": \"Lowercase\"}, "), p.n, &m),
              "normalizer and pre_tokenizer");
    MUST_FAIL(tokenizer_to_gguf(&setup, edited(json, "\"pre_tokenizer\": null",
                                               "\"pre_tokenizer\": {\"type\": \"Metaspace\", "
                                               "\"replacement\": \"" MARK "\", \"prepend_scheme\": \"first\", "
                                               "\"split\": false}"),
                                p.n, &m), "normalizer and pre_tokenizer");
    MUST_FAIL(tokenizer_to_gguf(&setup, edited(json, "{\"type\": \"Fuse\"}, ", ""), p.n, &m), "the decoder must be");
    MUST_FAIL(tokenizer_to_gguf(&setup, edited(json, "\"normalized\": false", "\"normalized\": true"), p.n, &m),
              "is normalized");
    MUST_FAIL(tokenizer_to_gguf(&setup, edited(json, "\"unk_token\": \"<unk>\"", "\"unk_token\": null"), p.n, &m),
              "no unk_token");
    MUST_FAIL(tokenizer_to_gguf(&setup, json, p.n - 1, &m), "the embedding has");
    MUST(tokenizer_to_gguf(&setup, edited(json, "\"version\"", "\"version\""), p.n, &m));
    convert_end();
}
END_TEST

/* ---- a base without a tokenizer ------------------------------------------------------------------- */

#define TRUNK(words)                                                                                           \
    "{\"model_type\": \"llama\", \"hidden_size\": 16, \"intermediate_size\": 32, \"num_hidden_layers\": 1, "   \
    "\"num_attention_heads\": 2, \"vocab_size\": " words ", \"max_position_embeddings\": 64, "                 \
    "\"tie_word_embeddings\": true, \"initializer_range\": 0.3}"

/* A trunk of random weights as a .gguf file without a tokenizer, in a folder of its own. */
static const char *bare_file(const char *name, const char *json)
{
    const convert_request q = {.from = here("trunk"), .to = path_join(&setup, here(name), "x.gguf"), .shard = 5000};
    FILE                 *nowhere = fopen("/dev/null", "w");
    safetensors_item     *items;
    small                 s;

    small_open_as(&s, json, 4);
    items = arena_take(&s.memory, (size_t)s.m.n_tensors, sizeof *items);
    for (int i = 0; i < s.m.n_tensors; i++)
        items[i] = (safetensors_item){s.m.tensors[i].full, s.m.tensors[i].value};
    if (!path_exists(q.from))
        MUST(folder_make(q.from));
    MUST(folder_make(here(name)));
    MUST(file_replace(path_join(&setup, q.from, "config.json"), json, strlen(json)));
    MUST(safetensors_write(path_join(&setup, q.from, "model.safetensors"), items, s.m.n_tensors, NULL, 0));
    MUST(command_convert(&q, nowhere));
    fclose(nowhere);
    small_close(&s);
    return q.to;
}

static const char *saved_adapter(const char *name, const char *json, const char *base)
{
    const char *path = here(name);
    small       s;

    small_open_as(&s, json, 0);
    small_add(&s, "lora", "all-linear", NULL, NULL);
    small_stir(&s, 3);
    MUST(folder_make(path));
    MUST(adapter_save(s.p, 0, path, &(adapter_info){.base = base}));
    small_close(&s);
    return path;
}

static status merged(const char *base, const char *adapter, const char *out)
{
    FILE        *nowhere = fopen("/dev/null", "w");
    const status s = command_merge(base, adapter, out, NULL, -1, true, nowhere);

    fclose(nowhere);
    return s;
}

START_TEST(bytes_are_tokens_of_a_bare_file)
{
    session  s;
    int32_t *ids;
    int64_t  n;

    convert_begin();
    const char *file = bare_file("bare", TRUNK("300"));
    MUST(session_open(&s));
    MUST(session_base(&s, file, 0, false));
    ck_assert(!s.words && !s.words_in);
    MUST(session_encode(&s, &s.setup, "a\xff", 2, true, &ids, &n));
    ck_assert(n == 2 && ids[0] == 'a' && ids[1] == 255);
    session_close(&s);
    MUST(merged(file, saved_adapter("adapter", TRUNK("300"), file), here("out")));
    ck_assert(!path_exists(path_join(&setup, here("out"), "tokenizer.json")));

    file = bare_file("small", TRUNK("100"));
    MUST(session_open(&s));
    MUST(session_base(&s, file, 0, false));
    MUST_FAIL(session_encode(&s, &s.setup, "a", 1, true, &ids, &n), "100 words are too few for bytes as tokens");
    session_close(&s);
    convert_end();
}
END_TEST

START_TEST(a_tokenizer_beside_a_file_is_its_own)
{
    session  s;
    pieces   p;
    int32_t *ids;
    int64_t  n;

    convert_begin();
    const char *file = bare_file("beside", TRUNK("340"));
    make_pieces(&p, 2);
    const char *json = path_join(&setup, to_folder(write_gguf(&p, "t.gguf", true), "t"), "tokenizer.json");
    char       *text;
    size_t      length;
    MUST(file_read(&setup, json, 1 << 20, &text, &length));
    MUST(file_replace(path_join(&setup, here("beside"), "tokenizer.json"), text, length));
    MUST(session_open(&s));
    MUST(session_base(&s, file, 0, false));
    ck_assert(s.words && strcmp(s.words_in, here("beside")) == 0);
    MUST(session_encode(&s, &s.setup, "a", 1, true, &ids, &n));
    ck_assert_int_eq(ids[0], 1);
    session_close(&s);
    MUST(merged(file, saved_adapter("adapter", TRUNK("340"), file), here("out")));
    same_on_texts(here("beside"), here("out"), 4);

    /* and what the trunk has no rows for is refused */
    file = bare_file("few", TRUNK("300"));
    MUST(file_replace(path_join(&setup, here("few"), "tokenizer.json"), text, length));
    MUST(session_open(&s));
    MUST_FAIL(session_base(&s, file, 0, false), "they do not belong together");
    session_close(&s);
    convert_end();
}
END_TEST

/* A tokenizer in the file's metadata is written into the merged folder. */
START_TEST(merging_writes_the_tokenizer)
{
    gguf      g;
    gguf_meta m = {.a = &setup};
    pieces    p;

    convert_begin();
    const char *bare = bare_file("bare", TRUNK("340")), *file = here("with.gguf");
    make_pieces(&p, 5);
    MUST(tokenizer_to_gguf(&setup, to_folder(write_gguf(&p, "t.gguf", true), "t"), 340, &m));
    MUST(gguf_open(&setup, bare, &g));
    for (int64_t i = 0; i < g.n_pairs; i++)
        gguf_put(&m, g.pairs[i].key, &g.pairs[i].value);
    gguf_item *items = arena_take(&setup, (size_t)g.n_tensors, sizeof *items);
    for (int64_t i = 0; i < g.n_tensors; i++)
        items[i] = (gguf_item){g.tensors[i].name, g.tensors[i].t};
    MUST(gguf_write(file, &m, items, g.n_tensors, NULL));
    gguf_close(&g);
    MUST(merged(file, saved_adapter("adapter", TRUNK("340"), file), here("out")));
    same_on_texts(file, here("out"), 6);
    ck_assert(path_exists(path_join(&setup, here("out"), "tokenizer_config.json")));
    convert_end();
}
END_TEST

TESTS(convert_tokenizer, pieces_come_back, gemma_is_known, what_scores_cannot_say_is_refused,
      bytes_are_tokens_of_a_bare_file, a_tokenizer_beside_a_file_is_its_own, merging_writes_the_tokenizer)
