/* matthews: correlation of predicted and true classes (Gorodkin 2004; scikit-learn's matthews_corrcoef).
 *
 * row   = (predicted, true)
 * state = hits, predicted[classes], true[classes]
 *
 * (n hits - sum p t) / sqrt((n^2 - sum p^2) (n^2 - sum t^2)), 0 when one side has one class only. */
#include "recipes/metrics/form.h"

#include <math.h>

static status open_matthews(metric_tally *t)
{
    t->state = 1 + 2 * (int64_t)t->o.classes;
    return STATUS_OK;
}

static status measure(const metric_tally *t, const metric_sample *s, double *row)
{
    (void)t;
    row[0] = s->classes.predicted;
    row[1] = s->classes.truth;
    return STATUS_OK;
}

static void add(const metric_tally *t, const double *row, double *state)
{
    state[0] += row[0] == row[1];
    state[1 + (int)row[0]]++;
    state[1 + t->o.classes + (int)row[1]]++;
}

static double finish(const metric_tally *t, const double *state, int64_t n)
{
    const double *p = state + 1, *y = p + t->o.classes, all = (double)n;
    double        both = all * state[0], predicted = all * all, truth = all * all;

    for (int c = 0; c < t->o.classes; c++) {
        both -= p[c] * y[c];
        predicted -= p[c] * p[c];
        truth -= y[c] * y[c];
    }
    return predicted > 0 && truth > 0 ? both / sqrt(predicted * truth) : 0;
}

const metric_form metric_form_matthews = {
    .width = 2, .open = open_matthews, .measure = measure, .add = add, .finish = finish};
