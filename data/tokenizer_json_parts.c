/* tokenizer_json_parts: normalizer, pre-tokenizer, post-processor and decoder of tokenizer.json */
#include "data/tokenizer_json.h"

#include <stdio.h>
#include <string.h>

/* One kind of normaliser, pre-tokenizer, post-processor or decoder. */
typedef struct part_kind {
    const char *type, *keys;
    status (*read)(json_reader *r, const cJSON *o, int depth);
} part_kind;

static status read_part(json_reader *r, const cJSON *o, const char *part, const part_kind *kinds,
                        int n, int depth)
{
    const char *type;
    char known[512] = "", label[128];

    if (!cJSON_IsObject(o))
        return fail(STATUS_FORMAT, "%s: %s must be an object or null", r->what, part);
    if (depth > 4)
        return fail(STATUS_FORMAT, "%s: %s is nested deeper than 4 levels", r->what, part);
    snprintf(label, sizeof label, "%s: %s", r->what, part);
    TRY(json_string(o, "type", true, &type, label));
    for (int i = 0; i < n; i++) {
        if (strcmp(kinds[i].type, type) == 0) {
            snprintf(label, sizeof label, "%s %s", part, type);
            TRY(json_known_keys(r, o, label, kinds[i].keys));
            return kinds[i].read(r, o, depth);
        }
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", kinds[i].type);
    }
    return fail(STATUS_UNSUPPORTED, "%s: %s is \"%.80s\", known: %s", r->what, part, type, known);
}

/* Reads the parts of a Sequence one by one. */
static status read_list(json_reader *r, const cJSON *o, const char *key, int depth,
                        status (*read)(json_reader *r, const cJSON *o, int depth))
{
    const cJSON *list = json_member(o, key), *item;

    if (!cJSON_IsArray(list))
        return fail(STATUS_FORMAT, "%s: %s of a Sequence must be a list", r->what, key);
    cJSON_ArrayForEach(item, list) TRY(read(r, item, depth + 1));
    return STATUS_OK;
}

/* ---- normalizer ---- */

static status normalizer_sequence(json_reader *r, const cJSON *o, int depth)
{
    return read_list(r, o, "normalizers", depth, json_read_normalizer);
}

/* NFC twice is NFC. */
static status normalizer_nfc(json_reader *r, const cJSON *o, int depth)
{
    (void)o, (void)depth;
    r->t->normalizers[0] = NORMALIZE_NFC;
    r->t->n_normalizers = 1;
    return STATUS_OK;
}

status json_read_normalizer(json_reader *r, const cJSON *o, int depth)
{
    static const part_kind kinds[] = {{"NFC", "type,", normalizer_nfc},
                                      {"Sequence", "type,normalizers,", normalizer_sequence}};

    return read_part(r, o, "normalizer", kinds, COUNT_OF(kinds), depth);
}

/* ---- pre-tokenizer ---- */

static status pre_sequence(json_reader *r, const cJSON *o, int depth)
{
    return read_list(r, o, "pretokenizers", depth, json_read_pretokenizer);
}

static status pre_byte_level(json_reader *r, const cJSON *o, int depth)
{
    tokenizer *t = r->t;
    bool prefix = true, trim = true, regex = true;

    (void)depth;
    TRY(json_bool(o, "add_prefix_space", false, &prefix, r->what));
    TRY(json_bool(o, "trim_offsets", false, &trim, r->what));
    TRY(json_bool(o, "use_regex", false, &regex, r->what));
    if (prefix && t->n_steps > 0)
        return fail(STATUS_UNSUPPORTED,
                    "%s: pre_tokenizer ByteLevel: add_prefix_space behind "
                    "another pre-tokenizer is not supported, must be false",
                    r->what);
    t->prefix_blank = prefix;
    t->byte_level = true;
    return regex
               ? pre_add_split(t, PATTERN_GPT2, strlen(PATTERN_GPT2), false, SPLIT_ISOLATED, false)
               : STATUS_OK;
}

static status pre_split(json_reader *r, const cJSON *o, int depth)
{
    static const char *const behaviors[] = {"Isolated", "Removed", "MergedWithPrevious",
                                            "MergedWithNext", "Contiguous"};
    const cJSON *pattern = json_member(o, "pattern"), *regex = json_member(pattern, "Regex"),
                *plain = json_member(pattern, "String");
    const char *behavior, *text;
    size_t n;
    bool invert = false;

    (void)depth;
    if (!pattern || !cJSON_IsString(regex ? regex : plain) || cJSON_GetArraySize(pattern) != 1)
        return fail(STATUS_FORMAT,
                    "%s: pre_tokenizer Split: pattern must be {\"Regex\": text} or "
                    "{\"String\": text}",
                    r->what);
    TRY(json_string(o, "behavior", true, &behavior, r->what));
    TRY(json_bool(o, "invert", false, &invert, r->what));
    TRY(json_text(r->a, regex ? regex : plain, &text, &n));
    for (size_t i = 0; i < COUNT_OF(behaviors); i++)
        if (strcmp(behavior, behaviors[i]) == 0)
            return pre_add_split(r->t, text, n, !regex, (split_behavior)i, invert);
    return fail(STATUS_FORMAT,
                "%s: pre_tokenizer Split: behavior is \"%.80s\", must be Isolated, "
                "Removed, MergedWithPrevious, MergedWithNext or Contiguous",
                r->what, behavior);
}

static status pre_digits(json_reader *r, const cJSON *o, int depth)
{
    bool individual = false;

    (void)depth;
    TRY(json_bool(o, "individual_digits", false, &individual, r->what));
    return pre_add_digits(r->t, individual);
}

status json_read_pretokenizer(json_reader *r, const cJSON *o, int depth)
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

static status post_sequence(json_reader *r, const cJSON *o, int depth)
{
    return read_list(r, o, "processors", depth, json_read_postprocessor);
}

static status post_byte_level(json_reader *r, const cJSON *o, int depth)
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
static status read_sep(json_reader *r, const cJSON *o, const char *key, int32_t *id)
{
    const cJSON *pair = json_member(o, key), *text = cJSON_GetArrayItem(pair, 0),
                *number = cJSON_GetArrayItem(pair, 1);

    if (!cJSON_IsArray(pair) || cJSON_GetArraySize(pair) != 2 || !cJSON_IsString(text) ||
        !cJSON_IsNumber(number))
        return fail(STATUS_FORMAT, "%s: %s must be [token, id]", r->what, key);
    if (!vocabulary_has(&r->t->words, number->valueint) || number->valuedouble != number->valueint)
        return fail(STATUS_FORMAT, "%s: %s is \"%.80s\", %.0f, which is not a token's id", r->what,
                    key, text->valuestring, number->valuedouble);
    *id = number->valueint;
    return STATUS_OK;
}

/* <s> A </s> and <s> A </s> </s> B </s>, all of type 0. */
static status post_roberta(json_reader *r, const cJSON *o, int depth)
{
    tokenizer *t = r->t;
    int32_t sep = -1, cls = -1;
    bool trim = true, prefix = true;

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
static status template_ids(json_reader *r, const cJSON *specials, const char *name, uint8_t type,
                           token_template *out)
{
    const cJSON *special = json_member(specials, name), *ids = json_member(special, "ids"),
                *tokens = json_member(special, "tokens"), *id;

    if (!special)
        return fail(STATUS_FORMAT, "%s: the template names \"%.80s\", special_tokens has no such",
                    r->what, name);
    TRY(json_known_keys(r, special, "a special token of the template", "id,ids,tokens,"));
    if (!cJSON_IsArray(ids) || !cJSON_IsArray(tokens) ||
        cJSON_GetArraySize(ids) != cJSON_GetArraySize(tokens))
        return fail(STATUS_FORMAT,
                    "%s: special token \"%.80s\": ids and tokens must be lists of "
                    "one length",
                    r->what, name);
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

static status read_template(json_reader *r, const cJSON *o, const char *key, token_template *out)
{
    const cJSON *list = json_member(o, key), *item;

    if (!list)
        return STATUS_OK;
    if (!cJSON_IsArray(list))
        return fail(STATUS_FORMAT, "%s: %s of a template must be a list", r->what, key);
    out->n = 0;
    TRY_TAKE(out->v, r->a, 64);
    cJSON_ArrayForEach(item, list)
    {
        const cJSON *text = json_member(item, "Sequence"),
                    *special = json_member(item, "SpecialToken"), *one = text ? text : special;
        const char *id;
        int64_t type = 0;
        if (!cJSON_IsObject(one) || cJSON_GetArraySize(item) != 1)
            return fail(STATUS_FORMAT,
                        "%s: %s of a template must hold {\"Sequence\": ...} and "
                        "{\"SpecialToken\": ...}",
                        r->what, key);
        TRY(json_string(one, "id", true, &id, r->what));
        TRY(json_int(one, "type_id", false, 0, 255, &type, r->what));
        if (special) {
            TRY(template_ids(r, json_member(o, "special_tokens"), id, (uint8_t)type, out));
            continue;
        }
        if (strcmp(id, "A") != 0 && strcmp(id, "B") != 0)
            return fail(STATUS_FORMAT, "%s: a template names the text \"%.80s\", must be A or B",
                        r->what, id);
        if (out->n == 64)
            return fail(STATUS_FORMAT, "%s: a template has more than 64 tokens", r->what);
        out->v[out->n++] = (template_item){.id = -1, .text = id[0] == 'B', .type = (uint8_t)type};
    }
    return STATUS_OK;
}

static status post_template(json_reader *r, const cJSON *o, int depth)
{
    (void)depth;
    TRY(read_template(r, o, "single", &r->t->single));
    TRY(read_template(r, o, "pair", &r->t->pair));
    for (int i = 0; i < r->t->single.n; i++)
        if (r->t->single.v[i].id < 0 && r->t->single.v[i].text)
            return fail(STATUS_FORMAT, "%s: the template for one text names B", r->what);
    return STATUS_OK;
}

status json_read_postprocessor(json_reader *r, const cJSON *o, int depth)
{
    static const part_kind kinds[] = {
        {"ByteLevel", "type,add_prefix_space,trim_offsets,use_regex,", post_byte_level},
        {"TemplateProcessing", "type,single,pair,special_tokens,", post_template},
        {"RobertaProcessing", "type,sep,cls,trim_offsets,add_prefix_space,", post_roberta},
        {"Sequence", "type,processors,", post_sequence}};

    return read_part(r, o, "post_processor", kinds, COUNT_OF(kinds), depth);
}

/* ---- decoder ---- */

static status decoder_byte_level(json_reader *r, const cJSON *o, int depth)
{
    (void)o, (void)depth;
    r->t->decoder = DECODE_BYTES;
    return STATUS_OK;
}

status json_read_decoder(json_reader *r, const cJSON *o, int depth)
{
    static const part_kind kinds[] = {
        {"ByteLevel", "type,add_prefix_space,trim_offsets,use_regex,", decoder_byte_level}};

    return read_part(r, o, "decoder", kinds, COUNT_OF(kinds), depth);
}
