/* bleu: as sacrebleu computes it: 13a words, grams up to 4, exponential smoothing.
 *
 * row = words, words of the truth, hits[4], grams[4]
 *
 * BLEU = min(1, exp(1 - truth / words)) (prod_n p_n)^(1/4), p_n = 100 hits_n / grams_n. The k-th order
 * without a hit has 1 in place of hits and 2^k times its grams; without any hit, or with no grams of an
 * order, BLEU is 0. Of sentences the effective order is taken, as sacrebleu's sentence_bleu does: only the
 * orders that have grams. Several truths: a gram hits as often as it is in the truth that has it most often,
 * and the truth with the nearest number of words gives the length (of equally near ones the shorter). */
#include "recipes/metrics/form.h"
#include "recipes/metrics/grams.h"
#include "recipes/metrics/words_13a.h"

#include <math.h>
#include <stdlib.h>

enum { ORDERS = 4, WORDS = 0, TRUTH = 1, HITS = 2, GRAMS = HITS + ORDERS, WIDTH = GRAMS + ORDERS };

static int64_t nearest(const word_list *lists, int n)
{
    int64_t best = lists[1].n;

    for (int k = 2; k <= n; k++) {
        const int64_t gap = llabs(lists[k].n - lists[0].n) - llabs(best - lists[0].n);
        if (gap < 0 || (gap == 0 && lists[k].n < best))
            best = lists[k].n;
    }
    return best;
}

static status count(arena *a, const metric_texts *s, double row[WIDTH])
{
    word_list *lists; /* [0]: predicted, then the truths */
    grams      g;
    uint32_t   distinct;

    TRY_TAKE(lists, a, s->n_truths + 1);
    TRY(words_13a(a, s->predicted, &lists[0]));
    for (int i = 0; i < s->n_truths; i++)
        TRY(words_13a(a, s->truths[i], &lists[1 + i]));
    TRY(words_number(a, lists, s->n_truths + 1, &distinct));
    TRY(grams_of_words(a, lists, s->n_truths + 1, &g));
    row[WORDS] = (double)lists[0].n;
    row[TRUTH] = (double)nearest(lists, s->n_truths);
    for (int n = 0; n < ORDERS; n++) {
        int64_t hits;
        TRY(grams_longer(a, &g));
        TRY(grams_hits(a, &g, 0, 1, s->n_truths, &hits));
        row[HITS + n] = (double)hits;
        row[GRAMS + n] = (double)g.v[0].n;
    }
    return STATUS_OK;
}

static double bleu(const double row[WIDTH], bool effective)
{
    const double brevity = row[WORDS] < row[TRUTH] ? exp(1 - row[TRUTH] / row[WORDS]) : 1;
    double       logs = 0, doubled = 1, any = 0;
    int          n;

    for (n = 0; n < ORDERS; n++)
        any += row[HITS + n];
    if (any == 0)
        return 0;
    for (n = 0; n < ORDERS && row[GRAMS + n] > 0; n++) {
        if (row[HITS + n] == 0)
            doubled *= 2;
        logs += log(100 * (row[HITS + n] > 0 ? row[HITS + n] : 1 / doubled) / row[GRAMS + n]);
    }
    if (n < ORDERS && !effective)
        return 0;
    return brevity * exp(logs / n);
}

static status measure(const metric_tally *t, const metric_sample *s, double *row)
{
    return count(t->a, &s->texts, row);
}

static double finish(const metric_tally *t, const double *state, int64_t n)
{
    (void)t, (void)n;
    return bleu(state, false);
}

static status measure_sentence(const metric_tally *t, const metric_sample *s, double *row)
{
    double counts[WIDTH];

    TRY(count(t->a, &s->texts, counts));
    row[0] = bleu(counts, true);
    return STATUS_OK;
}

const metric_form metric_form_bleu = {.width = WIDTH, .measure = measure, .finish = finish};
const metric_form metric_form_bleu_sentence = {
    .width = 1, .measure = measure_sentence, .finish = metric_mean};
