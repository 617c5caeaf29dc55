/* tokenizer_json: tokenizer.json into the parts. Every object is checked for keys and types that
 * are not known here: they would change what the tokens are. */
#include "data/tokenizer_json.h"

#include <string.h>

status json_known_keys(const json_reader *r, const cJSON *o, const char *part, const char *known)
{
    const cJSON *item;

    if (!cJSON_IsObject(o))
        return fail(STATUS_FORMAT, "%s: %s must be an object", r->what, part);
    cJSON_ArrayForEach(item, o)
    {
        const size_t n = strlen(item->string);
        const char *at = known;
        bool found = false;
        while (*at && !found) {
            const size_t k = strcspn(at, ",");
            found = k == n && memcmp(at, item->string, n) == 0;
            at += k + 1;
        }
        if (!found)
            return fail(STATUS_FORMAT, "%s: %s has the key \"%.80s\", known: %s", r->what, part,
                        item->string, known);
    }
    return STATUS_OK;
}

const cJSON *json_member(const cJSON *o, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);

    return cJSON_IsNull(item) ? NULL : item;
}

/* ---- vocabulary, model ---- */

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

static status read_merge(json_reader *r, const cJSON *item, int number)
{
    if (cJSON_IsString(item)) {
        const char *text = item->valuestring, *blank = strchr(text, ' ');
        if (blank && blank > text && blank[1] && !strchr(blank + 1, ' '))
            return bpe_add_merge(r->t, text, (size_t)(blank - text), blank + 1, strlen(blank + 1));
    } else if (cJSON_IsArray(item) && cJSON_GetArraySize(item) == 2) {
        const cJSON *left = item->child, *right = left->next;
        if (cJSON_IsString(left) && cJSON_IsString(right) && *left->valuestring &&
            *right->valuestring)
            return bpe_add_merge(r->t, left->valuestring, strlen(left->valuestring),
                                 right->valuestring, strlen(right->valuestring));
    }
    return fail(STATUS_FORMAT, "%s: merge %d must be two tokens with one blank between them",
                r->what, number);
}

static status read_bpe_flags(json_reader *r, const cJSON *model)
{
    bpe_model *b = &r->t->bpe;
    bool fallback = false;
    double dropout = 0;
    const char *prefix = "", *suffix = "", *unknown = NULL;

    TRY(json_bool(model, "byte_fallback", false, &fallback, r->what));
    TRY(json_bool(model, "fuse_unk", false, &b->fuse_unknown, r->what));
    TRY(json_bool(model, "ignore_merges", false, &b->ignore_merges, r->what));
    TRY(json_double(model, "dropout", false, &dropout, r->what));
    TRY(json_string(model, "continuing_subword_prefix", false, &prefix, r->what));
    TRY(json_string(model, "end_of_word_suffix", false, &suffix, r->what));
    TRY(json_string(model, "unk_token", false, &unknown, r->what));
    if (fallback || dropout != 0 || *prefix || *suffix)
        return fail(STATUS_UNSUPPORTED, "%s: model BPE: %s is set, which is not supported", r->what,
                    fallback       ? "byte_fallback"
                    : dropout != 0 ? "dropout"
                    : *prefix != 0 ? "continuing_subword_prefix"
                                   : "end_of_word_suffix");
    if (!r->t->byte_level)
        return fail(STATUS_UNSUPPORTED,
                    "%s: model BPE without the pre-tokenizer ByteLevel is not "
                    "supported",
                    r->what);
    if (unknown) {
        b->unknown = vocabulary_find(&r->t->words, unknown, strlen(unknown));
        if (b->unknown < 0)
            return fail(STATUS_FORMAT, "%s: unk_token is \"%.80s\", which is not a token", r->what,
                        unknown);
    }
    return STATUS_OK;
}

static status read_bpe(json_reader *r, const cJSON *model)
{
    static const token_model kind = {"BPE", bpe_encode};
    const cJSON *vocab = json_member(model, "vocab"), *merges = json_member(model, "merges"), *item;
    tokenizer *t = r->t;
    size_t tokens, bytes;
    int number = 0;

    TRY(json_known_keys(r, model, "model BPE",
                        "type,dropout,unk_token,continuing_subword_prefix,"
                        "end_of_word_suffix,fuse_unk,byte_fallback,ignore_merges,vocab,merges,"));
    if (!cJSON_IsObject(vocab) || !cJSON_IsArray(merges))
        return fail(STATUS_FORMAT, "%s: model BPE: %s", r->what,
                    !cJSON_IsObject(vocab) ? "vocab must be an object" : "merges must be a list");
    count_tokens(vocab, json_member(r->root, "added_tokens"), &tokens, &bytes);
    if (tokens >= (size_t)1 << 24)
        return fail(STATUS_FORMAT, "%s: %zu tokens, may be 16 million", r->what, tokens);
    TRY(vocabulary_open(r->a, tokens, bytes, &t->words));
    cJSON_ArrayForEach(item, vocab)
    {
        if (!cJSON_IsNumber(item) || item->valuedouble != (double)(int64_t)item->valuedouble)
            return fail(STATUS_FORMAT, "%s: the id of token \"%.80s\" must be a whole number",
                        r->what, item->string);
        TRY(vocabulary_add(&t->words, item->string, key_text(item->string),
                           (int64_t)item->valuedouble, true, r->what));
    }
    TRY(bpe_open(r->a, (size_t)cJSON_GetArraySize(merges), &t->bpe));
    cJSON_ArrayForEach(item, merges) TRY(read_merge(r, item, number++));
    TRY(read_bpe_flags(r, model));
    bpe_finish(t);
    t->model = &kind;
    return STATUS_OK;
}

/* The one kind of model that is read, asked for first: its absence explains all that is odd
 * besides. */
static status check_model(const json_reader *r)
{
    const cJSON *model = json_member(r->root, "model"), *type = json_member(model, "type");

    if (!cJSON_IsObject(model))
        return fail(STATUS_FORMAT, "%s: model must be an object", r->what);
    if (!type && json_member(model, "merges")) /* older files leave BPE's type out */
        return STATUS_OK;
    if (!cJSON_IsString(type))
        return fail(STATUS_FORMAT, "%s: type of the model must be text", r->what);
    if (strcmp(type->valuestring, "BPE") != 0)
        return fail(STATUS_UNSUPPORTED, "%s: the model is \"%.80s\", known: BPE", r->what,
                    type->valuestring);
    return STATUS_OK;
}

/* ---- added tokens ---- */

/* seen: of each id, whether an added token has it. */
static status read_added_token(json_reader *r, const cJSON *o, bool *seen, added_token *token)
{
    vocabulary *words = &r->t->words;
    int64_t id = 0;

    TRY(json_known_keys(r, o, "an added token",
                        "id,content,single_word,lstrip,rstrip,normalized,special,"));
    const cJSON *content = json_member(o, "content");
    if (!cJSON_IsString(content) || !*content->valuestring)
        return fail(STATUS_FORMAT, "%s: content of an added token must be text that is not empty",
                    r->what);
    TRY(json_text(r->a, content, &token->text, &token->n));
    TRY(json_int(o, "id", true, 0, INT32_MAX, &id, r->what));
    TRY(json_bool(o, "single_word", false, &token->single_word, r->what));
    TRY(json_bool(o, "lstrip", false, &token->lstrip, r->what));
    TRY(json_bool(o, "rstrip", false, &token->rstrip, r->what));
    TRY(json_bool(o, "normalized", false, &token->normalized, r->what));
    TRY(json_bool(o, "special", false, &token->special, r->what));
    token->id = vocabulary_find(words, token->text, token->n);
    if (token->id >= 0 && token->id != id)
        return fail(STATUS_FORMAT, "%s: added token \"%.80s\" has id %lld, in the vocabulary %d",
                    r->what, token->text, (long long)id, token->id);
    if (token->id < 0)
        TRY(vocabulary_add(words, token->text, token->n, id, false, r->what));
    token->id = (int32_t)id;
    token->text = words->bytes + words->at[id]; /* the JSON goes away */
    if (seen[id])
        return fail(STATUS_FORMAT, "%s: two added tokens have id %d", r->what, token->id);
    seen[id] = true;
    return STATUS_OK;
}

static status read_added(json_reader *r)
{
    const cJSON *list = json_member(r->root, "added_tokens"), *item;
    added_tokens *added = &r->t->added;
    bool *seen;

    if (list && !cJSON_IsArray(list))
        return fail(STATUS_FORMAT, "%s: added_tokens must be a list", r->what);
    TRY_TAKE(added->v, r->a, cJSON_GetArraySize(list));
    TRY_TAKE(seen, r->a, r->t->words.capacity);
    memset(seen, 0, (size_t)r->t->words.capacity * sizeof *seen);
    cJSON_ArrayForEach(item, list)
    {
        added->v[added->n] = (added_token){.id = -1};
        TRY(read_added_token(r, item, seen, &added->v[added->n]));
        added->n++;
    }
    return STATUS_OK;
}

/* ---- the whole file ---- */

/* Truncation and padding are not used, but must make sense. */
static status check_lengths(const json_reader *r)
{
    const cJSON *cut = json_member(r->root, "truncation"), *pad = json_member(r->root, "padding");
    int64_t n = 0;

    if (cut) {
        TRY(json_known_keys(r, cut, "truncation", "direction,max_length,strategy,stride,"));
        TRY(json_int(cut, "max_length", true, 0, INT32_MAX, &n, r->what));
        TRY(json_int(cut, "stride", false, 0, INT32_MAX, &n, r->what));
    }
    if (pad) {
        TRY(json_known_keys(r, pad, "padding",
                            "strategy,direction,pad_to_multiple_of,pad_id,pad_type_id,"
                            "pad_token,"));
        TRY(json_int(pad, "pad_id", true, 0, INT32_MAX, &n, r->what));
        TRY(json_int(pad, "pad_to_multiple_of", false, 0, INT32_MAX, &n, r->what));
        const cJSON *strategy = json_member(pad, "strategy");
        if (cJSON_IsObject(strategy))
            TRY(json_int(strategy, "Fixed", true, 0, INT32_MAX, &n, r->what));
    }
    return STATUS_OK;
}

static status read_root(json_reader *r)
{
    const cJSON *version = json_member(r->root, "version"), *part;

    TRY(json_known_keys(r, r->root, "the file",
                        "version,truncation,padding,added_tokens,normalizer,"
                        "pre_tokenizer,post_processor,decoder,model,"));
    if (version && (!cJSON_IsString(version) || strcmp(version->valuestring, "1.0") != 0))
        return fail(STATUS_FORMAT, "%s: version must be \"1.0\"", r->what);
    TRY(check_lengths(r));
    TRY(check_model(r));
    if ((part = json_member(r->root, "normalizer")))
        TRY(json_read_normalizer(r, part, 0));
    if ((part = json_member(r->root, "pre_tokenizer")))
        TRY(json_read_pretokenizer(r, part, 0));
    TRY(read_bpe(r, json_member(r->root, "model")));
    TRY(read_added(r));
    if ((part = json_member(r->root, "post_processor")))
        TRY(json_read_postprocessor(r, part, 0));
    if ((part = json_member(r->root, "decoder")))
        TRY(json_read_decoder(r, part, 0));
    return STATUS_OK;
}

status tokenizer_read_json(arena *a, const char *path, tokenizer *t)
{
    cJSON *root;

    TRY(json_read(path, &root));
    json_reader r = {.a = a, .t = t, .what = path, .root = root};
    status s = read_root(&r);
    if (s == STATUS_OK)
        s = tokenizer_read_config(a, path, t);
    cJSON_Delete(root);
    return s;
}
