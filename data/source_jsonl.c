/* source jsonl: one JSON object a line becomes one record */
#include "data/lines.h"
#include "data/source.h"

#include "core/json.h"

#include <stdlib.h>
#include <string.h>

enum { FIELDS_MAX = 1024 };

/* The text of a value: strings as they are, everything else as JSON. NULL after fail. */
static status value_text(arena *a, const cJSON *item, field *out)
{
    const char *text;
    size_t      n;

    if (cJSON_IsString(item)) {
        TRY(json_text(a, item, &text, &n));
        out->text = arena_string(a, text, n);
        out->length = n;
    } else {
        char *printed = cJSON_PrintUnformatted(item);
        if (!printed)
            return fail(STATUS_MEMORY, "jsonl: no memory for a field");
        n = strlen(printed);
        out->text = arena_string(a, printed, n);
        out->length = n;
        free(printed);
    }
    return out->text ? STATUS_OK : STATUS_MEMORY;
}

static status check_messages(const cJSON *list, const char *what)
{
    const cJSON *item;
    const char  *text;
    int          n = 0;

    if (!cJSON_IsArray(list) || !list->child)
        return fail(STATUS_FORMAT, "%s: messages must be a list of {role, content}, not empty", what);
    cJSON_ArrayForEach(item, list)
    {
        n++;
        if (!cJSON_IsObject(item))
            return fail(STATUS_FORMAT, "%s: message %d must be an object with role and content", what, n);
        TRY_IN(json_string(item, "role", true, &text, what), "in message %d", n);
        TRY_IN(json_string(item, "content", true, &text, what), "in message %d", n);
    }
    return STATUS_OK;
}

static bool wanted(const jsonl_options *o, const char *name)
{
    for (int i = 0; i < o->fields.n; i++)
        if (strcmp(o->fields.v[i], name) == 0)
            return true;
    return o->fields.n == 0;
}

static status take_number(const cJSON *item, const char *name, int32_t *out, const cJSON *object,
                          const char *what)
{
    int64_t value = 0;

    if (!cJSON_IsNumber(item))
        return STATUS_OK;
    TRY(json_int(object, name, true, 0, INT32_MAX, &value, what));
    *out = (int32_t)value;
    return STATUS_OK;
}

static status read_fields(arena *a, const jsonl_options *o, const cJSON *object, const char *what,
                          record *r)
{
    field *fields;
    int    n = cJSON_GetArraySize(object);

    if (n > FIELDS_MAX)
        return fail(STATUS_FORMAT, "%s: has %d fields, may have %d", what, n, FIELDS_MAX);
    for (int i = 0; i < o->fields.n; i++)
        if (!cJSON_GetObjectItemCaseSensitive(object, o->fields.v[i]))
            return fail(STATUS_FORMAT, "%s: has no field %s", what, o->fields.v[i]);
    TRY_TAKE(fields, a, n);
    n = 0;
    for (const cJSON *item = object->child; item; item = item->next) {
        if (cJSON_IsNull(item) || !wanted(o, item->string))
            continue;
        if (strcmp(item->string, "messages") == 0)
            TRY(check_messages(item, what));
        if (strcmp(item->string, "label") == 0)
            TRY(take_number(item, "label", &r->label, object, what));
        if (strcmp(item->string, "task") == 0)
            TRY(take_number(item, "task", &r->task, object, what));
        fields[n].name = arena_string(a, item->string, strlen(item->string));
        if (!fields[n].name)
            return STATUS_MEMORY;
        TRY(value_text(a, item, &fields[n]));
        if (strcmp(item->string, "messages") == 0)
            r->messages = fields[n].text;
        n++;
    }
    r->fields = fields;
    r->n_fields = n;
    return STATUS_OK;
}

static status read_line(arena *a, const jsonl_options *o, const lines *l, record *r)
{
    char   what[512];
    cJSON *object;

    *r = (record){.origin = o->path, .line = l->number, .batch = -1, .label = -1};
    snprintf(what, sizeof what, "%.480s:%lld", o->path, (long long)l->number);
    TRY(json_parse(l->text, l->length, what, &object));
    const status s = cJSON_IsObject(object)
                         ? read_fields(a, o, object, what, r)
                         : fail(STATUS_FORMAT, "%s: must be one JSON object a line", what);
    cJSON_Delete(object);
    return s;
}

static status jsonl_load(arena *a, const void *options, records *out)
{
    const jsonl_options *o = options;
    lines                l;
    status               s = STATUS_OK;
    int64_t              count;

    TRY(lines_open(&l, o->path, &count));
    out->v = arena_take(a, (size_t)count, sizeof *out->v);
    if (!out->v)
        s = STATUS_MEMORY;
    while (s == STATUS_OK && lines_next(&l))
        s = read_line(a, o, &l, &out->v[out->n++]);
    lines_close(&l);
    TRY(s);

    const record *first = &out->v[0];
    if (record_field(first, "prompt") && record_field(first, "target"))
        out->plain = out->chat = (wording){.prompt = "{prompt}", .target = "{target}"};
    else if (record_field(first, "text"))
        out->plain = out->chat = (wording){.prompt = "{text}"};
    return STATUS_OK;
}

static const key jsonl_keys[] = {
    {"path", KEY_TEXT, offsetof(jsonl_options, path), "!", 0, 0, false, NULL, "",
     "File with one JSON object a line."},
    {"fields", KEY_TEXTS, offsetof(jsonl_options, fields), NULL, 0, 0, false, NULL, "",
     "Fields to take, each needed in every line; all fields when none is named."},
};

const data_source source_jsonl = {
    .name = "jsonl",
    .help = "JSON lines; templates name the fields",
    .keys = KEY_TABLE("jsonl", jsonl_keys, jsonl_options),
    .load = jsonl_load,
};
