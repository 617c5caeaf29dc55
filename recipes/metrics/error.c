/* error: row = the squared or absolute difference (scikit-learn's mean_squared_error, mean_absolute_error), or what is
 * predicted itself */
#include "recipes/metrics/form.h"

#include <math.h>

static status measure_squared(const metric_tally *t, const metric_sample *s, double *row)
{
    const double d = s->values.predicted - s->values.truth;

    (void)t;
    row[0] = d * d;
    return STATUS_OK;
}

static status measure_absolute(const metric_tally *t, const metric_sample *s, double *row)
{
    (void)t;
    row[0] = fabs(s->values.predicted - s->values.truth);
    return STATUS_OK;
}

static status measure_value(const metric_tally *t, const metric_sample *s, double *row)
{
    (void)t;
    row[0] = s->values.predicted;
    return STATUS_OK;
}

const metric_form metric_form_value = {.width = 1, .measure = measure_value, .finish = metric_mean};
const metric_form metric_form_squared_error = {
    .width = 1, .measure = measure_squared, .finish = metric_mean, .error = true};
const metric_form metric_form_absolute_error = {
    .width = 1, .measure = measure_absolute, .finish = metric_mean, .error = true};
