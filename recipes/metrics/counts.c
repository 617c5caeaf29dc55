/* counts: precision, recall and F1 of classes and of labels, as scikit-learn defines them.
 *
 * row   = (predicted, true) class, or predicted[classes] true[classes] labels
 * state = (hits, predicted, true)[classes]
 *
 * Averages over classes take those that occur, in predictions or truths; averages over labels take all. */
#include "recipes/metrics/form.h"

#include <math.h>
#include <string.h>

double counts_part(const double c[COUNT_PARTS], int part)
{
    const double above = part == PART_F1 ? 2 * c[COUNT_HITS] : c[COUNT_HITS];
    const double below = part == PART_PRECISION ? c[COUNT_PREDICTED]
                         : part == PART_RECALL  ? c[COUNT_TRUE]
                                                : c[COUNT_PREDICTED] + c[COUNT_TRUE];

    return below > 0 ? above / below : 0;
}

static double micro(const double *counts, int64_t n, int part)
{
    double sum[COUNT_PARTS] = {0};

    for (int64_t i = 0; i < n * COUNT_PARTS; i++)
        sum[i % COUNT_PARTS] += counts[i];
    return counts_part(sum, part);
}

double counts_average(const double *counts, int64_t n, int part, bool occurring)
{
    const int over = part & OVER_MASK, which = part & PART_MASK;
    double    sum = 0, weights = 0;

    if (over == OVER_MICRO)
        return micro(counts, n, which);
    for (int64_t i = 0; i < n; i++) {
        const double *c = counts + i * COUNT_PARTS;
        const bool    counted = !occurring || c[COUNT_PREDICTED] + c[COUNT_TRUE] > 0;
        const double  weight = over == OVER_WEIGHTED ? c[COUNT_TRUE] : counted;
        sum += weight * counts_part(c, which);
        weights += weight;
    }
    if (over == OVER_WEIGHTED && weights == 0)
        return 0;
    return weights > 0 ? sum / weights : NAN;
}

static status open_counts(metric_tally *t)
{
    if ((t->m->part & OVER_MASK) == OVER_BINARY && t->o.classes != 2)
        return fail(STATUS_USAGE,
                    "%s is for two classes, and there are %d: take %s_macro, %s_micro or %s_weighted",
                    t->m->name, t->o.classes, t->m->name, t->m->name, t->m->name);
    t->width = t->input == METRIC_LABELS ? 2 * (int64_t)t->o.classes : 2;
    t->state = COUNT_PARTS * (int64_t)t->o.classes;
    return STATUS_OK;
}

static status measure(const metric_tally *t, const metric_sample *s, double *row)
{
    const int C = t->o.classes;

    if (t->input == METRIC_CLASSES) {
        row[0] = s->classes.predicted;
        row[1] = s->classes.truth;
        return STATUS_OK;
    }
    for (int c = 0; c < C; c++) {
        row[c] = s->labels.predicted[c];
        row[C + c] = s->labels.truth[c];
    }
    return STATUS_OK;
}

static void add(const metric_tally *t, const double *row, double *state)
{
    const int C = t->o.classes;

    if (t->input == METRIC_CLASSES) {
        state[COUNT_PARTS * (int)row[0] + COUNT_PREDICTED]++;
        state[COUNT_PARTS * (int)row[1] + COUNT_TRUE]++;
        state[COUNT_PARTS * (int)row[0] + COUNT_HITS] += row[0] == row[1];
        return;
    }
    for (int c = 0; c < C; c++) {
        state[COUNT_PARTS * c + COUNT_HITS] += row[c] * row[C + c];
        state[COUNT_PARTS * c + COUNT_PREDICTED] += row[c];
        state[COUNT_PARTS * c + COUNT_TRUE] += row[C + c];
    }
}

static double finish(const metric_tally *t, const double *state, int64_t n)
{
    (void)n;
    if ((t->m->part & OVER_MASK) == OVER_BINARY)
        return counts_part(state + COUNT_PARTS, t->m->part);
    return counts_average(state, t->o.classes, t->m->part, t->input == METRIC_CLASSES);
}

const metric_form metric_form_counts = {
    .open = open_counts, .measure = measure, .add = add, .finish = finish};

/* The same for the label set of each sample, row = its figure. */
static status measure_set(const metric_tally *t, const metric_sample *s, double *row)
{
    double c[COUNT_PARTS] = {0};

    for (int i = 0; i < t->o.classes; i++) {
        c[COUNT_HITS] += s->labels.predicted[i] & s->labels.truth[i];
        c[COUNT_PREDICTED] += s->labels.predicted[i];
        c[COUNT_TRUE] += s->labels.truth[i];
    }
    row[0] = counts_part(c, t->m->part);
    return STATUS_OK;
}

const metric_form metric_form_label_sets = {.width = 1, .measure = measure_set, .finish = metric_mean};
