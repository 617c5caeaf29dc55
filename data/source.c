/* source: the table of sources, and what records have in common */
#include "data/source.h"

#include "core/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCE(name) extern const data_source source_##name;
#include "data/sources.def"
#undef SOURCE

static const data_source *const sources[] = {
#define SOURCE(name) &source_##name,
#include "data/sources.def"
#undef SOURCE
};

const data_source *source_at(int i)
{
    return i >= 0 && i < (int)COUNT_OF(sources) ? sources[i] : NULL;
}

const data_source *source_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(sources); i++)
        if (strcmp(sources[i]->name, name) == 0)
            return sources[i];
    return NULL;
}

status source_load(arena *a, const char *name, const void *options, records *out)
{
    const data_source *source = source_find(name);

    *out = (records){0};
    if (!source)
        return fail(STATUS_USAGE, "data: there is no source \"%s\"", name);
    TRY(source->load(a, options, out));
    if (out->n == 0)
        return fail(STATUS_FORMAT, "%s: no records, at least one is needed", name);
    return STATUS_OK;
}

const field *record_field(const record *r, const char *name)
{
    for (int i = 0; i < r->n_fields; i++)
        if (strcmp(r->fields[i].name, name) == 0)
            return &r->fields[i];
    return NULL;
}

const char *record_where(const record *r, char out[256])
{
    const char *origin = r->origin ? r->origin : "record";

    if (r->line > 0)
        snprintf(out, 256, "%.220s:%lld", origin, (long long)r->line);
    else
        snprintf(out, 256, "%.250s", origin);
    return out;
}

/* The distinct texts of the field, sorted. */
static status distinct(arena *a, records *r, const char *name)
{
    const char **all;
    char         where[256];

    TRY_TAKE(all, a, r->n);
    for (int64_t i = 0; i < r->n; i++) {
        const field *f = record_field(&r->v[i], name);
        if (!f)
            return fail(STATUS_FORMAT, "%s: has no field %s, which names the class",
                        record_where(&r->v[i], where), name);
        all[i] = f->text;
    }
    r->labels = all;
    r->n_labels = (int)text_sort(all, r->n);
    return STATUS_OK;
}

status records_classes(arena *a, records *r, const char *name, int n, const char *const *names)
{
    char where[256];

    if (n == 0) {
        TRY(distinct(a, r, name));
    } else {
        r->labels = names;
        r->n_labels = n;
    }
    for (int64_t i = 0; i < r->n; i++) {
        const field *f = record_field(&r->v[i], name);

        r->v[i].label = f ? text_index(f->text, r->labels, r->n_labels) : -1;
        if (r->v[i].label < 0)
            return fail(STATUS_FORMAT, "%s: %s is \"%.60s\", must be one of the %d classes",
                        record_where(&r->v[i], where), name, f ? f->text : "(absent)", r->n_labels);
    }
    return STATUS_OK;
}
