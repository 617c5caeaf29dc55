/* with_options: rows of a key table from JSON */
#include "tests/with_options.h"

#include <stdlib.h>
#include <string.h>

static status set_list(arena *a, const char **texts, int n, void *at)
{
    const char **v = arena_copy(a, texts, (size_t)n * sizeof *v);

    *(key_texts *)at = (key_texts){n, v};
    return v ? STATUS_OK : STATUS_MEMORY;
}

/* "[0.9, 0.999]" */
static status preset_list(arena *a, const char *preset, void *at)
{
    const char *v[8];
    char *text = arena_string(a, preset + 1, strlen(preset) - 2), *save = NULL;
    int n = 0;

    for (char *p = text ? strtok_r(text, ", ", &save) : NULL; p && n < 8;
         p = strtok_r(NULL, ", ", &save))
        v[n++] = p;
    return text ? set_list(a, v, n, at) : STATUS_MEMORY;
}

static status set_preset(arena *a, const key *k, void *at)
{
    if (k->kind == KEY_REAL)
        *(double *)at = k->preset ? strtod(k->preset, NULL) : 0;
    else if (k->kind == KEY_INT)
        *(int64_t *)at = k->preset ? strtoll(k->preset, NULL, 10) : 0;
    else if (k->kind == KEY_BOOL)
        *(bool *)at = k->preset && strcmp(k->preset, "yes") == 0;
    else if (k->kind == KEY_TEXTS)
        return k->preset ? preset_list(a, k->preset, at) : STATUS_OK;
    else
        *(const char **)at = k->preset;
    return STATUS_OK;
}

static status copy_text(arena *a, const char *text, void *at)
{
    *(const char **)at = arena_string(a, text, strlen(text));
    return *(const char **)at ? STATUS_OK : STATUS_MEMORY;
}

static status set_json(arena *a, const key *k, void *at, const cJSON *item)
{
    const char *v[8];
    const cJSON *number;
    int n = 0;

    if (k->kind == KEY_REAL && cJSON_IsNumber(item))
        *(double *)at = item->valuedouble;
    else if (k->kind == KEY_INT && cJSON_IsNumber(item))
        *(int64_t *)at = (int64_t)item->valuedouble;
    else if (k->kind == KEY_BOOL && cJSON_IsBool(item))
        *(bool *)at = cJSON_IsTrue(item);
    else if (k->kind == KEY_CHOICE && cJSON_IsString(item))
        TRY(copy_text(a, item->valuestring, at));
    else if (k->kind == KEY_TEXTS && cJSON_IsArray(item)) {
        cJSON_ArrayForEach(
            number, item) if (n < 8 && (v[n++] = arena_printf(a, "%.17g", number->valuedouble)) ==
                                           NULL) return STATUS_MEMORY;
        return set_list(a, v, n, at);
    } else
        return fail(STATUS_FORMAT, "option %s is of another kind than the table's", k->name);
    return STATUS_OK;
}

static bool has_key(const key_table *t, const char *name)
{
    for (int i = 0; i < t->n; i++)
        if (strcmp(t->keys[i].name, name) == 0)
            return true;
    return false;
}

status options_from_json(arena *a, const key_table *t, const cJSON *json, const char *other,
                         void **out)
{
    char *options;
    const cJSON *item;

    TRY_TAKE(options, a, t->size);
    memset(options, 0, t->size);
    for (int i = 0; i < t->n; i++) {
        const key *k = &t->keys[i];
        item = cJSON_GetObjectItemCaseSensitive(json, k->name);
        TRY(set_preset(a, k, options + k->offset));
        if (item && !cJSON_IsNull(item))
            TRY(set_json(a, k, options + k->offset, item));
    }
    cJSON_ArrayForEach(item, json) if (!has_key(t, item->string) &&
                                       (!other || strcmp(item->string, other) !=
                                                      0)) return fail(STATUS_UNSUPPORTED,
                                                                      "%s: has no option %s",
                                                                      t->what, item->string);
    *out = options;
    return STATUS_OK;
}
