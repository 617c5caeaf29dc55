/* mixture: joining records, uniting their labels */
#include "data/mixture.h"

#include "core/text.h"

#include <string.h>

typedef enum record_kind { KIND_TEXT, KIND_WORDS, KIND_IMAGE, KIND_IDS } record_kind;

static record_kind kind_of(const records *r)
{
    const record *first = &r->v[0];

    return first->ids ? KIND_IDS : first->pixels ? KIND_IMAGE : first->n_words > 0 ? KIND_WORDS : KIND_TEXT;
}

status records_relabel(arena *a, records *r, int n, const char *const *names)
{
    int32_t *to;
    char     where[256];

    TRY_TAKE(to, a, r->n_labels);
    for (int i = 0; i < r->n_labels; i++)
        to[i] = text_index(r->labels[i], names, n);
    for (int64_t i = 0; i < r->n; i++) {
        record  *x = &r->v[i];
        int32_t *tags = NULL, bad = x->label >= 0 && to[x->label] < 0 ? x->label : -1;

        if (x->label >= 0)
            x->label = to[x->label];
        if (x->tags)
            TRY_TAKE(tags, a, x->n_words);
        for (int32_t k = 0; tags && k < x->n_words; k++) {
            tags[k] = to[x->tags[k]];
            bad = tags[k] < 0 ? x->tags[k] : bad;
        }
        if (bad >= 0)
            return fail(STATUS_FORMAT, "%s: \"%.60s\" must be one of the %d classes or tags", record_where(x, where),
                        r->labels[bad], n);
        x->tags = tags;
    }
    r->labels = names;
    r->n_labels = n;
    return STATUS_OK;
}

/* The names of all parts, in order of first appearance. */
static status unite(arena *a, const mixture_part *parts, int n, records *out)
{
    const char **names;
    int          room = 0;

    for (int i = 0; i < n; i++) {
        if ((parts[i].r.n_labels > 0) != (parts[0].r.n_labels > 0))
            return fail(STATUS_USAGE, "data: %s has classes or tags and %s has none, all must have them",
                        parts[parts[i].r.n_labels ? i : 0].r.v[0].origin,
                        parts[parts[i].r.n_labels ? 0 : i].r.v[0].origin);
        room += parts[i].r.n_labels;
    }
    TRY_TAKE(names, a, room);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < parts[i].r.n_labels; k++)
            if (text_index(parts[i].r.labels[k], names, out->n_labels) < 0)
                names[out->n_labels++] = parts[i].r.labels[k];
    out->labels = names;
    return STATUS_OK;
}

static status check_kinds(const mixture_part *parts, int n)
{
    for (int i = 0; i < n; i++) {
        if (parts[i].r.batched)
            return fail(STATUS_USAGE, "data: %s gives its micro-batches, so it cannot be a part of a mixture",
                        parts[i].r.v[0].origin);
        if (kind_of(&parts[i].r) != kind_of(&parts[0].r))
            return fail(STATUS_USAGE, "data: %s and %s hold samples of different kinds, a mixture holds one kind "
                                      "(texts, sentences by words, images or ids)",
                        parts[0].r.v[0].origin, parts[i].r.v[0].origin);
    }
    return STATUS_OK;
}

/* The parts' records, one after another. */
static status join(arena *a, mixture_part *parts, int n, records *out)
{
    records *views;
    int64_t  total = 0;

    TRY(unite(a, parts, n, out));
    for (int i = 0; i < n; i++) {
        if (parts[i].r.n_labels > 0)
            TRY(records_relabel(a, &parts[i].r, out->n_labels, out->labels));
        total += parts[i].r.n;
    }
    TRY_TAKE(out->v, a, total);
    TRY_TAKE(views, a, n);
    for (int i = 0; i < n; i++) {
        views[i] = parts[i].r;
        views[i].weight = parts[i].weight;
        views[i].v = out->v + out->n;
        memcpy(views[i].v, parts[i].r.v, (size_t)views[i].n * sizeof *views[i].v);
        out->n += views[i].n;
    }
    out->parts = views;
    out->n_parts = n;
    return STATUS_OK;
}

status mixture_join(arena *a, mixture_part *parts, int n, records *out)
{
    int kept = 0;

    *out = (records){0};
    for (int i = 0; i < n; i++) {
        for (int64_t k = 0; k < parts[i].r.n && parts[i].task >= 0; k++)
            parts[i].r.v[k].task = parts[i].task;
        if (parts[i].weight > 0 || n == 1)
            parts[kept++] = parts[i];
    }
    if (kept == 0)
        return fail(STATUS_USAGE, "data: the weights of all sources are 0");
    if (kept == 1) {
        *out = parts[0].r;
        return STATUS_OK;
    }
    TRY(check_kinds(parts, kept));
    return join(a, parts, kept, out);
}

/* Those of the records at v [n] that are kept come to `to`; their number. */
static int64_t keep_some(record *to, const record *v, int64_t n, bool (*keeps)(const void *context, const record *x),
                         const void *context)
{
    int64_t kept = 0;

    for (int64_t i = 0; i < n; i++)
        if (keeps(context, &v[i]))
            to[kept++] = v[i];
    return kept;
}

status records_keep(arena *a, records *r, bool (*keeps)(const void *context, const record *x), const void *context)
{
    records *parts;
    int64_t  kept = 0, from = 0;
    int      n = 0;

    TRY_TAKE(parts, a, r->n_parts + 1);
    for (int i = 0; i < r->n_parts; i++) {
        const int64_t some = keep_some(r->v + kept, r->v + from, r->parts[i].n, keeps, context);
        from += r->parts[i].n;
        if (some == 0)
            continue;
        parts[n] = r->parts[i];
        parts[n].v = r->v + kept;
        parts[n++].n = some;
        kept += some;
    }
    r->n = r->n_parts > 0 ? kept : keep_some(r->v, r->v, r->n, keeps, context);
    r->parts = r->n_parts > 0 ? parts : NULL;
    r->n_parts = n;
    return r->n > 0 ? STATUS_OK : fail(STATUS_USAGE, "there is no such sample");
}
