/* calibration: how far probabilities are from the shares of right predictions (Guo et al. 2017).
 *
 * A bin's error is |sum of probabilities - number of hits|; the errors of all bins together, over n. Bin b of
 * M is (b/M, (b+1)/M], the first one has 0 too. The top label is the class with the highest probability, the
 * lowest number of equal ones.
 *
 * classwise (Kull et al. 2019): the bins of each class's own probability, mean over the classes.
 * adaptive (Nguyen and O'Connor 2015): the samples in order of their probability, equal ones in the order of
 * the samples, are cut into M bins that hold equally many; the first n % M bins hold one more. */
#include "recipes/metrics/form.h"

#include <math.h>
#include <stdlib.h>

static status open_bins(metric_tally *t)
{
    if (t->o.bins < 0)
        return fail(STATUS_USAGE, "%s: bins is %d, must be at least 1", t->m->name, t->o.bins);
    if (t->o.bins == 0)
        t->o.bins = 15;
    return STATUS_OK;
}

static status check(const metric_tally *t, const double *p)
{
    for (int c = 0; c < t->o.classes; c++)
        if (!(p[c] >= 0 && p[c] <= 1))
            return fail(STATUS_FORMAT, "the probability of class %d is %g, must be in 0..1", c, p[c]);
    return STATUS_OK;
}

static int bin_of(double p, int M)
{
    int b = (int)ceil(p * M) - 1;

    while (b > 0 && p <= (double)b / M) /* the product was rounded */
        b--;
    while (b + 1 < M && p > (double)(b + 1) / M)
        b++;
    return b < 0 ? 0 : b;
}

static status measure_top(const metric_tally *t, const metric_sample *s, double *row)
{
    const double *p = s->scores.scores;
    int           top = 0;

    TRY(check(t, p));
    for (int c = 1; c < t->o.classes; c++)
        if (p[c] > p[top])
            top = c;
    row[0] = p[top];
    row[1] = top == s->scores.truth;
    return STATUS_OK;
}

/* ---- equal width: state[b] = sum of (probability - hit) ------------------------------------------------ */

static status open_width(metric_tally *t)
{
    TRY(open_bins(t));
    t->state = t->o.bins;
    return STATUS_OK;
}

static void add_top(const metric_tally *t, const double *row, double *state)
{
    state[bin_of(row[0], t->o.bins)] += row[0] - row[1];
}

static double finish(const metric_tally *t, const double *state, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < t->state; i++)
        sum += fabs(state[i]);
    return sum / (double)n;
}

const metric_form metric_form_calibration = {
    .width = 2, .open = open_width, .measure = measure_top, .add = add_top, .finish = finish,
    .error = true};

/* ---- classwise: row = probabilities [classes], true class ---------------------------------------------- */

static status open_classwise(metric_tally *t)
{
    TRY(open_bins(t));
    t->width = t->o.classes + 1;
    t->state = (int64_t)t->o.classes * t->o.bins;
    return STATUS_OK;
}

static status measure_all(const metric_tally *t, const metric_sample *s, double *row)
{
    TRY(check(t, s->scores.scores));
    for (int c = 0; c < t->o.classes; c++)
        row[c] = s->scores.scores[c];
    row[t->o.classes] = s->scores.truth;
    return STATUS_OK;
}

static void add_all(const metric_tally *t, const double *row, double *state)
{
    for (int c = 0; c < t->o.classes; c++)
        state[(int64_t)c * t->o.bins + bin_of(row[c], t->o.bins)] += row[c] - (row[t->o.classes] == c);
}

static double finish_classwise(const metric_tally *t, const double *state, int64_t n)
{
    return finish(t, state, n) / t->o.classes;
}

const metric_form metric_form_calibration_classwise = {
    .open = open_classwise, .measure = measure_all, .add = add_all, .finish = finish_classwise,
    .error = true};

/* ---- adaptive: of all rows (probability, hit) ---------------------------------------------------------- */

static status open_adaptive(metric_tally *t)
{
    return open_bins(t);
}

typedef struct top_label {
    double  p, hit;
    int64_t at;
} top_label;

static int ascending(const void *a, const void *b)
{
    const top_label *x = a, *y = b;

    return x->p != y->p ? (x->p > y->p) - (x->p < y->p) : (x->at > y->at) - (x->at < y->at);
}

static status whole_adaptive(const metric_tally *t, double *rows, int64_t n, double *out)
{
    const int64_t M = t->o.bins;
    top_label    *v;
    double        sum = 0;

    TRY_TAKE(v, t->a, n);
    for (int64_t i = 0; i < n; i++)
        v[i] = (top_label){rows[2 * i], rows[2 * i + 1], i};
    qsort(v, (size_t)n, sizeof *v, ascending);
    for (int64_t b = 0, i = 0; b < M; b++) {
        double gap = 0;
        for (const int64_t end = i + n / M + (b < n % M); i < end; i++)
            gap += v[i].p - v[i].hit;
        sum += fabs(gap);
    }
    *out = sum / (double)n;
    return STATUS_OK;
}

const metric_form metric_form_calibration_adaptive = {
    .width = 2, .open = open_adaptive, .measure = measure_top, .whole = whole_adaptive, .error = true};
