/* tokenizer files by hand: vocab.txt, SentencePiece models and GGUF metadata, each written here */
#include "core/file.h"
#include "data/spm.h"
#include "tests/helpers.h"

#include <math.h>

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

static char *in_folder(const char *name)
{
    return arena_printf(&files, "%s/%s", folder, name);
}

static void put(const char *name, const char *text)
{
    MUST(file_replace(in_folder(name), text, strlen(text)));
}

static void expect(const tokenizer *t, const char *text, const char *ids, const char *decoded)
{
    token_list got;
    char *all = arena_printf(&work, "%s", ""), *back;
    size_t n;

    MUST(tokenizer_encode(t, &work, text, strlen(text), true, &got));
    for (int64_t i = 0; i < got.n; i++)
        all = arena_printf(&work, "%s%s%d", all, i ? " " : "", got.ids[i]);
    ck_assert_str_eq(all, ids);
    MUST(tokenizer_decode(t, &work, got.ids, got.n, true, &back, &n));
    ck_assert_str_eq(back, decoded);
}

/* ---- vocab.txt ---- */

START_TEST(vocab_txt)
{
    tokenizer *t;

    begin();
    put("vocab.txt", "[PAD]\r\n[UNK]\n[CLS]\n[SEP]\nun\n##able\nE\ne\n");
    MUST(tokenizer_open(&files, folder, &t)); /* without a config: lower case */
    expect(t, "Unable E [SEP]", "2 4 5 7 3 3", "unable e");
    ck_assert_int_eq(tokenizer_size(t), 8);
    tokenizer_close(t);
    put("tokenizer_config.json",
        "{\"do_lower_case\": false, \"tokenizer_class\": \"BertTokenizer\", \"added_tokens_decoder\": "
        "{\"8\": {\"content\": \"<x>\", \"special\": false}}}");
    MUST(tokenizer_open(&files, folder, &t));
    expect(t, "Unable unable E<x>", "2 1 4 5 6 8 3", "unable E <x>");
    tokenizer_close(t);
    put("tokenizer_config.json", "{\"tokenizer_class\": \"BartTokenizer\"}");
    MUST_FAIL(tokenizer_open(&files, folder, &t), "known for BertTokenizer");
    put("tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": {\"content\": \"y\"}}}");
    MUST_FAIL(tokenizer_open(&files, folder, &t), "has the key \"x\", must be an id");
    put("tokenizer_config.json", "{\"mask_token\": \"<m>\"}");
    MUST_FAIL(tokenizer_open(&files, folder, &t), "mask_token is \"<m>\"");
    put("vocab.txt", "[UNK]\n\na\n");
    MUST_FAIL(tokenizer_open(&files, folder, &t), "vocab.txt:2: an empty line");
    put("vocab.txt", "a\nb\na\n");
    MUST_FAIL(tokenizer_open(&files, folder, &t), "token \"a\" has ids 0 and 2");
    end();
}
END_TEST

/* ---- SentencePiece ---- */

typedef struct bytes {
    uint8_t v[16384];
    size_t n;
} bytes;

static void add(bytes *b, const void *v, size_t n)
{
    ck_assert_uint_le(b->n + n, sizeof b->v);
    memcpy(b->v + b->n, v, n);
    b->n += n;
}

static void add_byte(bytes *b, unsigned byte)
{
    add(b, &(uint8_t){(uint8_t)byte}, 1);
}

static void add_field(bytes *b, unsigned number, unsigned kind, const void *v, size_t n)
{
    const unsigned key = number << 3 | kind;

    if (key >= 128) {
        add_byte(b, (key & 127) | 128);
        add_byte(b, key >> 7);
    } else
        add_byte(b, key);
    if (kind == 2) {
        ck_assert_uint_lt(n, 128);
        add_byte(b, (unsigned)n);
    }
    add(b, v, n);
}

static void add_number(bytes *b, unsigned number, unsigned value)
{
    add_field(b, number, 0, &(uint8_t){(uint8_t)value}, 1);
}

static void add_piece(bytes *b, const char *text, float score, unsigned type)
{
    bytes piece = {.n = 0};

    add_field(&piece, 1, 2, text, strlen(text));
    add_field(&piece, 2, 5, &score, 4);
    add_number(&piece, 3, type);
    add_field(b, 1, 2, piece.v, piece.n);
}

#define MARK "\xE2\x96\x81"

/* A small model: bpe or unigram. */
static bytes make_model(bool bpe)
{
    bytes b = {.n = 0}, trainer = {.n = 0}, how = {.n = 0};

    add_piece(&b, "<unk>", 0, SPM_UNKNOWN);
    add_piece(&b, "<s>", 0, SPM_CONTROL);
    add_piece(&b, "</s>", 0, SPM_CONTROL);
    add_piece(&b, MARK, -3, SPM_NORMAL);
    add_piece(&b, "a", -4, SPM_NORMAL);
    add_piece(&b, "b", -5, SPM_NORMAL);
    add_piece(&b, "ab", -2, SPM_NORMAL);
    add_piece(&b, MARK "a", -1, SPM_NORMAL);
    add_piece(&b, "<x>", 0, SPM_USER_DEFINED);
    add_piece(&b, "bb", -3, SPM_UNUSED);
    add_number(&trainer, 3, bpe ? 2 : 1);
    add_field(&b, 2, 2, trainer.v, trainer.n);
    add_number(&how, 3, 1);
    add_field(&b, 3, 2, how.v, how.n);
    return b;
}

static status open_model(const bytes *b, tokenizer **t)
{
    MUST(file_replace(in_folder("tokenizer.model"), b->v, b->n));
    return tokenizer_open(&files, folder, t);
}

/* BPE makes the piece of the best score first (MARK "a", then "b" is left), unigram takes the best
 * sum. Runs of blanks are one, blanks at the ends go; <x> is found inside, </s> where it stands. */
START_TEST(sentencepiece_models)
{
    tokenizer *t;
    bytes b;

    begin();
    b = make_model(true);
    MUST(open_model(&b, &t));
    expect(t, "  ab  aab ", "7 5 7 6", "ab aab");
    expect(t, "a<x>b </s>xyb", "7 8 5 2 3 0 5", "a<x>b b");
    ck_assert_int_eq(tokenizer_bos(t), 1);
    ck_assert_int_eq(tokenizer_eos(t), 2);
    tokenizer_close(t);
    b = make_model(false);
    MUST(open_model(&b, &t));
    expect(t, "ab", "3 6", "ab"); /* -5 against -6 */
    tokenizer_close(t);
    put("tokenizer_config.json", "{\"tokenizer_class\": \"LlamaTokenizer\", \"add_eos_token\": true, "
                                 "\"added_tokens_decoder\": {\"10\": {\"content\": \"<y>\"}}}");
    MUST(open_model(&b, &t));
    expect(t, "a<y>a", "1 7 10 7 2", "a<y> a");
    tokenizer_close(t);
    put("tokenizer_config.json", "{\"tokenizer_class\": \"XLMRobertaTokenizerFast\"}");
    MUST(open_model(&b, &t));
    expect(t, "a <mask>b", "0 8 11 4 6 2", "a b");
    ck_assert_int_eq(tokenizer_size(t), 12);
    tokenizer_close(t);
    put("tokenizer_config.json", "{\"tokenizer_class\": \"PegasusTokenizer\"}");
    MUST_FAIL(open_model(&b, &t), "is known for LlamaTokenizer");
    end();
}
END_TEST

START_TEST(sentencepiece_models_that_are_wrong)
{
    tokenizer *t;
    bytes b;

    begin();
    b = make_model(true);
    b.n -= 2;
    MUST_FAIL(open_model(&b, &t), "its message has 0 left");
    b = make_model(true);
    add_piece(&b, "c", NAN, SPM_NORMAL);
    MUST_FAIL(open_model(&b, &t), "the score of piece 10 is nan");
    b = make_model(true);
    add_piece(&b, "c", 0, 9);
    MUST_FAIL(open_model(&b, &t), "piece 10 is of type 9, must be 1..6");
    b = make_model(true);
    add_piece(&b, "c", 0, SPM_UNKNOWN);
    MUST_FAIL(open_model(&b, &t), "pieces 0 and 10 are both the unknown one");
    b = make_model(true);
    add_piece(&b, "a", 0, SPM_NORMAL);
    MUST_FAIL(open_model(&b, &t), "token \"a\" has ids 4 and 10");
    b = make_model(true);
    add_field(&b, 2, 2, "\x18\x03", 2);
    MUST_FAIL(open_model(&b, &t), "model_type is 3, known: 1 (unigram) and 2 (BPE)");
    b = make_model(true);
    add_field(&b, 2, 2, "\x98\x02\x01", 3); /* byte_fallback, and no bytes */
    MUST_FAIL(open_model(&b, &t), "<0x00> is not a token");
    b = make_model(true);
    add_field(&b, 3, 2, "\x12\x02xy", 4);
    MUST_FAIL(open_model(&b, &t), "precompiled_charsmap has 2 bytes");
    b = make_model(true);
    add_byte(&b, 1 << 3 | 3);
    MUST_FAIL(open_model(&b, &t), "is of kind 3, must be 0, 1, 2 or 5");
    b = make_model(true);
    add_number(&b, 1, 1);
    MUST_FAIL(open_model(&b, &t), "is of kind 0, must be 2");
    b = make_model(true);
    add(&b, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 11);
    MUST_FAIL(open_model(&b, &t), "has more than 10 bytes");
    b.n = 0;
    MUST_FAIL(open_model(&b, &t), "0 pieces, must be 1");
    end();
}
END_TEST

START_TEST(random_damage)
{
    static const char text[] = "ab aab <x>  </s>c\xC3\xA9";
    int accepted = 0;

    begin();
    for (int i = 0; i < 1500; i++) {
        uint64_t r = (uint64_t)(i + 1) * 0x9E3779B97F4A7C15u;
        bytes b = make_model(i % 2);
        tokenizer *t;
        token_list got;
        char *back;
        size_t length;
        arena_rewind(&files, 0);
        arena_rewind(&work, 0);
        for (int k = 0; k <= i % 3; k++) {
            r ^= r << 13, r ^= r >> 7, r ^= r << 17;
            b.v[r % b.n] ^= (uint8_t)(1u << (r >> 40) % 8);
        }
        if (open_model(&b, &t) != STATUS_OK) {
            ck_assert_msg(strstr(status_text(), folder) != NULL, "%s", status_text());
            continue;
        }
        accepted++;
        MUST(tokenizer_encode(t, &work, text, sizeof text - 1, true, &got));
        MUST(tokenizer_decode(t, &work, got.ids, got.n, false, &back, &length));
        tokenizer_close(t);
    }
    ck_assert_int_gt(accepted, 100);
    ck_assert_int_lt(accepted, 1400);
    end();
}
END_TEST

/* ---- GGUF ---- */

enum { U32 = 4, I32 = 5, F32 = 6, TEXT = 8, ARRAY = 9 };

static void add_u32(bytes *b, uint32_t v)
{
    add(b, &v, 4);
}

static void add_u64(bytes *b, uint64_t v)
{
    add(b, &v, 8);
}

static void add_text(bytes *b, const char *text)
{
    add_u64(b, strlen(text));
    add(b, text, strlen(text));
}

static void add_key(bytes *b, const char *key, uint32_t kind)
{
    add_text(b, key);
    add_u32(b, kind);
}

typedef struct gguf_token {
    const char *text;
    float score;
    int32_t type;
} gguf_token;

/* A file with a tokenizer and nothing else. */
static bytes make_gguf(const char *model, const gguf_token *tokens, size_t n)
{
    bytes b = {.n = 0};

    add(&b, "GGUF", 4);
    add_u32(&b, 3);
    add_u64(&b, 0);
    add_u64(&b, 6);
    add_key(&b, "tokenizer.ggml.model", TEXT);
    add_text(&b, model);
    add_key(&b, "tokenizer.ggml.tokens", ARRAY);
    add_u32(&b, TEXT);
    add_u64(&b, n);
    for (size_t i = 0; i < n; i++)
        add_text(&b, tokens[i].text);
    add_key(&b, "tokenizer.ggml.scores", ARRAY);
    add_u32(&b, F32);
    add_u64(&b, n);
    for (size_t i = 0; i < n; i++)
        add(&b, &tokens[i].score, 4);
    add_key(&b, "tokenizer.ggml.token_type", ARRAY);
    add_u32(&b, I32);
    add_u64(&b, n);
    for (size_t i = 0; i < n; i++)
        add_u32(&b, (uint32_t)tokens[i].type);
    add_key(&b, "tokenizer.ggml.bos_token_id", U32);
    add_u32(&b, 1);
    add_key(&b, "tokenizer.ggml.eos_token_id", U32);
    add_u32(&b, 2);
    return b;
}

static status open_gguf(const bytes *b, tokenizer **t)
{
    MUST(file_replace(in_folder("t.gguf"), b->v, b->n));
    return tokenizer_open(&files, in_folder("t.gguf"), t);
}

START_TEST(gguf_models)
{
    static const gguf_token pieces[] = {{"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3},
                                        {MARK, -3, 1},   {"a", -4, 1},  {"b", -5, 1},
                                        {"ab", -2, 1},   {MARK "a", -1, 1}};
    static const gguf_token words[] = {{"[UNK]", 0, 2},    {"[CLS]", 0, 3},   {"[SEP]", 0, 3},
                                       {MARK "un", 0, 1}, {"able", 0, 1},    {MARK ".", 0, 1}},
                            cased[] = {{"[UNK]", 0, 2}, {"[CLS]", 0, 3}, {"[SEP]", 0, 3}, {"A", 0, 1}};
    tokenizer *t;
    bytes b;

    begin();
    b = make_gguf("t5", pieces, COUNT_OF(pieces));
    MUST(open_gguf(&b, &t));
    expect(t, " a  ab", "7 3 6 2", "a ab");
    tokenizer_close(t);
    b = make_gguf("bert", words, COUNT_OF(words));
    MUST(open_gguf(&b, &t));
    expect(t, "Unable. x[SEP]", "1 3 4 5 0 2 2", "unable.");
    tokenizer_close(t);
    b = make_gguf("bert", cased, COUNT_OF(cased));
    MUST_FAIL(open_gguf(&b, &t), "with capitals in its vocabulary (\"##A\")");
    b = make_gguf("llama", pieces, COUNT_OF(pieces));
    MUST_FAIL(open_gguf(&b, &t), "<0x00> is not a token");
    b = make_gguf("rwkv", pieces, COUNT_OF(pieces));
    MUST_FAIL(open_gguf(&b, &t), "known: gpt2 (byte-level BPE), llama");
    end();
}
END_TEST

/* llama's bytes are needed, all of them; blanks stay as they are. */
START_TEST(gguf_llama)
{
    gguf_token pieces[264] = {{"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3}, {MARK, -3, 1},
                              {"a", -4, 1},    {"b", -5, 1},  {"ab", -2, 1},  {MARK "a", -1, 1}};
    bytes b;
    char names[256][8];
    tokenizer *t;

    begin();
    for (int i = 0; i < 256; i++) {
        snprintf(names[i], sizeof names[i], "<0x%02X>", (unsigned)i);
        pieces[8 + i] = (gguf_token){names[i], 0, 6};
    }
    b = make_gguf("llama", pieces, COUNT_OF(pieces));
    MUST(open_gguf(&b, &t));
    expect(t, "ab  \xC3\xA9", "1 7 5 3 3 203 177", "ab  \xC3\xA9");
    expect(t, "a</s>b", "1 7 2 3 5", "a b");
    tokenizer_close(t);
    end();
}
END_TEST

TESTS(tokenizer_files, vocab_txt, sentencepiece_models, sentencepiece_models_that_are_wrong,
      random_damage, gguf_models, gguf_llama)
