/* span_f1: precision, recall and F1 of spans, as seqeval computes them. A span is right when a true one has
 * the same words and the same type.
 *
 * row = (hits, predicted, true)[types] */
#include "recipes/metrics/form.h"
#include "recipes/metrics/spans.h"

static status open_spans(metric_tally *t)
{
    span_tags *tags;

    if (t->o.n_tags < 1)
        return fail(STATUS_USAGE, "%s needs the names of the tags", t->m->name);
    TRY_TAKE(tags, t->a, 1);
    TRY_IN(span_tags_read(t->a, t->o.tags, t->o.n_tags, t->o.scheme, tags), "in %s", t->m->name);
    t->prepared = tags;
    t->width = COUNT_PARTS * (int64_t)tags->n_types;
    return STATUS_OK;
}

static bool equal(const span *x, const span *y)
{
    return x->begin == y->begin && x->end == y->end && x->type == y->type;
}

static status measure(const metric_tally *t, const metric_sample *s, double *row)
{
    const int64_t n = s->tags.n;
    span         *x, *y;

    TRY_TAKE(x, t->a, n);
    TRY_TAKE(y, t->a, n);
    const int64_t predicted = spans_find(t->prepared, s->tags.predicted, n, x);
    const int64_t truth = spans_find(t->prepared, s->tags.truth, n, y);
    for (int64_t i = 0; i < predicted; i++)
        row[COUNT_PARTS * x[i].type + COUNT_PREDICTED]++;
    for (int64_t i = 0; i < truth; i++)
        row[COUNT_PARTS * y[i].type + COUNT_TRUE]++;
    for (int64_t i = 0, k = 0; i < predicted; i++) { /* both in the order of their begins */
        while (k < truth && y[k].begin < x[i].begin)
            k++;
        if (k < truth && equal(&x[i], &y[k]))
            row[COUNT_PARTS * x[i].type + COUNT_HITS]++;
    }
    return STATUS_OK;
}

static double finish(const metric_tally *t, const double *state, int64_t n)
{
    const span_tags *tags = t->prepared;

    (void)n;
    return counts_average(state, tags->n_types, t->m->part, true);
}

const metric_form metric_form_spans = {.open = open_spans, .measure = measure, .finish = finish};
