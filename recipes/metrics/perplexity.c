/* perplexity: row = (sum of losses, tokens); exp(sum / tokens) of all samples, so long ones count for more */
#include "recipes/metrics/form.h"

#include <math.h>

static status measure(const metric_tally *t, const metric_sample *s, double *row)
{
    (void)t;
    row[0] = s->losses.sum;
    row[1] = s->losses.targets;
    return STATUS_OK;
}

static double finish(const metric_tally *t, const double *state, int64_t n)
{
    (void)t, (void)n;
    return state[1] > 0 ? exp(state[0] / state[1]) : NAN;
}

const metric_form metric_form_perplexity = {.width = 2, .measure = measure, .finish = finish, .error = true};
