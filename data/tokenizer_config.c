/* tokenizer_config: what stands beside tokenizer.json: tokenizer_config.json names BOS and EOS and
 * may hold the chat template, chat_template.jinja holds it alone. Neither must be there. */
#include "core/file.h"
#include "data/tokenizer_json.h"

#include <stdlib.h>
#include <string.h>

enum { CHAT_TEMPLATE_MAX = 1 << 20 };

/* "bos_token": "<s>" or {"content": "<s>", ...}, and a token of this tokenizer. */
static status read_token(const cJSON *root, const char *key, const tokenizer *t, const char *path,
                         int32_t *id)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);

    if (cJSON_IsObject(item))
        item = cJSON_GetObjectItemCaseSensitive(item, "content");
    if (!item || cJSON_IsNull(item))
        return STATUS_OK;
    if (!cJSON_IsString(item))
        return fail(STATUS_FORMAT, "%s: %s must be text", path, key);
    *id = tokenizer_id(t, item->valuestring);
    return *id >= 0 ? STATUS_OK
                    : fail(STATUS_FORMAT, "%s: %s is \"%.80s\", %s has no such token", path, key,
                           item->valuestring, t->what);
}

/* A text, or a list of {"name", "template"} of which "default" counts. */
static status read_chat_template(arena *a, const cJSON *root, const char *path, tokenizer *t)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "chat_template"), *one;
    const char *text = NULL;

    if (cJSON_IsArray(item)) {
        const cJSON *list = item;
        item = NULL;
        cJSON_ArrayForEach(one, list)
        {
            const char *name = "";
            TRY(json_string(one, "name", true, &name, path));
            if (strcmp(name, "default") == 0)
                item = cJSON_GetObjectItemCaseSensitive(one, "template");
        }
    }
    if (!item || cJSON_IsNull(item))
        return STATUS_OK;
    if (!cJSON_IsString(item))
        return fail(STATUS_FORMAT, "%s: chat_template must be text or a list of named texts", path);
    text = item->valuestring;
    t->chat_template = arena_string(a, text, strlen(text));
    return t->chat_template ? STATUS_OK : STATUS_MEMORY;
}

char *beside_file(arena *a, const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');

    return slash ? arena_printf(a, "%.*s/%s", (int)(slash - path), path, name)
                 : arena_string(a, name, strlen(name));
}

status tokenizer_read_config(arena *a, const char *path, tokenizer *t)
{
    char *config = beside_file(a, path, "tokenizer_config.json");
    char *chat = beside_file(a, path, "chat_template.jinja");

    if (!config || !chat)
        return STATUS_MEMORY;
    if (path_exists(config)) {
        cJSON *root;
        TRY(json_read(config, &root));
        status s = read_token(root, "bos_token", t, config, &t->bos);
        if (s == STATUS_OK)
            s = read_token(root, "eos_token", t, config, &t->eos);
        if (s == STATUS_OK)
            s = read_chat_template(a, root, config, t);
        cJSON_Delete(root);
        TRY(s);
    }
    if (path_exists(chat)) {
        char *text;
        size_t n;
        TRY(file_read(a, chat, CHAT_TEMPLATE_MAX, &text, &n));
        if (strlen(text) != n)
            return fail(STATUS_FORMAT, "%s: a chat template must not hold NUL bytes", chat);
        t->chat_template = text;
    }
    return STATUS_OK;
}

/* ---- added_tokens_decoder: {"32000": {"content": ...}} ---- */

size_t config_added_size(const cJSON *config, size_t *bytes)
{
    const cJSON *item;
    size_t n = 0;

    *bytes = 0;
    cJSON_ArrayForEach(item, json_member(config, "added_tokens_decoder"))
    {
        const cJSON *content = json_member(item, "content");
        *bytes += cJSON_IsString(content) ? strlen(content->valuestring) : 0;
        n++;
    }
    return n;
}

/* The token takes the place of one with its id, or stands behind the others. */
static void put_added(added_tokens *added, added_token token)
{
    for (size_t i = 0; i < added->n; i++)
        if (added->v[i].id == token.id) {
            token.literal = added->v[i].literal && token.normalized;
            added->v[i] = token;
            return;
        }
    added->v[added->n++] = token;
}

status config_add_tokens(arena *a, tokenizer *t, const cJSON *config, const char *path)
{
    const cJSON *list = json_member(config, "added_tokens_decoder"), *item;
    json_reader r = {.a = a, .t = t, .what = path, .root = config};

    if (list && !cJSON_IsObject(list))
        return fail(STATUS_FORMAT, "%s: added_tokens_decoder must be an object", path);
    cJSON_ArrayForEach(item, list)
    {
        added_token token = {.id = -1};
        char *end;
        const long long id = strtoll(item->string, &end, 10);
        if (*item->string < '0' || *item->string > '9' || *end || id > INT32_MAX)
            return fail(STATUS_FORMAT,
                        "%s: added_tokens_decoder has the key \"%.80s\", must be an id", path,
                        item->string);
        TRY(json_read_added(&r, item, id, NULL, &token));
        put_added(&t->added, token);
    }
    return STATUS_OK;
}
