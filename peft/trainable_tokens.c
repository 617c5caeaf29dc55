/* trainable_tokens: some rows of the embedding are trained, in their place; a tied head reads them too */
#include "peft/whole.h"

#include "core/json.h"

#include <string.h>

typedef struct tokens_options {
    key_texts tokens;
} tokens_options;

#define AT(member) offsetof(tokens_options, member)
static const key tokens_keys[] = {
    {.name = "tokens", .kind = KEY_TEXTS, .offset = AT(tokens), .preset = "!",
     .help = "Numbers of the tokens whose embeddings are trained."},
};
static const key_table tokens_table = KEY_TABLE("trainable_tokens", tokens_keys, tokens_options);

static status tokens_attach(const peft_attach *at, const void *options, void **state)
{
    const tokens_options *o = options;
    int32_t              *ids;

    *state = NULL;
    TRY(whole_token_ids(at->p->a, &o->tokens, at->s->in, &ids));
    return whole_tokens(at, ids, o->tokens.n, "trainable_tokens_delta", true);
}

static int64_t tokens_count(const site *s, const void *options)
{
    return s->out * ((const tokens_options *)options)->tokens.n;
}

static status tokens_write_config(const void *options, cJSON *config)
{
    const tokens_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "TRAINABLE_TOKENS");
    cJSON *list = cJSON_AddArrayToObject(config, "token_indices");
    for (int i = 0; i < o->tokens.n; i++)
        cJSON_AddItemToArray(list, cJSON_CreateRaw(o->tokens.v[i]));
    cJSON_AddBoolToObject(config, "init_weights", true);
    return STATUS_OK;
}

static status tokens_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    tokens_options *o = options;
    const cJSON    *list = cJSON_GetObjectItemCaseSensitive(config, "token_indices"), *item;
    const char    **v;

    *o = (tokens_options){0};
    if (!cJSON_IsArray(list))
        return fail(STATUS_FORMAT, "%s: token_indices must be a list of numbers", what);
    TRY_TAKE(v, a, cJSON_GetArraySize(list) + 1);
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsNumber(item))
            return fail(STATUS_FORMAT, "%s: token_indices must be a list of numbers", what);
        v[o->tokens.n] = arena_printf(a, "%d", item->valueint);
        if (!v[o->tokens.n++])
            return STATUS_MEMORY;
    }
    o->tokens.v = v;
    return STATUS_OK;
}

static const char *tokens_default_targets(const char *family)
{
    if (strcmp(family, "gpt2") == 0)
        return "[\"wte\"]";
    return strstr(family, "bert") ? "[\"word_embeddings\"]" : "[\"embed_tokens\"]";
}

const peft_method peft_trainable_tokens = {
    .name = "trainable_tokens",
    .sites = SITE_EMBEDDING,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES | PEFT_FILE,
    .keys = &tokens_table,
    .help = "Trains the embeddings of some tokens, and the head's rows where it is tied.",
    .default_targets = tokens_default_targets,
    .attach = tokens_attach,
    .count = tokens_count,
    .write_config = tokens_write_config,
    .read_config = tokens_read_config,
};
