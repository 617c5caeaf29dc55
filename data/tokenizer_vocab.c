/* tokenizer_vocab: WordPiece from vocab.txt, a token a line, the line's number its id. Whether texts
 * are lower-cased and the like stands in the tokenizer_config.json beside it. */
#include "core/file.h"
#include "data/tokenizer_json.h"

#include <string.h>

enum { VOCAB_BYTES_MAX = 256 << 20 };

/* The lines as tokens; what white space a line ends with is left out. */
static status read_lines(arena *a, tokenizer *t, char *text, size_t n, size_t more,
                         size_t more_bytes)
{
    size_t lines = 0;
    int64_t id = 0;

    for (size_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    if (lines + more >= (size_t)1 << 24)
        return fail(STATUS_FORMAT, "%s: %zu lines, may be 16 million", t->what, lines);
    TRY(vocabulary_open(a, lines + 1 + more, n + more_bytes, &t->words));
    for (size_t at = 0; at < n; id++) {
        const char *line = text + at, *end = memchr(line, '\n', n - at);
        size_t size = end ? (size_t)(end - line) : n - at;
        at += size + (end != NULL);
        while (size > 0 && line[size - 1] == '\r')
            size--;
        if (size == 0)
            return fail(STATUS_FORMAT, "%s:%lld: an empty line, must be a token", t->what,
                        (long long)id + 1);
        TRY(vocabulary_add(&t->words, line, size, id, true, t->what));
    }
    return STATUS_OK;
}

/* The names of BERT's special tokens; those that are in the vocabulary are looked for in texts. */
static const char *const names[] = {"pad_token", "unk_token", "cls_token", "sep_token",
                                    "mask_token"};
static const char *const usual[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};

static status special(arena *a, tokenizer *t, const cJSON *config, const char *path)
{
    const char *text[COUNT_OF(names)];
    int32_t ids[COUNT_OF(names)];

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const cJSON *item = json_member(config, names[i]);
        if (cJSON_IsObject(item))
            item = json_member(item, "content");
        if (item && !cJSON_IsString(item))
            return fail(STATUS_FORMAT, "%s: %s must be text", path, names[i]);
        text[i] = item ? item->valuestring : usual[i];
        ids[i] = vocabulary_find(&t->words, text[i], strlen(text[i]));
        if (ids[i] < 0 && (item || i == 2 || i == 3))
            return fail(STATUS_FORMAT, "%s: %s is \"%.80s\", which is not a line of it", t->what,
                        names[i], text[i]);
        if (ids[i] >= 0)
            t->added.v[t->added.n++] = (added_token){.text = t->words.bytes + t->words.at[ids[i]],
                                                     .n = t->words.length[ids[i]],
                                                     .id = ids[i],
                                                     .special = true};
    }
    const template_item items[] = {
        {ids[2], 0, 0}, {-1, 0, 0}, {ids[3], 0, 0}, {-1, 1, 1}, {ids[3], 0, 1}};
    t->single.v = t->pair.v = arena_copy(a, items, sizeof items);
    t->single.n = 3;
    t->pair.n = 5;
    TRY(wordpiece_open(a, t, text[1], "##", 100));
    return t->pair.v ? STATUS_OK : STATUS_MEMORY;
}

static status known_class(const cJSON *config, const char *path)
{
    static const char *const known[] = {"BertTokenizer",       "BertTokenizerFast",
                                        "DistilBertTokenizer", "DistilBertTokenizerFast",
                                        "ElectraTokenizer",    "ElectraTokenizerFast"};
    const char *class = known[0];

    TRY(json_string(config, "tokenizer_class", false, &class, path));
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strcmp(class, known[i]) == 0)
            return STATUS_OK;
    return fail(STATUS_UNSUPPORTED,
                "%s: tokenizer_class is \"%.80s\"; vocab.txt alone is known for BertTokenizer, "
                "DistilBertTokenizer and ElectraTokenizer; a tokenizer.json beside it says it for "
                "every class",
                path, class);
}

static status build(arena *a, tokenizer *t, const cJSON *config, const char *path)
{
    bool lower = true, chinese = true, strip, basic = true;
    size_t n, more, more_bytes;
    char *text;

    TRY(known_class(config, path));
    TRY(json_bool(config, "do_lower_case", false, &lower, path));
    TRY(json_bool(config, "tokenize_chinese_chars", false, &chinese, path));
    TRY(json_bool(config, "do_basic_tokenize", false, &basic, path));
    strip = lower;
    TRY(json_bool(config, "strip_accents", false, &strip, path));
    if (!basic)
        return fail(STATUS_UNSUPPORTED, "%s: do_basic_tokenize is false, must be true", path);
    TRY(file_read(a, t->what, VOCAB_BYTES_MAX, &text, &n));
    more = config_added_size(config, &more_bytes);
    TRY(read_lines(a, t, text, n, more, more_bytes));
    TRY_TAKE(t->added.v, a, COUNT_OF(names) + more);
    TRY(normalizer_add_bert(t, true, chinese, strip, lower));
    TRY(pre_add_bert(t));
    TRY(special(a, t, config, path));
    TRY(config_add_tokens(a, t, config, path));
    return decoder_add(
        t, (decoder){.kind = DECODE_WORDPIECE, .text = "##", .n = 2, .cleanup = true});
}

status tokenizer_read_vocab(arena *a, const char *path, tokenizer *t)
{
    char *config = beside_file(a, path, "tokenizer_config.json");
    cJSON *root = NULL;

    if (!config)
        return STATUS_MEMORY;
    if (path_exists(config))
        TRY(json_read(config, &root));
    const status s = build(a, t, root, config);
    cJSON_Delete(root);
    TRY(s);
    return tokenizer_read_config(a, path, t);
}
