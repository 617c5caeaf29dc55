/* tokenizer_json_model: the model of tokenizer.json and its vocabulary */
#include "data/tokenizer_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The text of a key; NUL is C0 80 in it (core/json.c). */
static size_t key_text(char *key)
{
    const size_t n = strlen(key);
    size_t to = 0;

    if (!memchr(key, 0xC0, n))
        return n;
    for (size_t i = 0; i < n; i++)
        key[to++] = (uint8_t)key[i] == 0xC0 ? (i++, '\0') : key[i];
    return to;
}

/* Bytes and number of all texts, added tokens included. */
static void count_tokens(const cJSON *vocab, const cJSON *added, size_t *tokens, size_t *bytes)
{
    const cJSON *item;

    *tokens = *bytes = 0;
    cJSON_ArrayForEach(item, vocab)
    {
        ++*tokens;
        *bytes += strlen(item->string);
    }
    cJSON_ArrayForEach(item, added)
    {
        const cJSON *content = json_member(item, "content");
        ++*tokens;
        *bytes += cJSON_IsString(content) ? strlen(content->valuestring) : 0;
    }
}

/* "left right" or ["left", "right"] */
static status read_merge(json_reader *r, const cJSON *item, int number)
{
    const cJSON *first = cJSON_IsArray(item) ? item->child : item,
                *second = cJSON_IsArray(item) && first ? first->next : NULL;
    const char *left = NULL, *right = NULL;
    size_t n = 0, m = 0;

    if (cJSON_IsString(first))
        TRY(json_text(r->a, first, &left, &n));
    if (left && second && cJSON_IsString(second) && !second->next)
        TRY(json_text(r->a, second, &right, &m));
    const char *blank = left && first == item ? memchr(left, ' ', n) : NULL;
    if (blank) {
        right = blank + 1;
        m = n - (size_t)(right - left);
        n = (size_t)(blank - left);
    }
    if (!right || n == 0 || m == 0 || (blank && memchr(right, ' ', m)))
        return fail(STATUS_FORMAT, "%s: merge %d must be two tokens with one blank between them",
                    r->what, number);
    return bpe_add_merge(r->t, left, n, right, m);
}

/* Texts with their ids into the vocabulary. */
static status read_vocab(json_reader *r, const cJSON *model)
{
    const cJSON *vocab = json_member(model, "vocab"), *item;
    vocabulary *words = &r->t->words;
    size_t tokens, bytes;

    if (!cJSON_IsObject(vocab))
        return fail(STATUS_FORMAT, "%s: vocab of the model must be an object", r->what);
    count_tokens(vocab, json_member(r->root, "added_tokens"), &tokens, &bytes);
    if (tokens >= (size_t)1 << 24)
        return fail(STATUS_FORMAT, "%s: %zu tokens, may be 16 million", r->what, tokens);
    TRY(vocabulary_open(r->a, tokens, bytes, words));
    cJSON_ArrayForEach(item, vocab)
    {
        if (!cJSON_IsNumber(item) || item->valuedouble != floor(item->valuedouble) ||
            fabs(item->valuedouble) > 1e9)
            return fail(STATUS_FORMAT, "%s: the id of token \"%.80s\" must be a whole number",
                        r->what, item->string);
        TRY(vocabulary_add(words, item->string, key_text(item->string),
                           (int64_t)item->valuedouble, true, r->what));
    }
    return STATUS_OK;
}

/* continuing_subword_prefix, end_of_word_suffix */
static status read_affix(json_reader *r, const cJSON *model, const char *key, const char **text,
                         size_t *n)
{
    *text = "";
    *n = 0;
    if (json_member(model, key))
        TRY(json_kept_member(r, model, key, "model BPE", text, n));
    return *n <= BPE_AFFIX_MAX ? STATUS_OK
                               : fail(STATUS_FORMAT, "%s: model BPE: %s has %zu bytes, may have %d",
                                      r->what, key, *n, BPE_AFFIX_MAX);
}

static status read_bpe_flags(json_reader *r, const cJSON *model)
{
    bpe_model *b = &r->t->bpe;
    double dropout = 0;

    TRY(json_bool(model, "byte_fallback", false, &b->byte_fallback, r->what));
    TRY(json_bool(model, "fuse_unk", false, &b->fuse_unknown, r->what));
    TRY(json_bool(model, "ignore_merges", false, &b->ignore_merges, r->what));
    TRY(json_double(model, "dropout", false, &dropout, r->what));
    TRY(read_affix(r, model, "continuing_subword_prefix", &b->prefix, &b->n_prefix));
    TRY(read_affix(r, model, "end_of_word_suffix", &b->suffix, &b->n_suffix));
    if (dropout != 0)
        return fail(STATUS_UNSUPPORTED, "%s: model BPE: dropout is %g, must be 0", r->what, dropout);
    return STATUS_OK;
}

/* Pieces whose stand-ins are tokens of a plain BPE go to the model as bytes, when nothing follows
 * that looks at the stand-ins. */
static void take_bytes(tokenizer *t)
{
    const bpe_model *b = &t->bpe;

    if (t->n_steps == 0 || t->steps[t->n_steps - 1].kind != PRE_BYTES || b->byte_fallback ||
        b->n_prefix || b->n_suffix)
        return;
    for (int i = 0; i + 1 < t->n_steps; i++)
        if (t->steps[i].kind == PRE_BYTES)
            return;
    t->n_steps--;
    t->byte_level = true;
}

static status read_bpe(json_reader *r, const cJSON *model, int depth)
{
    const cJSON *merges = json_member(model, "merges"), *item;
    const char *unknown = NULL;
    tokenizer *t = r->t;
    int number = 0;

    (void)depth;
    if (!cJSON_IsArray(merges))
        return fail(STATUS_FORMAT, "%s: model BPE: merges must be a list", r->what);
    TRY(read_vocab(r, model));
    TRY(bpe_open(r->a, (size_t)cJSON_GetArraySize(merges), &t->bpe));
    TRY(read_bpe_flags(r, model));
    cJSON_ArrayForEach(item, merges) TRY(read_merge(r, item, number++));
    TRY(json_string(model, "unk_token", false, &unknown, r->what));
    if (unknown) {
        t->bpe.unknown = vocabulary_find(&t->words, unknown, strlen(unknown));
        if (t->bpe.unknown < 0)
            return fail(STATUS_FORMAT, "%s: unk_token is \"%.80s\", which is not a token", r->what,
                        unknown);
    }
    take_bytes(t);
    bpe_finish(t);
    return STATUS_OK;
}

static status read_wordpiece(json_reader *r, const cJSON *model, int depth)
{
    const char *unknown = "[UNK]", *prefix = "##";
    int64_t most = 100;

    (void)depth;
    TRY(json_string(model, "unk_token", false, &unknown, r->what));
    TRY(json_string(model, "continuing_subword_prefix", false, &prefix, r->what));
    TRY(json_int(model, "max_input_chars_per_word", false, 0, INT32_MAX, &most, r->what));
    TRY(read_vocab(r, model));
    return wordpiece_open(r->a, r->t, unknown, prefix, most);
}

static status read_wordlevel(json_reader *r, const cJSON *model, int depth)
{
    const char *unknown = "";

    (void)depth;
    TRY(json_string(model, "unk_token", false, &unknown, r->what));
    TRY(read_vocab(r, model));
    return wordlevel_open(r->t, unknown);
}

/* ---- Unigram ---- */

/* ["text", score], the number of the item is its id. */
static status read_scored(json_reader *r, const cJSON *item, int64_t id, double *score)
{
    const cJSON *text = cJSON_GetArrayItem(item, 0), *number = cJSON_GetArrayItem(item, 1);
    const char *v;
    size_t n;

    if (!cJSON_IsArray(item) || !cJSON_IsString(text) || !cJSON_IsNumber(number) ||
        number->next || !isfinite(number->valuedouble))
        return fail(STATUS_FORMAT, "%s: model Unigram: token %lld of vocab must be [text, score]",
                    r->what, (long long)id);
    *score = number->valuedouble;
    TRY(json_text(r->a, text, &v, &n));
    return vocabulary_add(&r->t->words, v, n, id, true, r->what);
}

static void count_scored(const cJSON *vocab, const cJSON *added, size_t *tokens, size_t *bytes)
{
    const cJSON *item;

    count_tokens(NULL, added, tokens, bytes);
    cJSON_ArrayForEach(item, vocab)
    {
        const cJSON *text = cJSON_IsArray(item) ? item->child : NULL;
        ++*tokens;
        *bytes += cJSON_IsString(text) ? strlen(text->valuestring) : 0;
    }
}

static status read_unigram(json_reader *r, const cJSON *model, int depth)
{
    const cJSON *vocab = json_member(model, "vocab"), *item;
    const int64_t n = cJSON_GetArraySize(vocab);
    int64_t unknown = -1, id = 0;
    size_t tokens, bytes;
    bool fallback = false;
    double *scores, lowest = INFINITY;

    (void)depth;
    if (!cJSON_IsArray(vocab) || n == 0)
        return fail(STATUS_FORMAT, "%s: model Unigram: vocab must be a list of [text, score]",
                    r->what);
    TRY(json_int(model, "unk_id", false, 0, n - 1, &unknown, r->what));
    TRY(json_bool(model, "byte_fallback", false, &fallback, r->what));
    count_scored(vocab, json_member(r->root, "added_tokens"), &tokens, &bytes);
    if (tokens >= (size_t)1 << 24)
        return fail(STATUS_FORMAT, "%s: %zu tokens, may be 16 million", r->what, tokens);
    TRY(vocabulary_open(r->a, tokens, bytes, &r->t->words));
    TRY_TAKE(scores, r->a, n);
    cJSON_ArrayForEach(item, vocab)
    {
        TRY(read_scored(r, item, id, &scores[id]));
        lowest = fmin(lowest, scores[id]);
        id++;
    }
    return unigram_open(r->a, r->t, scores, lowest, (int32_t)unknown, fallback, NULL);
}

/* ---- which ---- */

static const part_kind kinds[] = {
    {"BPE",
     "type,dropout,unk_token,continuing_subword_prefix,end_of_word_suffix,fuse_unk,byte_fallback,"
     "ignore_merges,vocab,merges,",
     read_bpe},
    {"Unigram", "type,unk_id,vocab,byte_fallback,", read_unigram},
    {"WordPiece", "type,unk_token,continuing_subword_prefix,max_input_chars_per_word,vocab,",
     read_wordpiece},
    {"WordLevel", "type,unk_token,vocab,", read_wordlevel}};

/* Older files leave the type out. */
static const char *guess(const cJSON *model)
{
    const cJSON *type = json_member(model, "type");

    if (type)
        return cJSON_IsString(type) ? type->valuestring : NULL;
    return json_member(model, "merges")                     ? "BPE"
           : cJSON_IsArray(json_member(model, "vocab"))     ? "Unigram"
           : json_member(model, "max_input_chars_per_word") ? "WordPiece"
                                                            : NULL;
}

status json_check_model(const json_reader *r)
{
    const cJSON *model = json_member(r->root, "model");

    if (!cJSON_IsObject(model))
        return fail(STATUS_FORMAT, "%s: model must be an object", r->what);
    const char *type = guess(model);
    if (!type)
        return fail(STATUS_FORMAT, "%s: type of the model must be text", r->what);
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (strcmp(type, kinds[i].type) == 0)
            return STATUS_OK;
    return fail(STATUS_UNSUPPORTED,
                "%s: the model is \"%.80s\", known: BPE, Unigram, WordPiece, WordLevel", r->what,
                type);
}

status json_read_model(json_reader *r, const cJSON *model)
{
    const char *type = guess(model);
    char label[64];

    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (strcmp(type, kinds[i].type) == 0) {
            snprintf(label, sizeof label, "model %s", type);
            TRY(json_known_keys(r, model, label, kinds[i].keys));
            return kinds[i].read(r, model, 0);
        }
    return STATUS_FORMAT; /* json_check_model said so before */
}
