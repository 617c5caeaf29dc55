/* config_file: printing a config as its source has it */
#include "recipes/config_file.h"

#include "core/file.h"
#include "layers/gguf_map.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Members of that name that are whole numbers get a point. */
static void add_points(cJSON *o, const char *name, size_t n)
{
    for (cJSON *item = o->child, *next; item; item = next) {
        char text[40];

        next = item->next;
        if (cJSON_IsObject(item) || cJSON_IsArray(item))
            add_points(item, name, n);
        if (!cJSON_IsNumber(item) || !item->string || strlen(item->string) != n || memcmp(item->string, name,
            n) != 0 ||
            item->valuedouble != nearbyint(item->valuedouble) || fabs(item->valuedouble) > 1e15)
            continue;
        snprintf(text, sizeof text, "%.1f", item->valuedouble);
        cJSON_ReplaceItemInObjectCaseSensitive(o, item->string, cJSON_CreateRaw(text));
    }
}

/* The end of the string that begins at its quote. */
static size_t string_end(const char *text, size_t at, size_t n)
{
    for (at++; at < n && text[at] != '"'; at++)
        at += text[at] == '\\';
    return at < n ? at : n;
}

/* The text is JSON that was parsed before: whatever it writes with a point has one. */
static void keep_points(cJSON *config, const char *text, size_t n)
{
    static const char blanks[] = " \t\r\n";

    for (size_t at = 0; at < n; at++) {
        if (text[at] != '"')
            continue;
        const size_t begin = at + 1, end = at = string_end(text, at, n);
        size_t       value = end + 1;
        while (value < n && memchr(blanks, text[value], sizeof blanks - 1))
            value++;
        if (value >= n || text[value] != ':')
            continue;
        for (value++; value < n && memchr(blanks, text[value], sizeof blanks - 1);)
            value++;
        const size_t length = strspn(text + value, "-+0123456789.eE");
        if (length > 0 && strcspn(text + value, ".eE") < length)
            add_points(config, text + begin, end - begin);
    }
}

static status read_source(arena *a, const weights *w, char **text, size_t *n)
{
    const char *path = w->random ? w->path : path_join(a, w->path, "config.json");

    return path ? file_read(a, path, (size_t)1 << 28, text, n) : STATUS_MEMORY;
}

status config_write(arena *a, const weights *w, const char *folder)
{
    const char *path = path_join(a, folder, "config.json");
    char       *source;
    size_t      n;

    if (w->is_gguf)
        gguf_map_tidy(w->config);
    else {
        TRY(read_source(a, w, &source, &n));
        keep_points(w->config, source, n);
    }
    char        *text = cJSON_Print(w->config);
    const status s = text && path ? file_replace(path, text, strlen(text))
                                  : fail(STATUS_MEMORY, "%s: no memory for config.json", folder);
    free(text);
    return s;
}
