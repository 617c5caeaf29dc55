/* tokenizer_json: tokenizer.json into the parts. Every object is checked for keys and types that
 * are not known here: they would change what the tokens are. */
#include "data/tokenizer_json.h"

#include "core/utf8.h"

#include <stdio.h>
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

status json_read_part(json_reader *r, const cJSON *o, const char *part, const part_kind *kinds,
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
status json_read_list(json_reader *r, const cJSON *o, const char *key, int depth,
                        status (*read)(json_reader *r, const cJSON *o, int depth))
{
    const cJSON *list = json_member(o, key), *item;

    if (!cJSON_IsArray(list))
        return fail(STATUS_FORMAT, "%s: %s of a Sequence must be a list", r->what, key);
    cJSON_ArrayForEach(item, list) TRY(read(r, item, depth + 1));
    return STATUS_OK;
}

status json_kept(json_reader *r, const cJSON *item, const char **text, size_t *n)
{
    TRY(json_text(r->a, item, text, n));
    *text = arena_string(r->a, *text, *n);
    return *text ? STATUS_OK : STATUS_MEMORY;
}

status json_kept_member(json_reader *r, const cJSON *o, const char *key, const char *part,
                        const char **text, size_t *n)
{
    const cJSON *item = json_member(o, key);

    if (!cJSON_IsString(item))
        return fail(STATUS_FORMAT, "%s: %s: %s must be text", r->what, part, key);
    return json_kept(r, item, text, n);
}

status json_character(json_reader *r, const cJSON *o, const char *key, const char *part,
                      uint32_t *code)
{
    const char *text;
    size_t n;

    TRY(json_kept_member(r, o, key, part, &text, &n));
    if (n == 0 || (size_t)utf8_next(text, n, 0, code) != n)
        return fail(STATUS_FORMAT, "%s: %s: %s is \"%.80s\", must be one character", r->what, part,
                    key, text);
    return STATUS_OK;
}

status json_pattern(json_reader *r, const cJSON *o, const char *part, pcre2_code **out)
{
    const cJSON *pattern = json_member(o, "pattern"), *regex = json_member(pattern, "Regex"),
                *plain = json_member(pattern, "String");
    const char *text;
    size_t n;

    if (!pattern || !cJSON_IsString(regex ? regex : plain) || cJSON_GetArraySize(pattern) != 1)
        return fail(STATUS_FORMAT,
                    "%s: %s: pattern must be {\"Regex\": text} or {\"String\": text}", r->what, part);
    TRY(json_text(r->a, regex ? regex : plain, &text, &n));
    return pattern_open(r->t, part, text, n, !regex, out);
}

/* ---- added tokens ---- */

status json_read_added(json_reader *r, const cJSON *o, int64_t id, bool *seen, added_token *token)
{
    vocabulary *words = &r->t->words;

    TRY(json_known_keys(r, o, "an added token",
                        "id,content,single_word,lstrip,rstrip,normalized,special,"));
    const cJSON *content = json_member(o, "content");
    if (!cJSON_IsString(content) || !*content->valuestring)
        return fail(STATUS_FORMAT, "%s: content of an added token must be text that is not empty",
                    r->what);
    TRY(json_text(r->a, content, &token->text, &token->n));
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
    if (seen && seen[id])
        return fail(STATUS_FORMAT, "%s: two added tokens have id %d", r->what, token->id);
    if (seen)
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
        int64_t id = 0;
        added->v[added->n] = (added_token){.id = -1};
        TRY(json_int(item, "id", true, 0, INT32_MAX, &id, r->what));
        TRY(json_read_added(r, item, id, seen, &added->v[added->n]));
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
    TRY(json_check_model(r));
    if ((part = json_member(r->root, "normalizer")))
        TRY(json_read_normalizer(r, part, 0));
    if ((part = json_member(r->root, "pre_tokenizer")))
        TRY(json_read_pretokenizer(r, part, 0));
    TRY(json_read_model(r, json_member(r->root, "model")));
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
