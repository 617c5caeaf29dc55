/* objective_classes: numbers and names of classes, for objectives that have them */
#include "core/text.h"
#include "data/mixture.h"
#include "recipes/objective.h"

#include <stdlib.h>
#include <string.h>

/* The first record has a class, or tags, by itself. */
static bool has_own(const records *r)
{
    return r->v[0].label >= 0 || r->v[0].tags;
}

/* Largest number of a class, tag or target; -1: there is none. */
static int32_t largest(const records *r)
{
    int32_t most = -1;

    for (int64_t i = 0; r && i < r->n; i++) {
        const record *x = &r->v[i];
        most = x->label > most ? x->label : most;
        for (int32_t k = 0; x->tags && k < x->n_words; k++)
            most = x->tags[k] > most ? x->tags[k] : most;
        for (int32_t k = 0; x->ids && x->labels && k < x->n_ids; k++)
            most = x->labels[k] > most ? x->labels[k] : most;
    }
    return most;
}

/* The names of train, and those that only test has. */
static status unite(goal *g, records *train, records *test)
{
    const char **names;
    int          n = train->n_labels;

    if (!test)
        return STATUS_OK;
    TRY_TAKE(names, &g->s->setup, train->n_labels + test->n_labels);
    for (int i = 0; i < train->n_labels; i++)
        names[i] = train->labels[i];
    for (int i = 0; i < test->n_labels; i++)
        if (text_index(test->labels[i], names, n) < 0)
            names[n++] = test->labels[i];
    TRY_IN(records_relabel(&g->s->setup, test, n, names), "in data.test");
    train->n_labels = n;
    train->labels = names;
    return STATUS_OK;
}

/* Classes that the records have by themselves. */
static status take_own(goal *g, records *train, records *test, const key_texts *names)
{
    if (test && (train->n_labels > 0) != (test->n_labels > 0))
        return fail(STATUS_USAGE, "data.%s has named classes and data.%s has none", train->n_labels ? "train" : "test",
                    train->n_labels ? "test" : "train");
    if (train->n_labels > 0 && names->n > 0) {
        TRY_IN(records_relabel(&g->s->setup, train, names->n, names->v), "in data.train");
        if (test)
            TRY_IN(records_relabel(&g->s->setup, test, names->n, names->v), "in data.test");
    } else if (train->n_labels > 0)
        TRY(unite(g, train, test));
    g->measured.tags = names->n > 0 ? names->v : train->labels;
    g->measured.n_tags = names->n > 0 ? names->n : train->n_labels;

    const int32_t most = largest(train) > largest(test) ? largest(train) : largest(test);
    g->measured.classes = g->measured.n_tags > 0 ? g->measured.n_tags : most + 1;
    if (most >= g->measured.classes)
        return fail(STATUS_FORMAT, "data: there is a class %d, must be 0..%d", most, g->measured.classes - 1);
    return STATUS_OK;
}

/* Classes that a field names. */
static status take_field(goal *g, records *train, records *test, const char *field, const key_texts *names)
{
    TRY_IN(records_classes(&g->s->setup, train, field, names->n, names->v), "in data.train");
    if (test)
        TRY_IN(records_classes(&g->s->setup, test, field, train->n_labels, train->labels), "in data.test");
    g->measured.tags = train->labels;
    g->measured.n_tags = g->measured.classes = train->n_labels;
    return STATUS_OK;
}

/* Classes beyond those that have names are called as transformers calls them. */
static status name_more(goal *g, int count)
{
    const char **names;

    g->measured.classes = count;
    if (g->measured.n_tags == 0)
        return STATUS_OK;
    TRY_TAKE(names, &g->s->setup, count);
    for (int i = 0; i < count; i++) {
        names[i] = i < g->measured.n_tags ? g->measured.tags[i] : arena_printf(&g->s->setup, "LABEL_%d", i);
        if (!names[i])
            return STATUS_MEMORY;
    }
    g->measured.tags = names;
    g->measured.n_tags = count;
    return STATUS_OK;
}

status goal_classes(goal *g, records *train, records *test, const char *field, const key_texts *names, int64_t count)
{
    const bool own = has_own(train) || train->v[0].ids;

    TRY(own ? take_own(g, train, test, names) : take_field(g, train, test, field, names));
    if (count > 0 && g->measured.classes > count)
        return fail(STATUS_USAGE, "objective.classes is %lld, but the data has %d of them", (long long)count,
                    g->measured.classes);
    if (count > g->measured.classes)
        TRY(name_more(g, (int)count));
    if (g->measured.classes < 2)
        return fail(STATUS_USAGE, "data: %d class, at least two are needed", g->measured.classes);
    g->head.classes = g->measured.classes;
    return STATUS_OK;
}

status goal_number(const record *r, const char *field, double *out)
{
    const struct field *f = record_field(r, field);
    char                where[256], *end;

    if (!f && r->label >= 0) {
        *out = r->label;
        return STATUS_OK;
    }
    if (!f)
        return fail(STATUS_FORMAT, "%s: has no field %s", record_where(r, where), field);
    *out = strtod(f->text, &end);
    if (end == f->text || *end || !(*out - *out == 0))
        return fail(STATUS_FORMAT, "%s: %s is \"%.60s\", must be a number", record_where(r, where), field, f->text);
    return STATUS_OK;
}
