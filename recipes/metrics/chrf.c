/* chrf: chrF (Popović 2015) and chrF++ (2017) as sacrebleu computes them: grams of 1 to 6 characters without
 * white space, chrF++ also of 1 and 2 words, beta = 2.
 *
 * row = (grams of the prediction, of the truth, hits)[orders]
 *
 * P and R are the means of hits / grams over the orders that both have; (1 + beta^2) P R / (beta^2 P + R).
 * Several truths: the one with the best score of the sample counts, the first of equal ones. */
#include "recipes/metrics/form.h"
#include "recipes/metrics/grams.h"

#include <string.h>

enum { CHARACTERS = 6, LARGEST_WORDS = 2, PREDICTED = 0, TRUTH = 1, HITS = 2, PARTS = 3 };
enum { LARGEST_WIDTH = PARTS * (CHARACTERS + LARGEST_WORDS) };

static double score(const double *row, int64_t width)
{
    const double beta_2 = 4;
    double       precision = 0, recall = 0;
    int          orders = 0;

    for (const double *c = row; c < row + width; c += PARTS)
        if (c[PREDICTED] > 0 && c[TRUTH] > 0) {
            precision += c[HITS] / c[PREDICTED];
            recall += c[HITS] / c[TRUTH];
            orders++;
        }
    if (orders == 0 || precision + recall == 0)
        return 0;
    precision /= orders;
    recall /= orders;
    return 100 * (1 + beta_2) * precision * recall / (beta_2 * precision + recall);
}

/* Words, a mark of punctuation at the end (or else at the begin) of a longer one by itself. */
static status split(arena *a, metric_text text, word_list *out)
{
    word_list raw;

    TRY(words_split(a, text, &raw));
    TRY_TAKE(out->v, a, 2 * raw.n);
    out->n = 0;
    for (int64_t i = 0; i < raw.n; i++) {
        const metric_text w = raw.v[i].text;
        size_t            cut = w.length;
        if (w.length > 1 && words_is_punctuation((unsigned char)w.text[w.length - 1]))
            cut = w.length - 1;
        else if (w.length > 1 && words_is_punctuation((unsigned char)w.text[0]))
            cut = 1;
        out->v[out->n++] = (word){.text = {w.text, cut}};
        if (cut < w.length)
            out->v[out->n++] = (word){.text = {w.text + cut, w.length - cut}};
    }
    return STATUS_OK;
}

static status count(arena *a, grams *g, int orders, double *row)
{
    for (int n = 0; n < orders; n++) {
        int64_t hits;
        TRY(grams_longer(a, g));
        TRY(grams_hits(a, g, 0, 1, 1, &hits));
        row[n * PARTS + PREDICTED] = g->v[1].n > 0 ? (double)g->v[0].n : 0;
        row[n * PARTS + TRUTH] = (double)g->v[1].n;
        row[n * PARTS + HITS] = (double)hits;
    }
    return STATUS_OK;
}

static status count_pair(const metric_tally *t, metric_text predicted, metric_text truth, double *row)
{
    const metric_text texts[2] = {predicted, truth};
    word_list         lists[2];
    grams             g;
    uint32_t          distinct;

    TRY(grams_of_characters(t->a, texts, 2, &g));
    TRY(count(t->a, &g, CHARACTERS, row));
    if (t->m->part == 0)
        return STATUS_OK;
    for (int k = 0; k < 2; k++)
        TRY(split(t->a, texts[k], &lists[k]));
    TRY(words_number(t->a, lists, 2, &distinct));
    TRY(grams_of_words(t->a, lists, 2, &g));
    return count(t->a, &g, t->m->part, row + CHARACTERS * PARTS);
}

static status open_chrf(metric_tally *t)
{
    CHECK(t->m->part <= LARGEST_WORDS);
    t->width = PARTS * (CHARACTERS + t->m->part);
    return STATUS_OK;
}

static status measure(const metric_tally *t, const metric_sample *s, double *row)
{
    double best = -1, one[LARGEST_WIDTH];

    for (int i = 0; i < s->texts.n_truths; i++) {
        TRY(count_pair(t, s->texts.predicted, s->texts.truths[i], one));
        if (score(one, t->width) > best) {
            best = score(one, t->width);
            memcpy(row, one, (size_t)t->width * sizeof *row);
        }
    }
    return STATUS_OK;
}

static double finish(const metric_tally *t, const double *state, int64_t n)
{
    (void)n;
    return score(state, t->width);
}

const metric_form metric_form_chrf = {.open = open_chrf, .measure = measure, .finish = finish};
