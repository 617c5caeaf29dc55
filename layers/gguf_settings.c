/* gguf_map: settings that stand in the metadata under the architecture's name, and what all families share */
#include "core/json.h"
#include "layers/gguf_map.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

status gguf_map_int(arena *a, const gguf *g, const gguf_map *map, const char *key, bool need, int64_t lo, int64_t hi,
                    int64_t *out)
{
    const char *full = arena_printf(a, "%s.%s", map->architecture, key);

    return full ? gguf_int(g, full, need, lo, hi, out) : STATUS_MEMORY;
}

status gguf_map_real(arena *a, const gguf *g, const gguf_map *map, const char *key, bool need, double *out)
{
    const char *full = arena_printf(a, "%s.%s", map->architecture, key);

    if (!full)
        return STATUS_MEMORY;
    TRY(gguf_double(g, full, need, out));
    if ((need || gguf_find(g, full)) && (!(*out > 0) || !isfinite(*out)))
        return fail(STATUS_FORMAT, "%s: %s is %g, must be above 0 and finite", g->map.path, full, *out);
    return STATUS_OK;
}

static const char *key_of(gguf_meta *m, const gguf_map *map, const char *key)
{
    const char *full = arena_printf(m->a, "%s.%s", map->stored_as, key);

    if (!full)
        m->error = STATUS_MEMORY;
    return full ? full : "";
}

void gguf_map_put_sizes(gguf_meta *m, const gguf_map *map, const gguf_sizes *s)
{
    gguf_put_string(m, "general.architecture", map->stored_as);
    gguf_put_string(m, "general.type", "model");
    gguf_map_put_int(m, map, "block_count", s->layers);
    gguf_map_put_int(m, map, "context_length", s->positions);
    gguf_map_put_int(m, map, "embedding_length", s->hidden);
    gguf_map_put_int(m, map, "feed_forward_length", s->inner);
    gguf_map_put_int(m, map, "attention.head_count", s->heads);
}

void gguf_map_put_int(gguf_meta *m, const gguf_map *map, const char *key, int64_t value)
{
    gguf_put_u32(m, key_of(m, map, key), (uint32_t)value);
}

void gguf_map_put_string(gguf_meta *m, const gguf_map *map, const char *key, const char *text)
{
    gguf_put_string(m, key_of(m, map, key), text);
}

status gguf_map_put_real(gguf_meta *m, const gguf_map *map, const char *key, const char *what, const char *name,
                         double value)
{
    if (!(value > 0) || !isfinite(value) || !isfinite((float)value))
        return fail(STATUS_FORMAT, "%s: %s is %g, must be above 0 and finite", what, name, value);
    gguf_put_f32(m, key_of(m, map, key), (float)value);
    return STATUS_OK;
}

status gguf_map_words(const gguf *g, int64_t *words)
{
    const gguf_tensor *embed = gguf_find_tensor(g, "token_embd.weight");
    const gguf_value  *tokens = gguf_find(g, "tokenizer.ggml.tokens");
    const gguf_value  *types = gguf_find(g, "tokenizer.ggml.token_type");
    const char        *path = g->map.path;

    if (!embed || embed->t.s.n != 2)
        return fail(STATUS_FORMAT, "%s: token_embd.weight is %s, must be a matrix [words, width]", path,
                    embed ? shape_text(embed->t.s) : "missing");
    *words = embed->t.s.d[0];
    if (*words > INT32_MAX)
        return fail(STATUS_FORMAT, "%s: token_embd.weight has %lld rows, may have 2^31 - 1", path,
                    (long long)*words);
    if (!tokens)
        return STATUS_OK;
    if (tokens->kind != GGUF_ARRAY || tokens->of != GGUF_TEXT)
        return fail(STATUS_FORMAT, "%s: tokenizer.ggml.tokens must be an array of texts", path);
    if (tokens->n > (uint64_t)*words)
        return fail(STATUS_FORMAT, "%s: token_embd.weight has %lld rows, must have one for each of %llu tokens", path,
                    (long long)*words, (unsigned long long)tokens->n);
    if (types && (types->kind != GGUF_ARRAY || types->n != tokens->n))
        return fail(STATUS_FORMAT, "%s: tokenizer.ggml.token_type must be an array of %llu, one for each token", path,
                    (unsigned long long)tokens->n);
    return STATUS_OK;
}

status gguf_map_ends(const gguf *g, int64_t words, cJSON *config)
{
    static const char *const names[][2] = {{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                                           {"tokenizer.ggml.eos_token_id", "eos_token_id"}};

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        int64_t id = -1;
        TRY(gguf_int(g, names[i][0], false, 0, words - 1, &id));
        if (id >= 0)
            cJSON_AddNumberToObject(config, names[i][1], (double)id);
    }
    return STATUS_OK;
}

/* A number that was f32 in the file, in the fewest digits that give that f32. */
static void shorten(cJSON *o, const char *name)
{
    cJSON *item = cJSON_GetObjectItemCaseSensitive(o, name);
    char   text[40];

    for (int digits = 6; cJSON_IsNumber(item) && digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, item->valuedouble);
        if (strtof(text, NULL) != (float)item->valuedouble)
            continue;
        if (!strpbrk(text, ".e"))
            strcat(text, ".0");
        cJSON_ReplaceItemInObjectCaseSensitive(o, name, cJSON_CreateRaw(text));
        return;
    }
}

void gguf_map_tidy(cJSON *config)
{
    static const char *const reals[] = {"rms_norm_eps", "layer_norm_epsilon", "rope_theta", "rope_local_base_freq",
                                        "attn_logit_softcapping", "final_logit_softcapping"};

    for (size_t i = 0; i < COUNT_OF(reals); i++)
        shorten(config, reals[i]);
    shorten(cJSON_GetObjectItemCaseSensitive(config, "rope_scaling"), "factor");
}

const cJSON *gguf_map_rope(const cJSON *config)
{
    const cJSON *fresh = cJSON_GetObjectItemCaseSensitive(config, "rope_parameters");
    const cJSON *full = cJSON_GetObjectItemCaseSensitive(fresh, "full_attention");

    if (!cJSON_IsObject(fresh))
        fresh = cJSON_GetObjectItemCaseSensitive(config, "rope_scaling");
    return cJSON_IsObject(full) ? full : cJSON_IsObject(fresh) ? fresh : NULL;
}
