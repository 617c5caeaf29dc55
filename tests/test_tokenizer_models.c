/* tokenizer models by hand: Unigram, WordPiece, BPE of characters, what stands around them, cutting
 * to a length, and files that are wrong. Every expected number is the reference's. */
#include "core/file.h"
#include "data/tokenizer_parts.h"
#include "tests/helpers.h"

static arena files, work;
static char folder[64];

static void begin(void)
{
    MUST(arena_open(&files, "model", (size_t)1 << 28));
    MUST(arena_open(&work, "work", (size_t)1 << 28));
    test_folder(folder);
}

static void end(void)
{
    MUST(folder_remove_tree(folder));
    arena_close(&files);
    arena_close(&work);
}

static status open_json(const char *json, tokenizer **t)
{
    char *path = arena_printf(&files, "%s/tokenizer.json", folder);

    MUST(file_replace(path, json, strlen(json)));
    return tokenizer_open(&files, path, t);
}

/* "1 2 3" for the ids of a text, "0:1 1:2" for its places. */
static char *ids_of(const token_list *l)
{
    char *text = arena_printf(&work, "%s", "");

    for (int64_t i = 0; i < l->n; i++)
        text = arena_printf(&work, "%s%s%d", text, i ? " " : "", l->ids[i]);
    return text;
}

static char *places_of(const token_list *l)
{
    char *text = arena_printf(&work, "%s", "");

    for (int64_t i = 0; i < l->n; i++)
        text = arena_printf(&work, "%s%s%u:%u", text, i ? " " : "", l->begin[i], l->end[i]);
    return text;
}

static void expect(const tokenizer *t, const char *text, const char *ids, const char *places,
                   const char *decoded)
{
    token_list got;
    char *back;
    size_t n;

    MUST(tokenizer_encode(t, &work, text, strlen(text), true, &got));
    ck_assert_str_eq(ids_of(&got), ids);
    ck_assert_str_eq(places_of(&got), places);
    MUST(tokenizer_decode(t, &work, got.ids, got.n, true, &back, &n));
    ck_assert_str_eq(back, decoded);
}

#define FILE_OF(normalizer, pre, post, decoder, model)                                             \
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[{\"id\":0,"         \
    "\"content\":\"<u>\",\"single_word\":false,\"lstrip\":true,\"rstrip\":false,\"normalized\":"     \
    "false,\"special\":true}],\"normalizer\":" normalizer ",\"pre_tokenizer\":" pre                \
    ",\"post_processor\":" post ",\"decoder\":" decoder ",\"model\":" model "}"

#define METASPACE(scheme)                                                                          \
    "{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\",\"prepend_scheme\":\"" scheme          \
    "\",\"split\":true}"

#define UNIGRAM_MODEL(fallback)                                                                    \
    "{\"type\":\"Unigram\",\"unk_id\":0,\"byte_fallback\":" fallback ",\"vocab\":[[\"<u>\",0],"      \
    "[\"\xE2\x96\x81\",-3],[\"a\",-2],[\"b\",-2],[\"ab\",-4],[\"\xE2\x96\x81" "a\",-4.5],"            \
    "[\"<0xC3>\",-9],[\"<0xA9>\",-9],[\"\xEF\xBF\xBD\",-20]]}"

static const char unigram[] =
    FILE_OF("{\"type\":\"NFC\"}", METASPACE("always"), "null", METASPACE("always"),
            UNIGRAM_MODEL("false"));
static const char unigram_bytes[] =
    FILE_OF("{\"type\":\"NFC\"}", METASPACE("first"), "null",
            "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteFallback\"}," METASPACE("first") "]}",
            UNIGRAM_MODEL("true"));

/* The first of equal paths stays ("ab" against "a" "b"); neighbouring unknowns are one token; e and
 * its accent are composed before. */
START_TEST(unigram_finds_the_best_path)
{
    tokenizer *t;

    begin();
    MUST(open_json(unigram, &t));
    expect(t, "ab xyz", "5 3 1 0", "0:1 1:2 2:3 3:6", "ab ");
    expect(t, "bab", "1 3 4", "0:1 0:1 1:3", "bab");
    expect(t, "a <u>b", "5 0 1 3", "0:1 1:5 5:6 5:6", "a b");
    tokenizer_close(t);
    MUST(open_json(unigram_bytes, &t));
    expect(t, "ae\xCC\x81", "5 6 7", "0:1 1:2 1:2", "a\xC3\xA9");
    tokenizer_close(t);
    end();
}
END_TEST

#define BERT_FILE(lower)                                                                           \
    FILE_OF("{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"        \
            "\"strip_accents\":null,\"lowercase\":" lower "}",                                     \
            "{\"type\":\"BertPreTokenizer\"}",                                                     \
            "{\"type\":\"BertProcessing\",\"sep\":[\"S\",2],\"cls\":[\"C\",1]}",                     \
            "{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true}",                           \
            "{\"type\":\"WordPiece\",\"unk_token\":\"<u>\",\"continuing_subword_prefix\":\"##\","    \
            "\"max_input_chars_per_word\":6,\"vocab\":{\"<u>\":0,\"C\":1,\"S\":2,\"un\":3,\"##a\":4,"  \
            "\"##able\":5,\"e\":6,\".\":7,\"\xE6\xBC\xA2\":8,\"E\":9}}")

static const char bert[] = BERT_FILE("true");
static const char bert_cased[] = BERT_FILE("false");

/* Longest first; a word that cannot be spelled or is too long is one unknown. */
START_TEST(wordpiece_takes_the_longest)
{
    tokenizer *t;
    token_list got;

    begin();
    MUST(open_json(bert, &t));
    expect(t, "Unable.", "1 3 5 7 2", "0:0 0:2 2:6 6:7 0:0", "C unable. S");
    expect(t, "\xC3\x89\x01\tunax \xE6\xBC\xA2" "e", "1 6 0 8 6 2", "0:0 0:2 4:8 9:12 12:13 0:0",
           "C e \xE6\xBC\xA2 e S");
    expect(t, "unaaaaa", "1 0 2", "0:0 0:7 0:0", "C S");
    MUST(tokenizer_encode_pair(t, &work, "e", 1, "E.", 2, true, &got));
    ck_assert_str_eq(ids_of(&got), "1 6 2 6 7 2");
    static const uint8_t types[] = {0, 0, 0, 1, 1, 1}, special[] = {1, 0, 1, 0, 0, 1};
    ck_assert_mem_eq(got.types, types, 6);
    ck_assert_mem_eq(got.special, special, 6);
    tokenizer_close(t);
    MUST(open_json(bert_cased, &t));
    expect(t, "E e", "1 9 6 2", "0:0 0:1 2:3 0:0", "C E e S");
    tokenizer_close(t);
    end();
}
END_TEST

#define LLAMA_FILE(normalizer, pre)                                                                \
    FILE_OF(normalizer, pre, "null",                                                               \
            "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":"      \
            "\"\xE2\x96\x81\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"    \
            "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}",                        \
            "{\"type\":\"BPE\",\"unk_token\":\"<u>\",\"fuse_unk\":true,\"byte_fallback\":true,"       \
            "\"vocab\":{\"<u>\":0,\"\xE2\x96\x81\":1,\"a\":2,\"b\":3,\"ab\":4,\"\xE2\x96\x81" "ab\":5,"  \
            "\"<0xC3>\":6,\"<0xA9>\":7},\"merges\":[\"a b\",\"\xE2\x96\x81 ab\"]}")

static const char llama[] =
    LLAMA_FILE("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81"
               "\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xE2\x96\x81\"}]}",
               "null");
static const char llama_metaspace[] =
    LLAMA_FILE("null", "{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\",\"prepend_scheme\":"
                       "\"first\",\"split\":false}");

/* Every stretch between special tokens has a mark in front, or only the first one. */
START_TEST(bpe_of_characters)
{
    tokenizer *t;

    begin();
    MUST(open_json(llama, &t));
    expect(t, "ab\xC3\xA9 b", "5 6 7 1 3", "0:2 2:4 2:4 4:5 5:6", "ab\xC3\xA9 b");
    expect(t, "ab <u>ab", "5 0 5", "0:2 2:6 6:8", "ab ab");
    expect(t, "xyab", "1 0 4", "0:1 0:2 2:4", "ab");
    tokenizer_close(t);
    MUST(open_json(llama_metaspace, &t));
    expect(t, "ab<u>ab", "5 0 4", "0:2 2:5 5:7", "abab");
    tokenizer_close(t);
    end();
}
END_TEST

/* Pairs lose from the longer text first; the template's tokens count. */
START_TEST(cut_to_a_limit)
{
    static const struct {
        const char *a, *b, *ids;
        token_limit limit;
    } cases[] = {
        {"eeeee", NULL, "1 6 6 6 2", {5, TOKEN_CUT_LONGEST, false}},
        {".eeee", NULL, "1 6 6 2", {4, TOKEN_CUT_LONGEST, true}},
        {".eeee", NULL, "1 7 6 6 6 6 2", {9, TOKEN_CUT_LONGEST, true}},
        {"eeeee", "..", "1 6 6 2 7 7 2", {7, TOKEN_CUT_LONGEST, false}},
        {"ee", ".....", "1 6 6 2 7 7 7 2", {8, TOKEN_CUT_LONGEST, false}},
        {"eeee", "....", "1 6 2 7 7 2", {6, TOKEN_CUT_LONGEST, false}},
        {"eeeee", "....", "1 6 6 2 7 2", {6, TOKEN_CUT_LONGEST, false}},
        {"eeee", "..", "1 6 6 2 7 7 2", {7, TOKEN_CUT_FIRST, false}},
        {"eeee", "..", "1 6 6 6 6 2 7 2", {8, TOKEN_CUT_SECOND, true}},
        {"eeee", "..", "1 2 2", {3, TOKEN_CUT_SECOND, false}}};
    tokenizer *t;
    token_list got;

    begin();
    MUST(open_json(bert, &t));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        /* a word for each letter */
        char a[32] = "", b[32] = "";
        for (const char *p = cases[i].a; *p; p++)
            snprintf(a + strlen(a), sizeof a - strlen(a), "%c ", *p);
        for (const char *p = cases[i].b ? cases[i].b : ""; *p; p++)
            snprintf(b + strlen(b), sizeof b - strlen(b), "%c ", *p);
        MUST(tokenizer_encode_limited(t, &work, a, strlen(a), cases[i].b ? b : NULL, strlen(b), true,
                                      &cases[i].limit, &got));
        ck_assert_str_eq(ids_of(&got), cases[i].ids);
    }
    const token_limit small = {2, TOKEN_CUT_LONGEST, false}, first = {4, TOKEN_CUT_FIRST, false};
    MUST_FAIL(tokenizer_encode_limited(t, &work, "e", 1, "e", 1, true, &small, &got),
              "may have 2 tokens, and 3 are added");
    MUST_FAIL(tokenizer_encode_limited(t, &work, "e", 1, ". . .", 5, true, &first, &got),
              "the first text has only 1");
    tokenizer_close(t);
    end();
}
END_TEST

/* ---- the charsmap ---- */

enum { UNITS = 512 };

/* "a" becomes "xy", "ab" becomes "": bytes of a map with a trie of 512 units. */
static size_t make_charsmap(uint32_t units[UNITS], char *bytes)
{
    const uint32_t size = UNITS * 4, base = 256, after_a = 256 | 5, after_ab = 256 | 9;

    memset(units, 0, UNITS * sizeof *units);
    units[0] = base << 10;
    units[base ^ 'a'] = 'a' | 1u << 8 | ((base ^ 'a') ^ after_a) << 10;
    units[after_a] = 1u << 31 | 0;
    units[after_a ^ 'b'] = 'b' | 1u << 8 | ((after_a ^ 'b') ^ after_ab) << 10;
    units[after_ab] = 1u << 31 | 3;
    memcpy(bytes, &size, 4);
    memcpy(bytes + 4, units, size);
    memcpy(bytes + 4 + size, "xy\0\0", 4);
    return 4 + size + 4;
}

START_TEST(charsmap_by_hand)
{
    uint32_t units[UNITS];
    char bytes[4 * UNITS + 8];
    size_t used, length;
    charsmap *m;

    begin();
    const size_t n = make_charsmap(units, bytes);
    MUST(charsmap_open(&files, "x", bytes, n, &m));
    ck_assert(m->plain['b'] && !m->plain['a']);
    ck_assert_str_eq(charsmap_find(m, "abc", 3, false, &used, &length), "xy");
    ck_assert_uint_eq(used, 1);
    ck_assert_uint_eq(length, 2);
    ck_assert_str_eq(charsmap_find(m, "abc", 3, true, &used, &length), "");
    ck_assert_uint_eq(used, 2);
    ck_assert_str_eq(charsmap_find(m, "acc", 3, true, &used, &length), "xy");
    ck_assert_ptr_null(charsmap_find(m, "ba", 2, true, &used, &length));
    ck_assert_ptr_null(charsmap_find(m, "", 0, true, &used, &length));
    end();
}
END_TEST

static void expect_bad_map(uint32_t unit, uint32_t value, const char *message)
{
    uint32_t units[UNITS];
    char bytes[4 * UNITS + 8];
    charsmap *m;

    const size_t n = make_charsmap(units, bytes);
    memcpy(bytes + 4 + 4 * unit, &value, 4);
    MUST_FAIL(charsmap_open(&files, "x.json", bytes, n, &m), message);
    ck_assert_ptr_nonnull(strstr(status_text(), "x.json"));
}

START_TEST(charsmap_that_is_wrong)
{
    uint32_t units[UNITS];
    char bytes[4 * UNITS + 8];
    charsmap *m;

    begin();
    expect_bad_map(0, 512u << 10, "unit 0 points to unit 767, must be below 512");
    expect_bad_map(256 ^ 'a', 'a' | (uint32_t)'a' << 10, "in a circle at unit 353");
    expect_bad_map(256 | 5, 1u << 31 | 4, "its value at byte 4, must be below 4");
    size_t n = make_charsmap(units, bytes);
    bytes[n - 4] = '\xC3';
    MUST_FAIL(charsmap_open(&files, "x", bytes, n, &m), "the value at byte 0 is not valid UTF-8");
    n = make_charsmap(units, bytes);
    MUST_FAIL(charsmap_open(&files, "x", bytes, n - 4, &m), "does not end with a NUL");
    MUST_FAIL(charsmap_open(&files, "x", bytes, 100, &m), "says that 2048 of them are the trie");
    MUST_FAIL(charsmap_open(&files, "x", bytes, 3, &m), "has 3 bytes");
    end();
}
END_TEST

/* ---- wrong files ---- */

/* In the given file the first `old` becomes `new`; opening must fail and say `message`. */
static void expect_refused(const char *json, const char *old, const char *new, const char *message)
{
    const char *at = strstr(json, old);
    tokenizer *t;

    ck_assert_msg(at != NULL, "%s is not in the file", old);
    char *text = arena_printf(&files, "%.*s%s%s", (int)(at - json), json, new, at + strlen(old));
    MUST_FAIL(open_json(text, &t), message);
    ck_assert_msg(strstr(status_text(), folder) != NULL, "no file in \"%s\"", status_text());
}

START_TEST(wrong_files_are_refused)
{
    begin();
    expect_refused(unigram, "[\"a\",-2]", "[\"a\",1e999]", "token 2 of vocab");
    expect_refused(unigram, "[\"a\",-2]", "[\"a\",\"-2\"]", "token 2 of vocab");
    expect_refused(unigram, "[\"a\",-2]", "[\"a\"]", "token 2 of vocab");
    expect_refused(unigram, "[\"a\",-2]", "{\"a\":-2}", "token 2 of vocab");
    expect_refused(unigram, "[\"a\",-2]", "[\"b\",-2]", "token \"b\" has ids 2 and 3");
    expect_refused(unigram, "\"unk_id\":0", "\"unk_id\":9", "unk_id");
    expect_refused(unigram, "\"Unigram\"", "\"Trigram\"", "known: BPE, Unigram, WordPiece");
    expect_refused(unigram, "\"NFC\"", "\"NFX\"", "known: NFC");
    expect_refused(unigram, "\"always\"", "\"often\"", "must be always, first or never");
    expect_refused(unigram, "\"replacement\":\"\xE2\x96\x81\"", "\"replacement\":\"xy\"",
                   "must be one character");
    expect_refused(unigram, "\"NFC\"", "\"Precompiled\",\"precompiled_charsmap\":\"AAA\"",
                   "must be a multiple of 4");
    expect_refused(unigram, "\"NFC\"", "\"Precompiled\",\"precompiled_charsmap\":\"AA*A\"",
                   "the byte 2A at 2");
    expect_refused(unigram, "\"NFC\"", "\"Precompiled\",\"precompiled_charsmap\":\"////////////\"",
                   "are the trie");
    expect_refused(unigram, "\"NFC\"", "\"Precompiled\",\"precompiled_charsmap\":7", "base64");
    expect_refused(bert, "\"lowercase\":true", "\"lowercase\":1", "lowercase");
    expect_refused(bert, "\"e\":6", "\"e\":5", "both have id 5");
    expect_refused(bert, "\"e\":6", "\"e\":6000", "must be 0..");
    expect_refused(bert, "[\"S\",2]", "[\"S\",77]", "not a token's id");
    expect_refused(bert, "\"max_input_chars_per_word\":6", "\"max_input_chars_per_word\":-1",
                   "max_input_chars_per_word");
    expect_refused(llama, "\"a b\"", "\"a c\"", "\"c\" is not a token");
    expect_refused(llama, "\"a b\"", "[\"a\"]", "merge 0 must be two tokens");
    expect_refused(llama, "\"start\":1", "\"start\":-1", "start");
    expect_refused(llama, "\"byte_fallback\":true", "\"byte_fallback\":true,\"dropout\":0.5",
                   "dropout is 0.5, must be 0");
    expect_refused(llama, "{\"String\":\" \"}", "{\"Regex\":\"(\"}", "pattern \"(\"");
    end();
}
END_TEST

/* Damaged files are refused or used, whatever is in them. */
START_TEST(random_damage)
{
    static const char *const given[] = {unigram, unigram_bytes, bert, llama, llama_metaspace};
    static const char text[] = "ab \xC3\x89\xE6\xBC\xA2 unable. <u>b  e\xCC\x81 \xEF\xAC\x81";
    int accepted = 0;
    const int n = 1500;

    begin();
    for (int i = 0; i < n; i++) {
        const char *json = given[i % (int)COUNT_OF(given)];
        uint64_t r = (uint64_t)(i + 1) * 0x9E3779B97F4A7C15u;
        arena_rewind(&files, 0);
        arena_rewind(&work, 0);
        char *copy = arena_string(&work, json, strlen(json));
        for (int k = 0; k <= i % 3; k++) {
            r ^= r << 13, r ^= r >> 7, r ^= r << 17;
            copy[r % strlen(json)] = i % 2 ? "0123456789\"{}[],:-e"[(r >> 32) % 18] : (char)(r >> 40 | 1);
        }
        tokenizer *t;
        token_list got;
        char *back;
        size_t length;
        if (open_json(copy, &t) != STATUS_OK)
            continue;
        accepted++;
        if (tokenizer_encode(t, &work, text, sizeof text - 1, true, &got) == STATUS_OK)
            MUST(tokenizer_decode(t, &work, got.ids, got.n, false, &back, &length));
        tokenizer_close(t);
    }
    ck_assert_int_gt(accepted, n / 100);
    ck_assert_int_lt(accepted, n);
    end();
}
END_TEST

TESTS(tokenizer_models, unigram_finds_the_best_path, wordpiece_takes_the_longest, bpe_of_characters,
      cut_to_a_limit, charsmap_by_hand, charsmap_that_is_wrong, wrong_files_are_refused, random_damage)
