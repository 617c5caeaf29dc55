/* classify: one class of a sample, or any number of them
 *
 * One: softmax cross-entropy, mean over samples. Any number (multi_label): binary cross-entropy of each class's logit
 * z with y in {0, 1}, softplus(z) - y z, mean over samples and classes (PyTorch's BCEWithLogitsLoss); a class is
 * predicted where z > 0. */
#include "core/text.h"
#include "recipes/objective.h"
#include "recipes/objectives/label_sets.h"

#include <math.h>

typedef struct classify_options {
    goal_options common;
    int64_t      classes, k;
    key_texts    names;
    const char  *label;
    bool         multi_label;
} classify_options;

#define AT(member) offsetof(classify_options, member)
static const key rows[] = {
    GOAL_KEYS("[accuracy]"),
    {.name = "classes", .kind = KEY_INT, .offset = AT(classes), .preset = "0", .lo = 0, .hi = 1000000,
     .unit = "classes", .help = "How many there are; 0: as many as the data has."},
    {.name = "names", .kind = KEY_TEXTS, .offset = AT(names), .preset = "[]",
     .help = "Their names in order; if absent those that the data has."},
    {.name = "label", .kind = KEY_TEXT, .offset = AT(label), .preset = "label",
     .help = "Field with a sample's class by name; with multi_label a list of them, or names with commas."},
    {.name = "multi_label", .kind = KEY_BOOL, .offset = AT(multi_label), .preset = "no",
     .help = "A sample may have several classes, or none."},
    {.name = "k", .kind = KEY_INT, .offset = AT(k), .preset = "5", .lo = 1, .hi = 1000000, .unit = "classes",
     .help = "Of the metric top_k."},
};
#undef AT

/* ---- several labels --------------------------------------------------------------------------------- */

/* values: 1 for each of the sample's classes. */
static status set_labels(void *context, arena *a, const record *r, example *e)
{
    const goal             *g = context;
    const classify_options *o = g->options;
    char                    where[256];
    float                  *v;
    label_set               l;

    TRY(label_set_read(a, r, o->label, &l));
    TRY_TAKE(v, a, g->measured.classes);
    for (int i = 0; i < g->measured.classes; i++)
        v[i] = 0;
    for (int i = 0; i < l.n; i++) {
        const int class = text_index(l.v[i], g->measured.tags, g->measured.n_tags);
        if (class < 0)
            return fail(STATUS_FORMAT, "%s: \"%.60s\" must be one of the %d classes", record_where(r, where), l.v[i],
                        g->measured.n_tags);
        v[class] = 1;
    }
    e->values = v;
    return STATUS_OK;
}

static status open_labels(goal *g, records *train, records *test)
{
    const classify_options *o = g->options;
    label_set               names = {o->names.n, NULL};

    if (train->v[0].ids)
        return fail(STATUS_USAGE, "multi_label: samples of ids have one label");
    if (o->names.n == 0)
        TRY(label_sets_names(&g->s->setup, train, test, o->label, &names));
    g->measured.tags = o->names.n ? o->names.v : names.v;
    g->measured.n_tags = names.n;
    g->measured.classes = o->classes > 0 ? (int)o->classes : names.n;
    if (g->measured.classes < names.n || names.n < 1)
        return fail(STATUS_USAGE, "multi_label: the data has %d classes, objective.classes is %lld", names.n,
                    (long long)o->classes);
    g->predicts = METRIC_LABELS;
    g->samples.width = g->measured.classes;
    g->samples.target = set_labels;
    g->head.classes = g->measured.classes;
    return STATUS_OK;
}

static var *labels_loss(tape *t, model *m, var *hidden, const feed *f, goal_vars *v)
{
    v->scores = goal_logits(t, m, hidden, f);
    var *right = ag_scale(t, ag_mul(t, v->scores, f->values_var), -1);
    var *each = ag_add(t, ag_softplus(t, v->scores), right);
    return ag_sum(t, ag_scale(t, each, 1.0 / (double)m->head.classes));
}

static status measure_labels(const goal *g, const batch *b, const float *z, int64_t columns, metric_tally *tally)
{
    uint8_t *predicted;
    const size_t mark = arena_mark(&g->s->setup);

    TRY_TAKE(predicted, &g->s->setup, 2 * columns);
    for (int32_t i = 0; i < b->n_targets; i++, z += columns) {
        for (int64_t c = 0; c < columns; c++) {
            predicted[c] = z[c] > 0;
            predicted[columns + c] = b->values[i * columns + c] > 0;
        }
        TRY(metric_add_labels(tally, predicted, predicted + columns));
    }
    arena_rewind(&g->s->setup, mark);
    return STATUS_OK;
}

/* ---- one class ------------------------------------------------------------------------------------- */

static void softmax(const float *z, int64_t n, double *p)
{
    const float most = z[goal_largest(z, n)];
    double      sum = 0;

    for (int64_t c = 0; c < n; c++)
        sum += p[c] = exp((double)z[c] - (double)most);
    for (int64_t c = 0; c < n; c++)
        p[c] /= sum;
}

static status measure_class(const goal *g, const batch *b, const float *z, int64_t columns, metric_tally *tally)
{
    const size_t mark = arena_mark(&g->s->setup);
    double      *p;

    TRY_TAKE(p, &g->s->setup, columns);
    for (int32_t i = 0; i < b->n_targets; i++, z += columns) {
        if (tally->input == METRIC_CLASSES) {
            TRY(metric_add_class(tally, goal_largest(z, columns), b->target_ids[i]));
            continue;
        }
        softmax(z, columns, p);
        TRY(metric_add_scores(tally, p, b->target_ids[i]));
    }
    arena_rewind(&g->s->setup, mark);
    return STATUS_OK;
}

/* ---- both ------------------------------------------------------------------------------------------ */

static status open_goal(goal *g, records *train, records *test)
{
    const classify_options *o = g->options;

    g->samples = (whole_options){.kind = train->v[0].pixels ? WHOLE_IMAGE : WHOLE_TEXT, .place = TARGET_SEQUENCE,
                                 .context = g};
    if (o->multi_label)
        return open_labels(g, train, test);
    TRY(goal_classes(g, train, test, o->label, &o->names, o->classes));
    g->measured.k = o->k < g->measured.classes ? (int)o->k : g->measured.classes;
    g->predicts = METRIC_CLASSES | METRIC_SCORES;
    return STATUS_OK;
}

static var *record_loss(const goal *g, tape *t, model *m, var *hidden, const feed *f, goal_vars *v)
{
    const classify_options *o = g->options;

    return o->multi_label ? labels_loss(t, m, hidden, f, v) : goal_cross_entropy(t, m, hidden, f, v);
}

static status measure(const goal *g, const batch *b, const float *scores, int64_t columns, metric_tally *tally)
{
    const classify_options *o = g->options;

    return (o->multi_label ? measure_labels : measure_class)(g, b, scores, columns, tally);
}

const objective objective_classify = {
    .name = "classify",
    .help = "The class of a sample, or its classes.",
    .keys = KEY_TABLE("classify", rows, classify_options),
    .task_type = "SEQ_CLS",
    .head = HEAD_CLASSIFY,
    .whole = true,
    .open = open_goal,
    .loss = record_loss,
    .measure = measure,
};
