/* metrics: the table, and tallies */
#include "recipes/metrics.h"

#include "core/text.h"
#include "recipes/metrics/form.h"

#include <math.h>
#include <string.h>

enum { METRIC_CLASSES_OR_LABELS = METRIC_CLASSES | METRIC_LABELS };

#define METRIC(name, title, inputs, form, part, help) extern const metric_form metric_form_##form;
#include "recipes/metrics.def"
#undef METRIC

static const metric table[] = {
#define METRIC(name, title, inputs, form, part, help)                                                       \
    {#name, title, METRIC_##inputs, &metric_form_##form, part, help},
#include "recipes/metrics.def"
#undef METRIC
};
enum { METRICS = COUNT_OF(table) };

#define CHOICE_CLASSES(name)
#define CHOICE_LABELS(name)
#define CHOICE_CLASSES_OR_LABELS(name)
#define CHOICE_SCORES(name)
#define CHOICE_VALUES(name)
#define CHOICE_TAGS(name)
#define CHOICE_LOSSES(name)
#define CHOICE_TEXTS(name) "|" #name
#define METRIC(name, title, inputs, form, part, help) CHOICE_##inputs(name)
const char metric_text_names[] =
#include "recipes/metrics.def"
    ;
#undef METRIC

const char *metric_name(int i)
{
    return i >= 0 && i < METRICS ? table[i].name : NULL;
}

const char *metric_title(int i)
{
    return i >= 0 && i < METRICS ? table[i].title : NULL;
}

const char *metric_help(int i)
{
    return i >= 0 && i < METRICS ? table[i].help : NULL;
}

const char *metric_title_of(const metric_tally *t)
{
    return t->m->title;
}

bool metric_is_error(const char *name)
{
    for (int i = 0; i < METRICS; i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].form->error;
    return false;
}

status metric_result_of(const metric_tally *t, uint64_t seed, int64_t resamples, metric_result *out)
{
    *out = (metric_result){.name = t->m->name, .title = t->m->title, .resampled = resamples > 0};
    TRY(metric_figure(t, &out->value));
    return out->resampled ? metric_bootstrap(t, seed, resamples, METRIC_LEVEL, &out->interval) : STATUS_OK;
}

unsigned metric_inputs(int i)
{
    return i >= 0 && i < METRICS ? table[i].inputs : 0;
}

bool metric_is_joint(const char *name)
{
    for (int i = 0; i < METRICS; i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].form->whole != NULL;
    return false;
}

/* ---- opening ------------------------------------------------------------------------------------------ */

static status find(const char *name, const metric **out)
{
    const char *names[METRICS];

    for (int i = 0; i < METRICS; i++) {
        if (strcmp(table[i].name, name) == 0) {
            *out = &table[i];
            return STATUS_OK;
        }
        names[i] = table[i].name;
    }
    const char *near = text_nearest(name, names, METRICS);
    return fail(STATUS_USAGE, "there is no metric '%s'%s%s%s", name, near ? "; did you mean '" : "",
                near ? near : "", near ? "'?" : "");
}

static const char *input_name(metric_input input)
{
    switch (input) {
    case METRIC_CLASSES:
        return "classes";
    case METRIC_LABELS:
        return "label sets";
    case METRIC_SCORES:
        return "scores";
    case METRIC_VALUES:
        return "values";
    case METRIC_TAGS:
        return "tags";
    case METRIC_TEXTS:
        return "texts";
    case METRIC_LOSSES:
        return "losses";
    }
    CHECK(!"there is no such input");
    return NULL;
}

status metric_open(metric_tally *t, arena *a, const char *name, metric_input input, const metric_options *o,
                   int64_t room)
{
    *t = (metric_tally){.a = a, .room = room, .input = input, .o = o ? *o : (metric_options){0}};
    TRY(find(name, &t->m));
    if (!(t->m->inputs & input))
        return fail(STATUS_USAGE, "%s is not a metric of %s", name, input_name(input));
    if (input & (METRIC_CLASSES | METRIC_LABELS | METRIC_SCORES) && t->o.classes < 1)
        return fail(STATUS_USAGE, "%s: classes is %d, must be at least 1", name, t->o.classes);
    t->width = t->m->form->width;
    if (t->m->form->open)
        TRY(t->m->form->open(t));
    if (t->state == 0)
        t->state = t->width;
    TRY_TAKE(t->rows, a, room * t->width);
    return STATUS_OK;
}

/* ---- adding ------------------------------------------------------------------------------------------- */

static status add(metric_tally *t, metric_input input, const metric_sample *s)
{
    const size_t mark = arena_mark(t->a);
    double      *row = t->rows + t->n * t->width;

    CHECK(t->input == input);
    CHECK(t->n < t->room);
    memset(row, 0, (size_t)t->width * sizeof *row);
    TRY_IN(t->m->form->measure(t, s, row), "in sample %lld of %s", (long long)t->n, t->m->name);
    arena_rewind(t->a, mark);
    t->n++;
    return STATUS_OK;
}

status metric_check_class(const metric_tally *t, int32_t id, const char *what)
{
    if (id < 0 || id >= t->o.classes)
        return fail(STATUS_FORMAT, "%s class is %d, must be 0..%d", what, id, t->o.classes - 1);
    return STATUS_OK;
}

status metric_add_class(metric_tally *t, int32_t predicted, int32_t truth)
{
    const metric_sample s = {.classes = {predicted, truth}};

    TRY(metric_check_class(t, predicted, "the predicted"));
    TRY(metric_check_class(t, truth, "the true"));
    return add(t, METRIC_CLASSES, &s);
}

status metric_add_labels(metric_tally *t, const uint8_t *predicted, const uint8_t *truth)
{
    const metric_sample s = {.labels = {predicted, truth}};

    for (int c = 0; c < t->o.classes; c++)
        CHECK(predicted[c] <= 1 && truth[c] <= 1);
    return add(t, METRIC_LABELS, &s);
}

status metric_add_scores(metric_tally *t, const double *scores, int32_t truth)
{
    const metric_sample s = {.scores = {scores, truth}};

    TRY(metric_check_class(t, truth, "the true"));
    for (int c = 0; c < t->o.classes; c++)
        if (isnan(scores[c]))
            return fail(STATUS_NUMERIC, "the score of class %d is not a number", c);
    return add(t, METRIC_SCORES, &s);
}

status metric_add_value(metric_tally *t, double predicted, double truth)
{
    const metric_sample s = {.values = {predicted, truth}};

    if (!isfinite(predicted) || !isfinite(truth))
        return fail(STATUS_NUMERIC, "a value to compare is not finite: predicted %g, true %g", predicted,
                    truth);
    return add(t, METRIC_VALUES, &s);
}

status metric_add_tags(metric_tally *t, const int32_t *predicted, const int32_t *truth, int64_t n)
{
    const metric_sample s = {.tags = {predicted, truth, n}};

    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < 2; k++) {
            const int32_t id = k ? truth[i] : predicted[i];
            if (id < 0 || id >= t->o.n_tags)
                return fail(STATUS_FORMAT, "tag %lld is %d, must be 0..%d", (long long)i, id,
                            t->o.n_tags - 1);
        }
    return add(t, METRIC_TAGS, &s);
}

status metric_add_text(metric_tally *t, metric_text predicted, const metric_text *truths, int n_truths)
{
    const metric_sample s = {.texts = {predicted, truths, n_truths}};

    CHECK(n_truths > 0);
    return add(t, METRIC_TEXTS, &s);
}

status metric_add_loss(metric_tally *t, double sum, double targets)
{
    const metric_sample s = {.losses = {sum, targets}};

    return add(t, METRIC_LOSSES, &s);
}

/* ---- common parts of forms ----------------------------------------------------------------------------- */

double metric_mean(const metric_tally *t, const double *state, int64_t n)
{
    (void)t;
    return state[0] / (double)n;
}
