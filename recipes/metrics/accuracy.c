/* accuracy: row = 1 when the sample is right. Of label sets all must be (scikit-learn's accuracy_score). */
#include "recipes/metrics/form.h"

#include <string.h>

static status measure(const metric_tally *t, const metric_sample *s, double *row)
{
    if (t->input == METRIC_CLASSES)
        row[0] = s->classes.predicted == s->classes.truth;
    else
        row[0] = memcmp(s->labels.predicted, s->labels.truth, (size_t)t->o.classes) == 0;
    return STATUS_OK;
}

const metric_form metric_form_accuracy = {.width = 1, .measure = measure, .finish = metric_mean};
