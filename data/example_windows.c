/* example_windows: a pair of texts whose second is too long, as samples that overlap */
#include "data/example_maker.h"

#include <string.h>

/* Two texts as tokens: what stands before the second's tokens, these, and what stands behind them. */
typedef struct pair_tokens {
    token_list list;
    int64_t    before, n;
} pair_tokens;

/* The first text's tokens are as many as it has by itself. */
static status encode_pair(sample_maker *m, const record *r, pair_tokens *p)
{
    const field *first = record_field(r, m->w->first), *second = record_field(r, m->w->second);
    int64_t      left;
    int32_t     *ids;
    char         where[256];

    if (!first || !second)
        return fail(STATUS_FORMAT, "%s: has no field %s", record_where(r, where), first ? m->w->second : m->w->first);
    const whole_text x = {first->text, second->text, first->length, second->length};
    TRY(m->encoder->encode(m->encoder->context, m->work, first->text, first->length, &ids, &left));
    TRY(m->encoder->whole(m->encoder->context, m->work, &x, INT64_MAX, &p->list));
    p->before = p->list.n;
    p->n = 0;
    for (int64_t i = 0; i < p->list.n; i++) {
        if (p->list.special[i] || left-- > 0)
            continue;
        p->before = p->n++ ? p->before : i;
    }
    return STATUS_OK;
}

static status keep_window(sample_maker *m, const record *r, const pair_tokens *p, int64_t from, int64_t n)
{
    const int64_t   behind = p->list.n - p->before - p->n;
    const struct {
        int64_t from, n;
    } parts[] = {{0, p->before}, {p->before + from, n}, {p->before + p->n, behind}};
    example         e = {.n = (int32_t)(p->before + n + behind), .task = r->task, .label = -1, .batch = r->batch};
    example_window *w;
    int32_t        *ids;
    uint32_t       *places;
    int64_t         at = 0;

    TRY_TAKE(w, m->a, 1);
    TRY_TAKE(ids, m->a, 2 * e.n);
    TRY_TAKE(places, m->a, 2 * n);
    for (size_t k = 0; k < COUNT_OF(parts); k++)
        for (int64_t i = parts[k].from; i < parts[k].from + parts[k].n; i++, at++) {
            ids[at] = p->list.ids[i];
            ids[e.n + at] = p->list.types[i];
        }
    for (int64_t i = 0; i < n; i++) {
        places[i] = p->list.begin[p->before + from + i];
        places[n + i] = p->list.end[p->before + from + i];
    }
    *w = (example_window){.r = r, .number = m->out->n_windowed, .first = (int32_t)p->before, .n = (int32_t)n,
                          .begin = places, .end = places + n};
    e.ids = ids;
    e.types = ids + e.n;
    e.window = w;
    return sample_keep(m, r, &e);
}

status sample_windows(sample_maker *m, const record *r)
{
    const int64_t length = m->o->length, stride = m->w->stride;
    bool          dropped = false;
    pair_tokens   p;
    char          where[256];

    TRY(encode_pair(m, r, &p));
    const int64_t rest = p.list.n - p.n, room = length - rest;
    if (p.list.n == 0)
        return fail(STATUS_FORMAT, "%s: gives no tokens", record_where(r, where));
    if (p.n > room && strcmp(m->o->overlong, "cut") != 0)
        TRY(sample_too_long(m, r, p.list.n, length, &dropped));
    if (dropped)
        return STATUS_OK;
    if (p.n > room && room <= stride)
        return fail(STATUS_USAGE, "%s: length is %lld, of which all but %s takes %lld: stride is %lld, must be less "
                    "than what is left", record_where(r, where), (long long)length, m->w->second, (long long)rest,
                    (long long)stride);
    for (int64_t from = 0;; from += room - stride) {
        const int64_t n = p.n - from < room ? p.n - from : room;
        TRY(keep_window(m, r, &p, from, n));
        if (from + n == p.n)
            break;
    }
    m->out->n_windowed++;
    return STATUS_OK;
}
