/* label_sets: see the header */
#include "recipes/objectives/label_sets.h"

#include "core/text.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBERS_MAX = 1000000 };

static status add(arena *a, const char *text, size_t n, label_set *out)
{
    for (; n > 0 && *text == ' '; n--)
        text++;
    while (n > 0 && text[n - 1] == ' ')
        n--;
    if (n == 0)
        return STATUS_OK;
    out->v[out->n] = arena_string(a, text, n);
    return out->v[out->n++] ? STATUS_OK : STATUS_MEMORY;
}

static status add_item(arena *a, const cJSON *x, label_set *out)
{
    char number[32];

    if (cJSON_IsString(x))
        return add(a, x->valuestring, strlen(x->valuestring), out);
    if (!cJSON_IsNumber(x))
        return STATUS_FORMAT;
    snprintf(number, sizeof number, "%.0f", x->valuedouble);
    return add(a, number, strlen(number), out);
}

static status read_json(arena *a, const char *text, label_set *out)
{
    cJSON *list = cJSON_Parse(text);
    status s = cJSON_IsArray(list) ? STATUS_OK : STATUS_FORMAT;

    for (const cJSON *x = s == STATUS_OK ? list->child : NULL; x && s == STATUS_OK; x = x->next)
        s = add_item(a, x, out);
    cJSON_Delete(list);
    return s;
}

static int64_t count_commas(const field *f)
{
    int64_t n = 0;

    for (size_t i = 0; i < f->length; i++)
        n += f->text[i] == ',';
    return n;
}

status label_set_read(arena *a, const record *r, const char *name, label_set *out)
{
    const field *f = record_field(r, name);
    char         where[256];

    *out = (label_set){0};
    if (!f)
        return fail(STATUS_FORMAT, "%s: has no field %s, which names the classes", record_where(r, where), name);
    TRY_TAKE(out->v, a, count_commas(f) + 1);
    if (f->text[0] == '[') {
        const status s = read_json(a, f->text, out);
        return s == STATUS_FORMAT ? fail(s, "%s: %s is \"%.60s\", must be a list of names or numbers",
                                         record_where(r, where), name, f->text)
                                  : s;
    }
    for (size_t at = 0; at < f->length;) {
        const size_t n = strcspn(f->text + at, ",");
        TRY(add(a, f->text + at, n, out));
        at += n + 1;
    }
    return STATUS_OK;
}

static int64_t whole_number(const char *text)
{
    char      *end;
    const long v = strtol(text, &end, 10);

    return *text && !*end && v >= 0 && v < NUMBERS_MAX ? v : -1;
}

/* Every number up to the largest, if all names are numbers. */
static status fill_numbers(arena *a, label_set *out)
{
    int64_t most = -1;

    for (int i = 0; i < out->n; i++) {
        const int64_t v = whole_number(out->v[i]);
        if (v < 0)
            return STATUS_OK;
        most = v > most ? v : most;
    }
    TRY_TAKE(out->v, a, most + 1);
    for (int64_t i = 0; i <= most; i++)
        if (!(out->v[i] = arena_printf(a, "%lld", (long long)i)))
            return STATUS_MEMORY;
    out->n = (int)(most + 1);
    return STATUS_OK;
}

/* Gathers the names of all records; out NULL: only counts the room that they may need. */
static status gather(arena *a, const records *r, const char *name, int64_t *room, label_set *out)
{
    for (int64_t i = 0; r && i < r->n; i++) {
        const field *f = record_field(&r->v[i], name);
        label_set    here;
        *room += f ? count_commas(f) + 1 : 0;
        if (!out)
            continue;
        TRY(label_set_read(a, &r->v[i], name, &here));
        for (int k = 0; k < here.n; k++)
            out->v[out->n++] = here.v[k];
    }
    return STATUS_OK;
}

status label_sets_names(arena *a, const records *train, const records *test, const char *name, label_set *out)
{
    int64_t room = 0;

    *out = (label_set){0};
    TRY(gather(a, train, name, &room, NULL));
    TRY(gather(a, test, name, &room, NULL));
    TRY_TAKE(out->v, a, room + 1);
    TRY_IN(gather(a, train, name, &room, out), "in data.train");
    TRY_IN(gather(a, test, name, &room, out), "in data.test");
    out->n = (int)text_sort(out->v, out->n);
    return fill_numbers(a, out);
}
