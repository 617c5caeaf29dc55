/* patterns: values that differ from site to site */
#include "peft/patterns.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdio.h>
#include <string.h>

/* PEFT's rule: the key, as a regular expression, must match the name's end, from its start or a dot. */
static status pattern_matches(const char *key_text, const char *name, bool *match)
{
    char        expression[1024];
    int         code;
    size_t      at;
    pcre2_code *re;

    if ((size_t)snprintf(expression, sizeof expression, "^(?:.*\\.)?(?:%s)$", key_text) >=
        sizeof expression)
        return fail(STATUS_USAGE, "pattern '%.40s...' is longer than 1000 characters", key_text);
    re = pcre2_compile((PCRE2_SPTR)expression, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &at, NULL);
    if (!re)
        return fail(STATUS_USAGE, "pattern '%s' is not a regular expression", key_text);
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(re, NULL);
    *match = pcre2_match(re, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, data, NULL) >= 0;
    pcre2_match_data_free(data);
    pcre2_code_free(re);
    return STATUS_OK;
}

status pattern_value(const key_map *map, const char *name, double *value)
{
    for (int i = 0; i < map->n; i++) {
        bool match;
        TRY(pattern_matches(map->v[i].name, name, &match));
        if (match) {
            *value = map->v[i].value;
            break;
        }
    }
    return STATUS_OK;
}

void pattern_write(cJSON *config, const char *name, const key_map *map)
{
    cJSON *o = cJSON_AddObjectToObject(config, name);

    for (int i = 0; i < map->n; i++)
        cJSON_AddNumberToObject(o, map->v[i].name, map->v[i].value);
}

status pattern_read(const cJSON *config, const char *name, arena *a, key_map *map,
                       const char *what)
{
    const cJSON *o = cJSON_GetObjectItemCaseSensitive(config, name), *item;

    *map = (key_map){0};
    if (!o || cJSON_IsNull(o))
        return STATUS_OK;
    if (!cJSON_IsObject(o))
        return fail(STATUS_FORMAT, "%s: %s must be an object of numbers", what, name);

    struct key_pair *v;
    TRY_TAKE(v, a, cJSON_GetArraySize(o));
    cJSON_ArrayForEach(item, o)
    {
        if (!cJSON_IsNumber(item) || !(item->valuedouble > 0))
            return fail(STATUS_FORMAT, "%s: %s.%s must be a number above 0", what, name, item->string);
        v[map->n].name = arena_string(a, item->string, strlen(item->string));
        v[map->n].value = item->valuedouble;
        if (!v[map->n++].name)
            return STATUS_MEMORY;
    }
    map->v = v;
    return STATUS_OK;
}
