/* tokenizer_json: tokenizer.json into the parts. Every object is checked for keys and types that are
 * not known here: they would change what the tokens are. */
#include "core/file.h"
#include "core/json.h"
#include "core/utf8.h"
#include "data/tokenizer_parts.h"

#include <stdio.h>
#include <string.h>

typedef struct reader {
    arena       *a;
    tokenizer   *t;
    const char  *what;
    const cJSON *root;
} reader;

/* Fails for a key that is not among the names in `known` ("type,pattern,"), every one with a comma. */
static status known_keys(const reader *r, const cJSON *o, const char *part, const char *known)
{
    const cJSON *item;

    if (!cJSON_IsObject(o))
        return fail(STATUS_FORMAT, "%s: %s must be an object", r->what, part);
    cJSON_ArrayForEach(item, o)
    {
        const size_t n = strlen(item->string);
        const char  *at = known;
        bool         found = false;
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

static const cJSON *get(const cJSON *o, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);

    return cJSON_IsNull(item) ? NULL : item;
}

/* One kind of normaliser, pre-tokenizer, post-processor or decoder. */
typedef struct part_kind {
    const char *type, *keys;
    status (*read)(reader *r, const cJSON *o, int depth);
} part_kind;

static status read_part(reader *r, const cJSON *o, const char *part, const part_kind *kinds, int n,
                        int depth)
{
    const char *type;
    char        known[512] = "", label[128];

    if (!cJSON_IsObject(o))
        return fail(STATUS_FORMAT, "%s: %s must be an object or null", r->what, part);
    if (depth > 4)
        return fail(STATUS_FORMAT, "%s: %s is nested deeper than 4 levels", r->what, part);
    snprintf(label, sizeof label, "%s: %s", r->what, part);
    TRY(json_string(o, "type", true, &type, label));
    for (int i = 0; i < n; i++) {
        if (strcmp(kinds[i].type, type) == 0) {
            snprintf(label, sizeof label, "%s %s", part, type);
            TRY(known_keys(r, o, label, kinds[i].keys));
            return kinds[i].read(r, o, depth);
        }
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", kinds[i].type);
    }
    return fail(STATUS_UNSUPPORTED, "%s: %s is \"%.80s\", known: %s", r->what, part, type, known);
}

/* Reads the parts of a Sequence one by one. */
static status read_list(reader *r, const cJSON *o, const char *key, int depth,
                        status (*read)(reader *r, const cJSON *o, int depth))
{
    const cJSON *list = get(o, key), *item;

    if (!cJSON_IsArray(list))
        return fail(STATUS_FORMAT, "%s: %s of a Sequence must be a list", r->what, key);
    cJSON_ArrayForEach(item, list) TRY(read(r, item, depth + 1));
    return STATUS_OK;
}

/* ---- normalizer ---- */

static status read_normalizer(reader *r, const cJSON *o, int depth);

static status normalizer_sequence(reader *r, const cJSON *o, int depth)
{
    return read_list(r, o, "normalizers", depth, read_normalizer);
}

/* NFC twice is NFC. */
static status normalizer_nfc(reader *r, const cJSON *o, int depth)
{
    (void)o, (void)depth;
    r->t->normalizers[0] = NORMALIZE_NFC;
    r->t->n_normalizers = 1;
    return STATUS_OK;
}

static status read_normalizer(reader *r, const cJSON *o, int depth)
{
    static const part_kind kinds[] = {{"NFC", "type,", normalizer_nfc},
                                      {"Sequence", "type,normalizers,", normalizer_sequence}};

    return read_part(r, o, "normalizer", kinds, COUNT_OF(kinds), depth);
}

/* ---- pre-tokenizer ---- */

static status read_pre(reader *r, const cJSON *o, int depth);

static status pre_sequence(reader *r, const cJSON *o, int depth)
{
    return read_list(r, o, "pretokenizers", depth, read_pre);
}

static status pre_byte_level(reader *r, const cJSON *o, int depth)
{
    tokenizer *t = r->t;
    bool       prefix = true, trim = true, regex = true;

    (void)depth;
    TRY(json_bool(o, "add_prefix_space", false, &prefix, r->what));
    TRY(json_bool(o, "trim_offsets", false, &trim, r->what));
    TRY(json_bool(o, "use_regex", false, &regex, r->what));
    if (prefix && t->n_steps > 0)
        return fail(STATUS_UNSUPPORTED, "%s: pre_tokenizer ByteLevel: add_prefix_space behind "
                    "another pre-tokenizer is not supported, must be false", r->what);
    t->prefix_blank = prefix;
    t->byte_level = true;
    return regex ? pre_add_split(t, PATTERN_GPT2, strlen(PATTERN_GPT2), false, SPLIT_ISOLATED, false)
                 : STATUS_OK;
}

static status pre_split(reader *r, const cJSON *o, int depth)
{
    static const char *const behaviors[] = {"Isolated", "Removed", "MergedWithPrevious",
                                            "MergedWithNext", "Contiguous"};
    const cJSON             *pattern = get(o, "pattern"), *regex = get(pattern, "Regex"),
                            *plain = get(pattern, "String");
    const char              *behavior, *text;
    size_t                   n;
    bool                     invert = false;

    (void)depth;
    if (!pattern || !cJSON_IsString(regex ? regex : plain) || cJSON_GetArraySize(pattern) != 1)
        return fail(STATUS_FORMAT, "%s: pre_tokenizer Split: pattern must be {\"Regex\": text} or "
                    "{\"String\": text}", r->what);
    TRY(json_string(o, "behavior", true, &behavior, r->what));
    TRY(json_bool(o, "invert", false, &invert, r->what));
    TRY(json_text(r->a, regex ? regex : plain, &text, &n));
    for (size_t i = 0; i < COUNT_OF(behaviors); i++)
        if (strcmp(behavior, behaviors[i]) == 0)
            return pre_add_split(r->t, text, n, !regex, (split_behavior)i, invert);
    return fail(STATUS_FORMAT, "%s: pre_tokenizer Split: behavior is \"%.80s\", must be Isolated, "
                "Removed, MergedWithPrevious, MergedWithNext or Contiguous", r->what, behavior);
}

static status pre_digits(reader *r, const cJSON *o, int depth)
{
    bool individual = false;

    (void)depth;
    TRY(json_bool(o, "individual_digits", false, &individual, r->what));
    return pre_add_digits(r->t, individual);
}

static status read_pre(reader *r, const cJSON *o, int depth)
{
    static const part_kind kinds[] = {
        {"ByteLevel", "type,add_prefix_space,trim_offsets,use_regex,", pre_byte_level},
        {"Split", "type,pattern,behavior,invert,", pre_split},
        {"Digits", "type,individual_digits,", pre_digits},
        {"Sequence", "type,pretokenizers,", pre_sequence}};

    if (r->t->byte_level)
        return fail(STATUS_UNSUPPORTED, "%s: a pre-tokenizer follows ByteLevel, which must be last",
                    r->what);
    return read_part(r, o, "pre_tokenizer", kinds, COUNT_OF(kinds), depth);
}

/* ---- post-processor ---- */

static status read_post(reader *r, const cJSON *o, int depth);

static status post_sequence(reader *r, const cJSON *o, int depth)
{
    return read_list(r, o, "processors", depth, read_post);
}

static status post_byte_level(reader *r, const cJSON *o, int depth)
{
    bool prefix = true, trim = true, regex = true;

    (void)depth;
    TRY(json_bool(o, "add_prefix_space", false, &prefix, r->what));
    TRY(json_bool(o, "trim_offsets", false, &trim, r->what));
    TRY(json_bool(o, "use_regex", false, &regex, r->what));
    if (trim && r->t->trim)
        return fail(STATUS_UNSUPPORTED, "%s: two post-processors trim offsets, at most one may",
                    r->what);
    r->t->trim = r->t->trim || trim;
    r->t->trim_prefix = trim ? prefix : r->t->trim_prefix;
    return STATUS_OK;
}

/* "sep": ["</s>", 2] */
static status read_sep(reader *r, const cJSON *o, const char *key, int32_t *id)
{
    const cJSON *pair = get(o, key), *text = cJSON_GetArrayItem(pair, 0),
                *number = cJSON_GetArrayItem(pair, 1);

    if (!cJSON_IsArray(pair) || cJSON_GetArraySize(pair) != 2 || !cJSON_IsString(text) ||
        !cJSON_IsNumber(number))
        return fail(STATUS_FORMAT, "%s: %s must be [token, id]", r->what, key);
    if (!vocabulary_has(&r->t->words, number->valueint) ||
        number->valuedouble != number->valueint)
        return fail(STATUS_FORMAT, "%s: %s is \"%.80s\", %.0f, which is not a token's id", r->what,
                    key, text->valuestring, number->valuedouble);
    *id = number->valueint;
    return STATUS_OK;
}

/* <s> A </s> and <s> A </s> </s> B </s>, all of type 0. */
static status post_roberta(reader *r, const cJSON *o, int depth)
{
    tokenizer *t = r->t;
    int32_t    sep = -1, cls = -1;
    bool       trim = true, prefix = true;

    (void)depth;
    TRY(read_sep(r, o, "sep", &sep));
    TRY(read_sep(r, o, "cls", &cls));
    TRY(json_bool(o, "trim_offsets", false, &trim, r->what));
    TRY(json_bool(o, "add_prefix_space", false, &prefix, r->what));
    t->trim = trim;
    t->trim_prefix = prefix;
    const template_item items[] = {{cls, 0, 0}, {-1, 0, 0}, {sep, 0, 0},
                                   {sep, 0, 0}, {-1, 1, 0}, {sep, 0, 0}};
    t->single.n = 3;
    t->pair.n = 6;
    t->single.v = t->pair.v = arena_copy(r->a, items, sizeof items);
    return t->pair.v ? STATUS_OK : STATUS_MEMORY;
}

/* Ids of a special token that a template names. */
static status template_ids(reader *r, const cJSON *specials, const char *name, uint8_t type,
                           token_template *out)
{
    const cJSON *special = get(specials, name), *ids = get(special, "ids"),
                *tokens = get(special, "tokens"), *id;

    if (!special)
        return fail(STATUS_FORMAT, "%s: the template names \"%.80s\", special_tokens has no such",
                    r->what, name);
    TRY(known_keys(r, special, "a special token of the template", "id,ids,tokens,"));
    if (!cJSON_IsArray(ids) || !cJSON_IsArray(tokens) ||
        cJSON_GetArraySize(ids) != cJSON_GetArraySize(tokens))
        return fail(STATUS_FORMAT, "%s: special token \"%.80s\": ids and tokens must be lists of "
                    "one length", r->what, name);
    cJSON_ArrayForEach(id, ids)
    {
        if (!cJSON_IsNumber(id) || id->valuedouble != id->valueint ||
            !vocabulary_has(&r->t->words, id->valueint))
            return fail(STATUS_FORMAT, "%s: special token \"%.80s\": id %.0f is not a token's id",
                        r->what, name, id->valuedouble);
        if (out->n == 64)
            return fail(STATUS_FORMAT, "%s: a template has more than 64 tokens", r->what);
        out->v[out->n++] = (template_item){.id = id->valueint, .type = type};
    }
    return STATUS_OK;
}

static status read_template(reader *r, const cJSON *o, const char *key, token_template *out)
{
    const cJSON *list = get(o, key), *item;

    if (!list)
        return STATUS_OK;
    if (!cJSON_IsArray(list))
        return fail(STATUS_FORMAT, "%s: %s of a template must be a list", r->what, key);
    out->n = 0;
    TRY_TAKE(out->v, r->a, 64);
    cJSON_ArrayForEach(item, list)
    {
        const cJSON *text = get(item, "Sequence"), *special = get(item, "SpecialToken"),
                    *one = text ? text : special;
        const char  *id;
        int64_t      type = 0;
        if (!cJSON_IsObject(one) || cJSON_GetArraySize(item) != 1)
            return fail(STATUS_FORMAT, "%s: %s of a template must hold {\"Sequence\": ...} and "
                        "{\"SpecialToken\": ...}", r->what, key);
        TRY(json_string(one, "id", true, &id, r->what));
        TRY(json_int(one, "type_id", false, 0, 255, &type, r->what));
        if (special) {
            TRY(template_ids(r, get(o, "special_tokens"), id, (uint8_t)type, out));
            continue;
        }
        if (strcmp(id, "A") != 0 && strcmp(id, "B") != 0)
            return fail(STATUS_FORMAT, "%s: a template names the text \"%.80s\", must be A or B",
                        r->what, id);
        if (out->n == 64)
            return fail(STATUS_FORMAT, "%s: a template has more than 64 tokens", r->what);
        out->v[out->n++] =
            (template_item){.id = -1, .text = id[0] == 'B', .type = (uint8_t)type};
    }
    return STATUS_OK;
}

static status post_template(reader *r, const cJSON *o, int depth)
{
    (void)depth;
    TRY(read_template(r, o, "single", &r->t->single));
    TRY(read_template(r, o, "pair", &r->t->pair));
    for (int i = 0; i < r->t->single.n; i++)
        if (r->t->single.v[i].id < 0 && r->t->single.v[i].text)
            return fail(STATUS_FORMAT, "%s: the template for one text names B", r->what);
    return STATUS_OK;
}

static status read_post(reader *r, const cJSON *o, int depth)
{
    static const part_kind kinds[] = {
        {"ByteLevel", "type,add_prefix_space,trim_offsets,use_regex,", post_byte_level},
        {"TemplateProcessing", "type,single,pair,special_tokens,", post_template},
        {"RobertaProcessing", "type,sep,cls,trim_offsets,add_prefix_space,", post_roberta},
        {"Sequence", "type,processors,", post_sequence}};

    return read_part(r, o, "post_processor", kinds, COUNT_OF(kinds), depth);
}

/* ---- decoder ---- */

static status decoder_byte_level(reader *r, const cJSON *o, int depth)
{
    (void)o, (void)depth;
    r->t->decoder = DECODE_BYTES;
    return STATUS_OK;
}

static status read_decoder(reader *r, const cJSON *o, int depth)
{
    static const part_kind kinds[] = {
        {"ByteLevel", "type,add_prefix_space,trim_offsets,use_regex,", decoder_byte_level}};

    return read_part(r, o, "decoder", kinds, COUNT_OF(kinds), depth);
}

/* ---- vocabulary, model ---- */

/* The text of a key; NUL is C0 80 in it (core/json.c). */
static size_t key_text(char *key)
{
    const size_t n = strlen(key);
    size_t       to = 0;

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
        const cJSON *content = get(item, "content");
        ++*tokens;
        *bytes += cJSON_IsString(content) ? strlen(content->valuestring) : 0;
    }
}

static status read_merge(reader *r, const cJSON *item, int number)
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

static status read_bpe_flags(reader *r, const cJSON *model)
{
    bpe        *b = &r->t->bpe;
    bool        fallback = false;
    double      dropout = 0;
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
                    fallback         ? "byte_fallback"
                    : dropout != 0   ? "dropout"
                    : *prefix != 0   ? "continuing_subword_prefix"
                                     : "end_of_word_suffix");
    if (!r->t->byte_level)
        return fail(STATUS_UNSUPPORTED, "%s: model BPE without the pre-tokenizer ByteLevel is not "
                    "supported", r->what);
    if (unknown) {
        b->unknown = vocabulary_find(&r->t->words, unknown, strlen(unknown));
        if (b->unknown < 0)
            return fail(STATUS_FORMAT, "%s: unk_token is \"%.80s\", which is not a token", r->what,
                        unknown);
    }
    return STATUS_OK;
}

static status read_bpe(reader *r, const cJSON *model)
{
    static const token_model kind = {"BPE", bpe_encode};
    const cJSON *vocab = get(model, "vocab"), *merges = get(model, "merges"), *item;
    tokenizer   *t = r->t;
    size_t       tokens, bytes;
    int          number = 0;

    TRY(known_keys(r, model, "model BPE", "type,dropout,unk_token,continuing_subword_prefix,"
                   "end_of_word_suffix,fuse_unk,byte_fallback,ignore_merges,vocab,merges,"));
    if (!cJSON_IsObject(vocab) || !cJSON_IsArray(merges))
        return fail(STATUS_FORMAT, "%s: model BPE: %s", r->what, !cJSON_IsObject(vocab)
                    ? "vocab must be an object" : "merges must be a list");
    count_tokens(vocab, get(r->root, "added_tokens"), &tokens, &bytes);
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

static status read_model(reader *r)
{
    const cJSON *model = get(r->root, "model"), *type = get(model, "type");

    if (!cJSON_IsObject(model))
        return fail(STATUS_FORMAT, "%s: model must be an object", r->what);
    if (!type && get(model, "merges")) /* older files leave BPE's type out */
        return read_bpe(r, model);
    if (!cJSON_IsString(type))
        return fail(STATUS_FORMAT, "%s: type of the model must be text", r->what);
    if (strcmp(type->valuestring, "BPE") == 0)
        return read_bpe(r, model);
    return fail(STATUS_UNSUPPORTED, "%s: the model is \"%.80s\", known: BPE", r->what,
                type->valuestring);
}

/* ---- added tokens ---- */

static status read_added_token(reader *r, const cJSON *o, added_token *token)
{
    vocabulary *words = &r->t->words;
    int64_t     id = 0;

    TRY(known_keys(r, o, "an added token",
                   "id,content,single_word,lstrip,rstrip,normalized,special,"));
    const cJSON *content = get(o, "content");
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
    for (const added_token *other = r->t->added.v; other < token; other++)
        if (other->id == token->id)
            return fail(STATUS_FORMAT, "%s: two added tokens have id %d", r->what, token->id);
    return STATUS_OK;
}

static status read_added(reader *r)
{
    const cJSON  *list = get(r->root, "added_tokens"), *item;
    added_tokens *added = &r->t->added;

    if (list && !cJSON_IsArray(list))
        return fail(STATUS_FORMAT, "%s: added_tokens must be a list", r->what);
    TRY_TAKE(added->v, r->a, cJSON_GetArraySize(list));
    cJSON_ArrayForEach(item, list)
    {
        added->v[added->n] = (added_token){.id = -1};
        TRY(read_added_token(r, item, &added->v[added->n]));
        added->n++;
    }
    return STATUS_OK;
}

/* ---- the whole file ---- */

/* Truncation and padding are not used, but must make sense. */
static status check_lengths(const reader *r)
{
    const cJSON *cut = get(r->root, "truncation"), *pad = get(r->root, "padding");
    int64_t      n = 0;

    if (cut) {
        TRY(known_keys(r, cut, "truncation", "direction,max_length,strategy,stride,"));
        TRY(json_int(cut, "max_length", true, 0, INT32_MAX, &n, r->what));
        TRY(json_int(cut, "stride", false, 0, INT32_MAX, &n, r->what));
    }
    if (pad) {
        TRY(known_keys(r, pad, "padding", "strategy,direction,pad_to_multiple_of,pad_id,pad_type_id,"
                       "pad_token,"));
        TRY(json_int(pad, "pad_id", true, 0, INT32_MAX, &n, r->what));
        TRY(json_int(pad, "pad_to_multiple_of", false, 0, INT32_MAX, &n, r->what));
        const cJSON *strategy = get(pad, "strategy");
        if (cJSON_IsObject(strategy))
            TRY(json_int(strategy, "Fixed", true, 0, INT32_MAX, &n, r->what));
    }
    return STATUS_OK;
}

static status read_root(reader *r)
{
    const cJSON *version = get(r->root, "version"), *part;

    TRY(known_keys(r, r->root, "the file", "version,truncation,padding,added_tokens,normalizer,"
                   "pre_tokenizer,post_processor,decoder,model,"));
    if (version && (!cJSON_IsString(version) || strcmp(version->valuestring, "1.0") != 0))
        return fail(STATUS_FORMAT, "%s: version must be \"1.0\"", r->what);
    TRY(check_lengths(r));
    if ((part = get(r->root, "normalizer")))
        TRY(read_normalizer(r, part, 0));
    if ((part = get(r->root, "pre_tokenizer")))
        TRY(read_pre(r, part, 0));
    TRY(read_model(r));
    TRY(read_added(r));
    if ((part = get(r->root, "post_processor")))
        TRY(read_post(r, part, 0));
    if ((part = get(r->root, "decoder")))
        TRY(read_decoder(r, part, 0));
    return STATUS_OK;
}

status tokenizer_read_json(arena *a, const char *path, tokenizer *t)
{
    cJSON *root;

    TRY(json_read(path, &root));
    reader r = {.a = a, .t = t, .what = path, .root = root};
    status s = read_root(&r);
    if (s == STATUS_OK)
        s = tokenizer_read_config(a, path, t);
    cJSON_Delete(root);
    return s;
}
