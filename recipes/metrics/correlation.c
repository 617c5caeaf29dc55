/* correlation: Pearson and Spearman as in scipy.stats; rows = (predicted, true). Sums of squares would lose
 * the digits of values far from zero, so both take all rows, centred. */
#include "recipes/metrics/form.h"

#include <math.h>
#include <stdlib.h>

enum { SIDES = 2 };

static status measure(const metric_tally *t, const metric_sample *s, double *row)
{
    (void)t;
    row[0] = s->values.predicted;
    row[1] = s->values.truth;
    return STATUS_OK;
}

static bool constant(const double *rows, int64_t n, int side)
{
    for (int64_t i = 1; i < n; i++)
        if (rows[i * SIDES + side] != rows[side])
            return false;
    return true;
}

static double pearson(double *rows, int64_t n)
{
    double mean[SIDES] = {0}, square[SIDES] = {0}, both = 0;

    if (n < 2 || constant(rows, n, 0) || constant(rows, n, 1))
        return NAN;
    for (int64_t i = 0; i < n * SIDES; i++)
        mean[i % SIDES] += rows[i] / (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double x = rows[i * SIDES] - mean[0], y = rows[i * SIDES + 1] - mean[1];
        square[0] += x * x;
        square[1] += y * y;
        both += x * y;
    }
    return fmax(-1, fmin(1, both / (sqrt(square[0]) * sqrt(square[1]))));
}

static status whole_pearson(const metric_tally *t, double *rows, int64_t n, double *out)
{
    (void)t;
    *out = pearson(rows, n);
    return STATUS_OK;
}

typedef struct ranked {
    double  value;
    int64_t at;
} ranked;

static int ascending(const void *a, const void *b)
{
    const ranked *x = a, *y = b;

    return (x->value > y->value) - (x->value < y->value);
}

/* Values of one side become ranks 1..n; equal ones get the mean of theirs. */
static void rank(double *rows, int64_t n, int side, ranked *order)
{
    for (int64_t i = 0; i < n; i++)
        order[i] = (ranked){rows[i * SIDES + side], i};
    qsort(order, (size_t)n, sizeof *order, ascending);
    for (int64_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && order[end].value == order[i].value; end++)
            ;
        for (int64_t j = i; j < end; j++)
            rows[order[j].at * SIDES + side] = (double)(i + 1 + end) / 2;
    }
}

static status whole_spearman(const metric_tally *t, double *rows, int64_t n, double *out)
{
    ranked *order;

    TRY_TAKE(order, t->a, n);
    for (int side = 0; side < SIDES; side++)
        rank(rows, n, side, order);
    *out = pearson(rows, n);
    return STATUS_OK;
}

const metric_form metric_form_pearson = {.width = SIDES, .measure = measure, .whole = whole_pearson};
const metric_form metric_form_spearman = {.width = SIDES, .measure = measure, .whole = whole_spearman};
