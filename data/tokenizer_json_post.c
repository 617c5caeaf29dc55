/* tokenizer_json_post: the post-processor of tokenizer.json, what is added around the texts and how
 * offsets are trimmed */
#include "data/tokenizer_json.h"

#include <string.h>

static status post_sequence(json_reader *r, const cJSON *o, int depth)
{
    return json_read_list(r, o, "processors", depth, json_read_postprocessor);
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

/* A tokenizer has one template: what would follow it is not defined. */
static status one_template(json_reader *r)
{
    if (r->t->template_set)
        return fail(STATUS_UNSUPPORTED, "%s: two post-processors add tokens, at most one may",
                    r->what);
    r->t->template_set = true;
    return STATUS_OK;
}

static status set_template(json_reader *r, const template_item *items, int single, int pair)
{
    r->t->single.n = single;
    r->t->pair.n = pair;
    r->t->single.v = r->t->pair.v = arena_copy(r->a, items, (size_t)pair * sizeof *items);
    return r->t->pair.v ? STATUS_OK : STATUS_MEMORY;
}

/* [CLS] A [SEP] and [CLS] A [SEP] B [SEP], B and what follows it of type 1. */
static status post_bert(json_reader *r, const cJSON *o, int depth)
{
    int32_t sep = -1, cls = -1;

    (void)depth;
    TRY(one_template(r));
    TRY(read_sep(r, o, "sep", &sep));
    TRY(read_sep(r, o, "cls", &cls));
    const template_item items[] = {{cls, 0, 0}, {-1, 0, 0}, {sep, 0, 0}, {-1, 1, 1}, {sep, 0, 1}};
    return set_template(r, items, 3, 5);
}

/* <s> A </s> and <s> A </s> </s> B </s>, all of type 0. */
static status post_roberta(json_reader *r, const cJSON *o, int depth)
{
    tokenizer *t = r->t;
    int32_t sep = -1, cls = -1;
    bool trim = true, prefix = true;

    (void)depth;
    TRY(one_template(r));
    TRY(read_sep(r, o, "sep", &sep));
    TRY(read_sep(r, o, "cls", &cls));
    TRY(json_bool(o, "trim_offsets", false, &trim, r->what));
    TRY(json_bool(o, "add_prefix_space", false, &prefix, r->what));
    if (trim && t->trim)
        return fail(STATUS_UNSUPPORTED, "%s: two post-processors trim offsets, at most one may",
                    r->what);
    t->trim = t->trim || trim;
    t->trim_prefix = trim ? prefix : t->trim_prefix;
    const template_item items[] = {{cls, 0, 0}, {-1, 0, 0}, {sep, 0, 0},
                                   {sep, 0, 0}, {-1, 1, 0}, {sep, 0, 0}};
    return set_template(r, items, 3, 6);
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
    TRY(one_template(r));
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
        {"BertProcessing", "type,sep,cls,", post_bert},
        {"Sequence", "type,processors,", post_sequence}};

    return json_read_part(r, o, "post_processor", kinds, COUNT_OF(kinds), depth);
}
