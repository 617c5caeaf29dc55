/* tag: the tag of each word of a sentence, at its first token; cross-entropy, mean over words */
#include "recipes/objective.h"

#include <string.h>

typedef struct tag_options {
    goal_options common;
    int64_t      classes;
    key_texts    names;
    const char  *scheme;
} tag_options;

#define AT(member) offsetof(tag_options, member)
static const key rows[] = {
    GOAL_KEYS("[accuracy]"),
    {.name = "classes", .kind = KEY_INT, .offset = AT(classes), .preset = "0", .lo = 0, .hi = 1000000, .unit = "tags",
     .help = "How many tags there are; 0: as many as the data has."},
    {.name = "names", .kind = KEY_TEXTS, .offset = AT(names), .preset = "[]",
     .help = "The tags in order; if absent those that the data has."},
    {.name = "scheme", .kind = KEY_CHOICE, .offset = AT(scheme), .preset = "any", .choices = "any|iob1|iob2|iobes",
     .help = "How spans are read from tags: any forgives as seqeval does, the others count only spans that obey."},
};
#undef AT

static status open_goal(goal *g, records *train, records *test)
{
    const tag_options *o = g->options;
    char               where[256];

    if (!train->v[0].tags && !train->v[0].ids)
        return fail(STATUS_USAGE, "%s: is no sentence of words with tags; the source conll gives them",
                    record_where(&train->v[0], where));
    g->samples = (whole_options){.kind = WHOLE_WORDS, .place = TARGET_HERE};
    TRY(goal_classes(g, train, test, "tags", &o->names, o->classes));
    const int named = o->names.n > 0 ? o->names.n : train->n_labels;
    if (named > 0 && g->measured.classes > named)
        return fail(STATUS_USAGE, "objective.classes is %d, and there are %d tags: name the others in objective.names",
                    g->measured.classes, named);
    g->measured.scheme = strcmp(o->scheme, "any") == 0 ? NULL : o->scheme;
    g->predicts = METRIC_CLASSES | (g->measured.n_tags > 0 ? METRIC_TAGS : 0);
    return STATUS_OK;
}

/* The tags of one sequence after another. */
static status measure_spans(const goal *g, const batch *b, const float *z, int64_t columns, metric_tally *tally)
{
    const size_t mark = arena_mark(&g->s->setup);
    int32_t     *predicted;

    TRY_TAKE(predicted, &g->s->setup, b->n_targets);
    for (int32_t i = 0; i < b->n_targets; i++)
        predicted[i] = goal_largest(z + i * columns, columns);
    for (int32_t i = 0, n; i < b->n_targets; i += n) {
        const int32_t seq = b->seq_of_row[b->target_rows[i]];
        for (n = 1; i + n < b->n_targets && b->seq_of_row[b->target_rows[i + n]] == seq;)
            n++;
        TRY(metric_add_tags(tally, predicted + i, b->target_ids + i, n));
    }
    arena_rewind(&g->s->setup, mark);
    return STATUS_OK;
}

static status measure(const goal *g, const batch *b, const float *z, int64_t columns, metric_tally *tally)
{
    if (tally->input == METRIC_TAGS)
        return measure_spans(g, b, z, columns, tally);
    for (int32_t i = 0; i < b->n_targets; i++)
        TRY(metric_add_class(tally, goal_largest(z + i * columns, columns), b->target_ids[i]));
    return STATUS_OK;
}

const objective objective_tag = {
    .name = "tag",
    .help = "The tag of each word of a sentence.",
    .keys = KEY_TABLE("tag", rows, tag_options),
    .task_type = "TOKEN_CLS",
    .head = HEAD_TAG,
    .whole = true,
    .open = open_goal,
    .measure = measure,
};
