/* tokenizer_convert: tokenizer.json to metadata of a GGUF file */
#include "data/tokenizer_convert.h"

#include "core/json.h"
#include "data/tokenizer_pieces.h"
#include "data/tokenizer_json.h"
#include "data/tokenizer_ways.h"

#include <string.h>

bool tokenizer_in_folder(arena *a, const char *folder)
{
    const char *path = path_join(a, folder, "tokenizer.json");

    return path && path_exists(path);
}

/* ---- which way ----------------------------------------------------------------------------------- */

int tokenizer_flatten(const cJSON *o, const char *list, const cJSON **parts, int n)
{
    const cJSON *items = cJSON_GetObjectItemCaseSensitive(o, list), *item;

    if (!o)
        return n;
    if (!items) {
        if (n < TOKENIZER_PARTS_MAX)
            parts[n] = o;
        return n + 1;
    }
    cJSON_ArrayForEach(item, items) n = tokenizer_flatten(item, list, parts, n);
    return n;
}

bool tokenizer_is_type(const cJSON *o, const char *type)
{
    const cJSON *t = cJSON_GetObjectItemCaseSensitive(o, "type");

    return cJSON_IsString(t) && strcmp(t->valuestring, type) == 0;
}

static bool flag(const cJSON *o, const char *key, bool preset)
{
    const cJSON *item = json_member(o, key);

    return item ? cJSON_IsTrue(item) : preset;
}

static bool is_split(const cJSON *o, const char *pattern)
{
    const cJSON *regex = cJSON_GetObjectItemCaseSensitive(json_member(o, "pattern"), "Regex");
    const cJSON *behavior = json_member(o, "behavior");

    return tokenizer_is_type(o, "Split") && cJSON_IsString(regex) && strcmp(regex->valuestring, pattern) == 0 &&
           cJSON_IsString(behavior) && strcmp(behavior->valuestring, "Isolated") == 0 &&
           !flag(o, "invert", false);
}

static bool is_way(const token_way *w, const cJSON *root)
{
    const cJSON *parts[TOKENIZER_PARTS_MAX], *normal[TOKENIZER_PARTS_MAX];
    const int    n = tokenizer_flatten(json_member(root, "pre_tokenizer"), "pretokenizers", parts, 0);
    const int    k = tokenizer_flatten(json_member(root, "normalizer"), "normalizers", normal, 0);
    int          at = 0;

    if (n > TOKENIZER_PARTS_MAX || k > TOKENIZER_PARTS_MAX ||
        flag(json_member(root, "model"), "ignore_merges", false) != w->ignore_merges)
        return false;
    if (w->nfc ? k != 1 || !tokenizer_is_type(normal[0], "NFC") : k != 0)
        return false;
    if (w->digits &&
        (at >= n || !tokenizer_is_type(parts[at], "Digits") || !flag(parts[at++], "individual_digits", false)))
        return false;
    if (w->pattern && (at >= n || !is_split(parts[at++], w->pattern)))
        return false;
    return at == n - 1 && tokenizer_is_type(parts[at], "ByteLevel") && !flag(parts[at], "add_prefix_space", true) &&
           flag(parts[at], "use_regex", true) == !w->pattern;
}

static status find_way(const cJSON *root, const char *path, const token_way **out)
{
    for (size_t i = 0; i < COUNT_OF(token_ways); i++)
        if (is_way(&token_ways[i], root)) {
            *out = &token_ways[i];
            return STATUS_OK;
        }
    return fail(
        STATUS_UNSUPPORTED,
        "%s: a GGUF file says by a name how texts are cut; normalizer, pre_tokenizer and ignore_merges of "
        "this one are none of " TOKEN_WAY_NAMES,
        path);
}

/* ---- parts --------------------------------------------------------------------------------------- */

/* Tokens and their types; ids that have none get a filler. */
static status put_tokens(arena *a, const tokenizer *t, int64_t words, bool pieces, gguf_meta *m)
{
    const vocabulary *v = &t->words;
    gguf_text        *texts;
    int32_t          *types;

    if (v->n_ids > words)
        return fail(STATUS_FORMAT, "%s: has ids up to %d, the embedding has %lld rows", t->what, v->n_ids - 1,
                    (long long)words);
    TRY_TAKE(texts, a, words);
    TRY_TAKE(types, a, words);
    for (int64_t i = 0; i < words; i++) {
        if (vocabulary_has(v, i)) {
            texts[i] = (gguf_text){v->bytes + v->at[i], v->length[i]};
            types[i] = SPM_NORMAL;
            continue;
        }
        char *filler = arena_printf(a, "[PAD%lld]", (long long)i);
        if (!filler)
            return STATUS_MEMORY;
        texts[i] = (gguf_text){filler, strlen(filler)};
        types[i] = SPM_UNUSED;
    }
    for (int byte = 0; byte < 256 && pieces; byte++)
        types[t->bpe.byte_ids[byte]] = SPM_BYTE;
    for (size_t i = 0; i < t->added.n; i++) {
        const added_token *x = &t->added.v[i];
        if (x->lstrip || x->rstrip || x->single_word)
            return fail(STATUS_UNSUPPORTED,
                        "%s: added token \"%.80s\" has lstrip, rstrip or single_word, which a "
                        "GGUF file cannot say",
                        t->what, x->text);
        types[x->id] = x->special ? SPM_CONTROL : SPM_USER_DEFINED;
    }
    if (pieces)
        types[t->bpe.unknown] = SPM_UNKNOWN;
    gguf_put_texts(m, "tokenizer.ggml.tokens", texts, (uint64_t)words);
    gguf_put_array(m, "tokenizer.ggml.token_type", GGUF_I32, types, (uint64_t)words);
    return STATUS_OK;
}

/* A merge's two parts with a blank between them. */
static status put_merges(arena *a, const cJSON *root, gguf_meta *m)
{
    const cJSON *merges = json_member(json_member(root, "model"), "merges"), *item;
    gguf_text   *texts;
    uint64_t     n = 0;

    TRY_TAKE(texts, a, cJSON_GetArraySize(merges));
    cJSON_ArrayForEach(item, merges)
    {
        const char *text = cJSON_IsString(item) ? item->valuestring
                                                : arena_printf(a, "%s %s", item->child->valuestring,
                                                               item->child->next->valuestring);
        if (!text)
            return STATUS_MEMORY;
        texts[n++] = (gguf_text){text, strlen(text)};
    }
    gguf_put_texts(m, "tokenizer.ggml.merges", texts, n);
    return STATUS_OK;
}

/* The template: at most BOS before the text and EOS behind it. */
static status put_ends(const tokenizer *t, gguf_meta *m)
{
    const token_template *s = &t->single;
    const bool            before = s->n > 0 && s->v[0].id >= 0, behind = s->n > 1 && s->v[s->n - 1].id >= 0;
    const int32_t         bos = before ? s->v[0].id : t->bos, eos = behind ? s->v[s->n - 1].id : t->eos;

    if (s->n != 1 + before + behind || (before && t->bos >= 0 && t->bos != bos) ||
        (behind && t->eos >= 0 && t->eos != eos))
        return fail(STATUS_UNSUPPORTED,
                    "%s: the post_processor adds other tokens than BOS before and EOS behind a "
                    "text, which a GGUF file cannot say",
                    t->what);
    if (bos >= 0)
        gguf_put_u32(m, "tokenizer.ggml.bos_token_id", (uint32_t)bos);
    if (eos >= 0)
        gguf_put_u32(m, "tokenizer.ggml.eos_token_id", (uint32_t)eos);
    gguf_put_bool(m, "tokenizer.ggml.add_bos_token", before);
    gguf_put_bool(m, "tokenizer.ggml.add_eos_token", behind);
    if (t->chat_template)
        gguf_put_string(m, "tokenizer.chat_template", t->chat_template);
    return STATUS_OK;
}

/* pad_token and unk_token of tokenizer_config.json, as far as they are tokens. */
static status put_others(arena *a, const tokenizer *t, const char *folder, gguf_meta *m)
{
    static const struct {
        const char *name, *key;
    } others[] = {{"pad_token", "tokenizer.ggml.padding_token_id"},
                  {"unk_token", "tokenizer.ggml.unknown_token_id"}};
    const char *path = path_join(a, folder, "tokenizer_config.json");
    cJSON      *root;

    if (!path)
        return STATUS_MEMORY;
    if (!path_exists(path))
        return STATUS_OK;
    TRY(json_read(path, &root));
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        const cJSON *item = json_member(root, others[i].name);
        if (cJSON_IsObject(item))
            item = json_member(item, "content");
        const int32_t id = cJSON_IsString(item) ? tokenizer_id(t, item->valuestring) : -1;
        if (id >= 0)
            gguf_put_u32(m, others[i].key, (uint32_t)id);
    }
    cJSON_Delete(root);
    return STATUS_OK;
}

static status put_all(arena *a, const tokenizer *t, const cJSON *root, const char *path, int64_t words,
                      gguf_meta *m)
{
    const token_way *way = NULL;

    if (pieces_are_in(root)) {
        TRY(pieces_to_gguf(a, t, root, words, m));
        TRY(put_tokens(a, t, words, true, m));
        return put_ends(t, m);
    }
    TRY(find_way(root, path, &way));
    gguf_put_string(m, "tokenizer.ggml.model", "gpt2");
    gguf_put_string(m, "tokenizer.ggml.pre", way->name);
    TRY(put_tokens(a, t, words, false, m));
    TRY(put_merges(a, root, m));
    return put_ends(t, m);
}

status tokenizer_to_gguf(arena *a, const char *folder, int64_t words, gguf_meta *m)
{
    const char *path = path_join(a, folder, "tokenizer.json");
    tokenizer  *t = NULL;
    cJSON      *root = NULL;

    if (!path)
        return STATUS_MEMORY;
    TRY(tokenizer_open(a, folder, &t)); /* checks all of it */
    status s = json_read(path, &root);
    if (s == STATUS_OK)
        s = put_all(a, t, root, path, words, m);
    if (s == STATUS_OK)
        s = put_others(a, t, folder, m);
    cJSON_Delete(root);
    tokenizer_close(t);
    return s;
}
