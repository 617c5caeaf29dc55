/* metrics: how good predictions are, with the definitions of the reference implementations.
 *
 * A metric is a row of metrics.def. It is used in three moves: open a tally, add the samples one by one,
 * ask for the figure.
 *
 *     metric_tally t;
 *     TRY(metric_open(&t, &arena, "f1_macro", METRIC_CLASSES, &(metric_options){.classes = 3}, n));
 *     for (...)
 *         TRY(metric_add_class(&t, predicted, truth));
 *     TRY(metric_figure(&t, &f1));
 *
 * Of each sample a row of a fixed number of doubles is kept, and every figure is a function of these rows:
 * for most metrics of their sum (counts of n-grams, of hits in a class), for those of ranks of all of them.
 * So the bootstrap is one function: it draws rows and computes the figure of the corpus from what it drew.
 *
 * Figures lie in 0..1, but for BLEU and chrF, which sacrebleu gives in 0..100, and the open ones (errors,
 * perplexity). What is not defined is NaN where the reference says so, and 0 where the reference says 0:
 *   precision, recall, F1   0 for a class that nobody predicted, or that does not occur (scikit-learn's
 *                           zero_division); NaN for the macro mean of spans when there is no span at all
 *   matthews                0 when all predictions or all truths are of one class
 *   pearson, spearman       NaN when one side is constant, or with less than two samples
 *   perplexity              NaN without targets
 *   all                     NaN without samples
 *
 * Texts are UTF-8. A byte that is not valid there counts as the character U+FFFD. */
#ifndef RECIPES_METRICS_H
#define RECIPES_METRICS_H

#include "core/arena.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a sample is. */
typedef enum metric_input {
    METRIC_CLASSES = 1,  /* one class of several */
    METRIC_LABELS = 2,   /* any number of labels out of several */
    METRIC_SCORES = 4,   /* a score (for calibration: a probability) for each class, and the true class */
    METRIC_VALUES = 8,   /* a number */
    METRIC_TAGS = 16,    /* a tag for each word of a sentence */
    METRIC_TEXTS = 32,   /* a text, and one or more true ones */
    METRIC_LOSSES = 64   /* the sum of the losses of some tokens, and how many they are */
} metric_input;

typedef struct metric metric; /* a row of the table: recipes/metrics/form.h */

/* What some metrics need to know. */
typedef struct metric_options {
    int                classes; /* of CLASSES, LABELS and SCORES */
    int                k;       /* top_k: 1..classes */
    int                bins;    /* calibration errors; 0: 15 */
    const char *const *tags;    /* TAGS: the name of each tag ("O", "B-PER"); must outlive the tally */
    int                n_tags;
    const char        *scheme;  /* TAGS: NULL: seqeval's default mode, which forgives (any of O B I E S);
                                   "iob1", "iob2", "iobes": its strict mode, spans that obey the scheme */
} metric_options;

typedef struct metric_text {
    const char *text;
    size_t      length;
} metric_text;

/* The rows of one metric. Fields are private. */
typedef struct metric_tally {
    const metric  *m;
    metric_input   input;
    metric_options o;
    arena         *a;        /* holds the rows; scratch of a call is given back at its end */
    const void    *prepared; /* what the metric made of its options */
    int64_t        n, room, width, state;
    double        *rows;     /* [room, width] */
} metric_tally;

/* Opens a tally for at most `room` samples; it lives until the arena is rewound. Fails with STATUS_USAGE when
 * there is no such metric (naming the nearest), when it is not one of `input`, or when an option is missing
 * or out of range. */
status metric_open(metric_tally *t, arena *a, const char *name, metric_input input, const metric_options *o,
                   int64_t room);

/* Adds a sample of the input kind that the tally was opened with. Classes and tags that do not exist, and
 * probabilities outside 0..1, fail with STATUS_FORMAT. */
status metric_add_class(metric_tally *t, int32_t predicted, int32_t truth);
status metric_add_labels(metric_tally *t, const uint8_t *predicted, const uint8_t *truth); /* [classes] 0/1 */
status metric_add_scores(metric_tally *t, const double *scores, int32_t truth);            /* [classes] */
status metric_add_value(metric_tally *t, double predicted, double truth);
status metric_add_tags(metric_tally *t, const int32_t *predicted, const int32_t *truth, int64_t n); /* [n] */
/* Several truths: the best one counts (BLEU: their n-grams together, and the length nearest). */
status metric_add_text(metric_tally *t, metric_text predicted, const metric_text *truths, int n_truths);
status metric_add_loss(metric_tally *t, double sum, double targets);

/* The figure of all samples. */
status metric_figure(const metric_tally *t, double *out);

typedef struct metric_interval {
    double  lo, hi;
    int64_t undefined; /* resamples without a figure (one class only, constant values); they are left out */
} metric_interval;

/* Bootstrap confidence interval by sample (Efron's percentile interval): `resamples` times as many samples as
 * there are, drawn with replacement; lo and hi are the (1 - level) / 2 and (1 + level) / 2 quantiles of their
 * figures, linear between neighbours. Draw i of resample b is the sample r n / 2^32, with r the word i % 4 of
 * Philox at (i / 4, b) under the key "bootstrap" of the seed: the same for every metric, so the intervals of
 * two systems on the same samples may be compared pair by pair. NaN when no resample has a figure. */
status metric_bootstrap(const metric_tally *t, uint64_t seed, int64_t resamples, double level,
                        metric_interval *out);

/* A figure with its names and, if it was resampled, an interval of 95 %. */
typedef struct metric_result {
    const char     *name, *title; /* "rouge_l", "ROUGE-L" */
    double          value;
    bool            resampled;
    metric_interval interval;
} metric_result;
#define METRIC_LEVEL 0.95
status metric_result_of(const metric_tally *t, uint64_t seed, int64_t resamples, metric_result *out);

/* Mean and sample standard deviation (n - 1) of a figure over seeds; the deviation of one is NaN. */
void metric_over_seeds(const double *figures, int64_t n, double *mean, double *deviation);

/* The table: the i-th metric's name, the same as people write it ("ROUGE-L"), and a sentence of help, NULL
 * behind the last; and what it takes, a union of metric_input. */
const char *metric_name(int i);
const char *metric_title(int i);
const char *metric_help(int i);
unsigned    metric_inputs(int i);
const char *metric_title_of(const metric_tally *t);
/* True of a metric that compares its samples with each other (correlations, ranks), so that values of several kinds
 * cannot share one. */
bool metric_is_joint(const char *name);
/* True of a metric whose figures are the better the smaller they are. */
bool metric_is_error(const char *name);

/* The names of all metrics of texts, each behind a bar: "|exact_match|token_f1|...". Choices for a key are
 * this text from its second character on. */
extern const char metric_text_names[];

#ifdef __cplusplus
}
#endif
#endif
