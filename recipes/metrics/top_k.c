/* top_k: row = 1 when the true class is among the k highest scores (scikit-learn's top_k_accuracy_score). Of
 * equal scores the class with the higher number comes first, as there. */
#include "recipes/metrics/form.h"

static status open_top_k(metric_tally *t)
{
    if (t->o.k < 1 || t->o.k > t->o.classes)
        return fail(STATUS_USAGE, "%s: k is %d, must be 1..%d", t->m->name, t->o.k, t->o.classes);
    return STATUS_OK;
}

static status measure(const metric_tally *t, const metric_sample *s, double *row)
{
    const double *v = s->scores.scores, mine = v[s->scores.truth];
    int           before = 0;

    for (int c = 0; c < t->o.classes; c++)
        before += v[c] > mine || (v[c] == mine && c > s->scores.truth);
    row[0] = before < t->o.k;
    return STATUS_OK;
}

const metric_form metric_form_top_k = {
    .width = 1, .open = open_top_k, .measure = measure, .finish = metric_mean};
