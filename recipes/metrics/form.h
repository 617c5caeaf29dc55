/* form: how a metric is made. A file of this folder holds one or a few forms; a row of metrics.def is a form
 * and the part of its figures that is wanted. */
#ifndef RECIPES_METRICS_FORM_H
#define RECIPES_METRICS_FORM_H

#include "recipes/metrics.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct metric_classes {
    int32_t predicted, truth;
} metric_classes;

typedef struct metric_labels {
    const uint8_t *predicted, *truth; /* [classes] */
} metric_labels;

typedef struct metric_scores {
    const double *scores; /* [classes] */
    int32_t       truth;
} metric_scores;

typedef struct metric_values {
    double predicted, truth;
} metric_values;

typedef struct metric_tags {
    const int32_t *predicted, *truth; /* [n] */
    int64_t        n;
} metric_tags;

typedef struct metric_texts {
    metric_text        predicted;
    const metric_text *truths;
    int                n_truths;
} metric_texts;

typedef struct metric_losses {
    double sum, targets;
} metric_losses;

/* Which of them says t->input. */
typedef struct metric_sample {
    union {
        metric_classes classes;
        metric_labels  labels;
        metric_scores  scores;
        metric_values  values;
        metric_tags    tags;
        metric_texts   texts;
        metric_losses  losses;
    };
} metric_sample;

/* A figure is finish(sum of rows), or whole(all rows). */
typedef struct metric_form {
    int64_t width; /* doubles of a row; open may set t->width instead */

    /* Checks the options, sets t->width, t->state and t->prepared. NULL: there is nothing to do. */
    status (*open)(metric_tally *t);
    /* A sample's row, which is zero before. Scratch may be taken from t->a; it is given back afterwards. */
    status (*measure)(const metric_tally *t, const metric_sample *s, double *row);
    /* Adds a row to the state [t->state], zero at first. NULL: value by value; t->state is t->width then. */
    void (*add)(const metric_tally *t, const double *row, double *state);
    /* The figure of a state to which n > 0 rows were added. */
    double (*finish)(const metric_tally *t, const double *state, int64_t n);
    /* Instead of add and finish: the figure of n > 0 rows [n, width], which may be reordered. */
    status (*whole)(const metric_tally *t, double *rows, int64_t n, double *out);
    bool error; /* the smaller the better */
} metric_form;

struct metric {
    const char        *name, *title;
    unsigned           inputs;
    const metric_form *form;
    int                part;
    const char        *help;
};

/* Parts of counts: what is computed, and how classes are averaged. */
enum {
    PART_PRECISION = 0,
    PART_RECALL = 1,
    PART_F1 = 2,
    PART_MASK = 3,
    OVER_BINARY = 0,
    OVER_MICRO = 4,
    OVER_MACRO = 8,
    OVER_WEIGHTED = 12,
    OVER_MASK = 12
};

/* Hits, predicted and true of a class. */
enum { COUNT_HITS, COUNT_PREDICTED, COUNT_TRUE, COUNT_PARTS };

/* Precision, recall or F1 of one class's counts; 0 where that is 0 / 0. */
double counts_part(const double counts[COUNT_PARTS], int part);
/* The average of n classes; occurring: only those that are predicted or true (NaN: there are none). */
double counts_average(const double *counts, int64_t n, int part, bool occurring);

/* finish of a metric that is the mean of its rows of one value */
double metric_mean(const metric_tally *t, const double *state, int64_t n);

/* A class must be in 0..classes-1. */
status metric_check_class(const metric_tally *t, int32_t id, const char *what);

#ifdef __cplusplus
}
#endif
#endif
