/* grams: numbering and counting */
#include "recipes/metrics/grams.h"

#include <stdlib.h>
#include <string.h>

status grams_of_words(arena *a, const word_list *lists, int n, grams *out)
{
    *out = (grams){.n_texts = n};
    TRY_TAKE(out->v, a, n);
    for (int k = 0; k < n; k++) {
        uint32_t *unit;
        TRY_TAKE(unit, a, lists[k].n);
        for (int64_t i = 0; i < lists[k].n; i++)
            unit[i] = lists[k].v[i].id;
        out->v[k] = (gram_text){.unit = unit, .n_units = lists[k].n};
        TRY_TAKE(out->v[k].gram, a, lists[k].n);
    }
    return STATUS_OK;
}

status grams_of_characters(arena *a, const metric_text *texts, int n, grams *out)
{
    *out = (grams){.n_texts = n};
    TRY_TAKE(out->v, a, n);
    for (int k = 0; k < n; k++) {
        uint32_t *unit;
        int64_t   used = 0;
        TRY_TAKE(unit, a, texts[k].length);
        for (size_t at = 0; at < texts[k].length;) {
            uint32_t c;
            at += (size_t)words_next(texts[k], at, &c);
            if (!words_is_space(c))
                unit[used++] = c;
        }
        out->v[k] = (gram_text){.unit = unit, .n_units = used};
        TRY_TAKE(out->v[k].gram, a, used);
    }
    return STATUS_OK;
}

typedef struct place {
    uint64_t  key; /* number of the shorter gram, last unit */
    uint32_t *gram;
} place;

static int by_key(const void *a, const void *b)
{
    const uint64_t x = ((const place *)a)->key, y = ((const place *)b)->key;

    return (x > y) - (x < y);
}

status grams_longer(arena *a, grams *g)
{
    const size_t mark = arena_mark(a);
    const int    order = g->order + 1;
    place       *p;
    int64_t      n = 0;

    for (int k = 0; k < g->n_texts; k++)
        n += g->v[k].n_units;
    TRY_TAKE(p, a, n);
    n = 0;
    for (int k = 0; k < g->n_texts; k++) {
        gram_text *x = &g->v[k];
        x->n = x->n_units >= order ? x->n_units - order + 1 : 0;
        for (int64_t i = 0; i < x->n; i++) {
            const uint64_t begin = order > 1 ? x->gram[i] : 0;
            p[n++] = (place){begin << 32 | x->unit[i + order - 1], &x->gram[i]};
        }
    }
    qsort(p, (size_t)n, sizeof *p, by_key);
    g->distinct = 0;
    for (int64_t i = 0; i < n; i++) {
        g->distinct += i > 0 && p[i].key != p[i - 1].key;
        *p[i].gram = g->distinct;
    }
    g->distinct += n > 0;
    g->order = order;
    arena_rewind(a, mark);
    return STATUS_OK;
}

status grams_hits(arena *a, const grams *g, int from, int first, int last, int64_t *hits)
{
    const size_t mark = arena_mark(a);
    uint32_t    *most, *count;

    TRY_TAKE(most, a, g->distinct);
    TRY_TAKE(count, a, g->distinct);
    memset(most, 0, g->distinct * sizeof *most);
    for (int k = first; k <= last; k++) {
        memset(count, 0, g->distinct * sizeof *count);
        for (int64_t i = 0; i < g->v[k].n; i++) {
            const uint32_t id = g->v[k].gram[i];
            if (++count[id] > most[id])
                most[id] = count[id];
        }
    }
    *hits = 0;
    for (int64_t i = 0; i < g->v[from].n; i++)
        if (most[g->v[from].gram[i]] > 0) {
            most[g->v[from].gram[i]]--;
            ++*hits;
        }
    arena_rewind(a, mark);
    return STATUS_OK;
}
