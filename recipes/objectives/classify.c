/* classify: one class of a sample, or any number of them
 *
 * One: softmax cross-entropy, mean over samples. Any number (multi_label): binary cross-entropy of each class's logit
 * z with y in {0, 1}, softplus(z) - y z, mean over samples and classes (PyTorch's BCEWithLogitsLoss); a class is
 * predicted where z > 0. */
#include "core/text.h"
#include "data/mixture.h"
#include "recipes/objective.h"
#include "recipes/objectives/label_sets.h"

#include <math.h>

typedef struct classify_options {
    goal_options common;
    int64_t      classes, class_from, class_to, class_task, k;
    key_texts    names;
    const char  *label;
    double       head_deviation;
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
    {.name = "class_from", .kind = KEY_INT, .offset = AT(class_from), .preset = "0", .lo = 0, .hi = 1000000,
     .help = "Train classes from this number on alone, by a loss among them, with their samples."},
    {.name = "class_to", .kind = KEY_INT, .offset = AT(class_to), .preset = "0", .lo = 0, .hi = 1000000,
     .help = "Train and measure classes below this number alone; 0: all."},
    {.name = "class_task", .kind = KEY_INT, .offset = AT(class_task), .preset = "-1", .lo = -1, .hi = 1000000,
     .help = "The same for the classes of records with this number under `task`; -1: not said."},
    {.name = "head_deviation", .kind = KEY_REAL, .offset = AT(head_deviation), .preset = "0", .lo = 0, .hi = 100,
     .help = "Of the normal numbers that a head starts with which the trunk lacks; 0: its initializer_range."},
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

typedef struct class_range {
    int32_t from, to;
} class_range;

static bool in_range(const void *context, const record *r)
{
    const class_range *c = context;

    return c->from <= r->label && r->label < c->to;
}

/* Those of a task lie together, and no other task has any of them. */
static status classes_of_task(const records *r, int64_t task, class_range *out)
{
    *out = (class_range){INT32_MAX, 0};
    for (int64_t i = 0; i < r->n; i++) {
        const record *x = &r->v[i];
        if (x->task != task)
            continue;
        out->from = x->label < out->from ? x->label : out->from;
        out->to = x->label >= out->to ? x->label + 1 : out->to;
    }
    if (out->to == 0)
        return fail(STATUS_USAGE, "data.train: there is no sample of task %lld", (long long)task);
    for (int64_t i = 0; i < r->n; i++)
        if (r->v[i].task != task && in_range(out, &r->v[i]))
            return fail(STATUS_USAGE, "data.train: task %d has class %d between those of task %lld; objective.names can "
                        "give classes an order in which tasks follow each other", r->v[i].task, r->v[i].label,
                        (long long)task);
    return STATUS_OK;
}

/* Samples of classes that are not chosen are left out. */
static status choose_classes(goal *g, records *train, records *test)
{
    const classify_options *o = g->options;
    const int64_t           to = o->class_to > 0 ? o->class_to : o->class_from > 0 ? g->head.classes : 0;
    class_range             c = {(int32_t)o->class_from, (int32_t)to};

    if (o->class_task >= 0 && c.to > 0)
        return fail(STATUS_USAGE, "class_task: goes neither with class_from nor with class_to");
    if (o->class_task >= 0)
        TRY(classes_of_task(train, o->class_task, &c));
    TRY(goal_choose_classes(g, c.from, c.to));
    if (c.to == 0)
        return STATUS_OK;
    TRY_IN(records_keep(&g->s->setup, train, in_range, &c), "in data.train, of classes %d to %d", c.from, c.to - 1);
    c.from = 0;
    return test ? fail_in(records_keep(&g->s->setup, test, in_range, &c), "in data.test, of classes below %d", c.to)
                : STATUS_OK;
}

static status open_goal(goal *g, records *train, records *test)
{
    const classify_options *o = g->options;

    g->samples = (whole_options){.kind = train->v[0].pixels ? WHOLE_IMAGE : WHOLE_TEXT, .place = TARGET_SEQUENCE,
                                 .context = g};
    g->head.deviation = o->head_deviation;
    if (o->multi_label && (o->class_from > 0 || o->class_to > 0 || o->class_task >= 0))
        return fail(STATUS_USAGE, "multi_label: class_from, class_to and class_task are for samples with one class");
    if (o->multi_label)
        return open_labels(g, train, test);
    TRY(goal_classes(g, train, test, o->label, &o->names, o->classes));
    TRY(choose_classes(g, train, test));
    g->measured.k = o->k < g->measured.classes ? (int)o->k : g->measured.classes;
    g->predicts = METRIC_CLASSES | METRIC_SCORES;
    return STATUS_OK;
}

static var *record_loss(const goal *g, tape *t, model *m, var *hidden, const feed *f, goal_vars *v)
{
    const classify_options *o = g->options;

    return o->multi_label ? labels_loss(t, m, hidden, f, v) : goal_cross_entropy(g, t, m, hidden, f, v);
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
