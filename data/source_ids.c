/* source ids: token ids that are ready, for exact parity runs */
#include "data/lines.h"
#include "data/source.h"

#include "core/json.h"

/* A list of whole numbers within lo .. INT32_MAX, or -100 where `target` says so. */
static status read_list(arena *a, const cJSON *list, const char *name, bool target, const char *what,
                        const int32_t **out, int32_t *n)
{
    int32_t *v;
    int      at = 0;

    if (!cJSON_IsArray(list) || !list->child)
        return fail(STATUS_FORMAT, "%s: %s must be a list of whole numbers, not empty", what, name);
    TRY_TAKE(v, a, cJSON_GetArraySize(list));
    for (const cJSON *item = list->child; item; item = item->next, at++) {
        const double d = item->valuedouble;

        if (!cJSON_IsNumber(item) || !(d <= INT32_MAX) || !(d >= 0 || (target && d == -100)) ||
            d != (double)(int32_t)d)
            return fail(STATUS_FORMAT, "%s: value %d of %s must be a whole number 0..%d%s", what, at + 1,
                        name, INT32_MAX, target ? ", or -100" : "");
        v[at] = (int32_t)d;
    }
    *out = v;
    *n = at;
    return STATUS_OK;
}

static status read_object(arena *a, const cJSON *object, const char *what, record *r)
{
    const cJSON *labels = cJSON_GetObjectItemCaseSensitive(object, "labels");
    const cJSON *source = cJSON_GetObjectItemCaseSensitive(object, "source");
    int64_t      task = 0, label = -1;
    int32_t      n = 0;

    TRY(read_list(a, cJSON_GetObjectItemCaseSensitive(object, "ids"), "ids", false, what, &r->ids,
                  &r->n_ids));
    TRY(json_int(object, "batch", false, 0, INT32_MAX, &r->batch, what));
    TRY(json_int(object, "task", false, 0, INT32_MAX, &task, what));
    TRY(json_int(object, "label", false, 0, INT32_MAX, &label, what));
    if (source)
        TRY(read_list(a, source, "source", false, what, &r->source, &r->n_source));
    r->task = (int32_t)task;
    r->label = (int32_t)label;
    if (labels) {
        TRY(read_list(a, labels, "labels", true, what, &r->labels, &n));
    } else {
        if (label < 0)
            return fail(STATUS_FORMAT, "%s: has neither labels nor label, must have one of them", what);
        int32_t *none;
        TRY_TAKE(none, a, r->n_ids);
        for (n = 0; n < r->n_ids; n++)
            none[n] = -100;
        r->labels = none;
    }
    if (n != r->n_ids)
        return fail(STATUS_FORMAT, "%s: has %d ids and %d labels, must be as many", what, r->n_ids, n);
    return STATUS_OK;
}

static status read_line(arena *a, const char *path, const lines *l, record *r)
{
    char   what[512];
    cJSON *object;

    *r = (record){.origin = path, .line = l->number, .batch = -1, .label = -1};
    snprintf(what, sizeof what, "%.480s:%lld", path, (long long)l->number);
    TRY(json_parse(l->text, l->length, what, &object));
    const status s = cJSON_IsObject(object)
                         ? read_object(a, object, what, r)
                         : fail(STATUS_FORMAT, "%s: must be one JSON object a line", what);
    cJSON_Delete(object);
    return s;
}

static status ids_load(arena *a, const void *options, records *out)
{
    const ids_options *o = options;
    lines              l;
    status             s = STATUS_OK;
    int64_t            count, last = 0;

    TRY(lines_open(&l, o->path, &count));
    out->v = arena_take(a, (size_t)count, sizeof *out->v);
    if (!out->v)
        s = STATUS_MEMORY;
    while (s == STATUS_OK && lines_next(&l)) {
        record *r = &out->v[out->n++];

        s = read_line(a, o->path, &l, r);
        if (s == STATUS_OK && out->n > 1 && (r->batch < 0) != (last < 0))
            s = fail(STATUS_FORMAT, "%s:%lld: either all lines have a batch or none has", o->path,
                     (long long)r->line);
        else if (s == STATUS_OK && out->n > 1 && r->batch < last)
            s = fail(STATUS_FORMAT, "%s:%lld: batch is %lld after %lld, batches must ascend", o->path,
                     (long long)r->line, (long long)r->batch, (long long)last);
        last = r->batch;
    }
    out->batched = s == STATUS_OK && out->n > 0 && last >= 0;
    lines_close(&l);
    return s;
}

static const key ids_keys[] = {
    {"path", KEY_TEXT, offsetof(ids_options, path), "!", 0, 0, false, NULL, "",
     "File with lines {\"batch\": 0, \"ids\": [..], \"labels\": [..], \"task\": 0}; \"source\": [..] is what an "
     "encoder reads."},
};

const data_source source_ids = {
    .name = "ids",
    .help = "token ids and labels, in given micro-batches",
    .keys = KEY_TABLE("ids", ids_keys, ids_options),
    .load = ids_load,
};
