/* squad: exact match and F1 of words, as SQuAD 2.0's evaluation defines them: lower case, without ASCII
 * punctuation, without the words a, an and the; split at white space. Without words on either side both are 1
 * when neither has one, else 0 (SQuAD 1.1 differs: its F1 is 0 then). Of several truths the best counts, for
 * each of the two by itself. */
#include "recipes/metrics/form.h"
#include "recipes/metrics/grams.h"

#include <string.h>

static bool is_article(metric_text t)
{
    return words_equal(t, (metric_text){"a", 1}) || words_equal(t, (metric_text){"an", 2}) ||
           words_equal(t, (metric_text){"the", 3});
}

static metric_text drop_punctuation(metric_text in, char *to)
{
    size_t n = 0;

    for (size_t i = 0; i < in.length; i++)
        if (!words_is_punctuation((unsigned char)in.text[i]))
            to[n++] = in.text[i];
    return (metric_text){to, n};
}

/* Every run of letters that is an article becomes a blank. */
static void blank_articles(metric_text in, char *text)
{
    for (size_t at = 0, begin = 0; at <= in.length;) {
        uint32_t  c = ' ';
        const int bytes = at < in.length ? words_next(in, at, &c) : 1;
        if (!words_is_letter(c)) {
            if (is_article((metric_text){in.text + begin, at - begin}))
                memset(text + begin, ' ', at - begin);
            begin = at + (size_t)bytes;
        }
        at += (size_t)bytes;
    }
}

static status normalise(arena *a, metric_text in, word_list *out)
{
    metric_text low;
    char       *text;

    TRY(words_lower(a, in, &low));
    TRY_TAKE(text, a, low.length);
    low = drop_punctuation(low, text);
    blank_articles(low, text);
    return words_split(a, low, out);
}

static bool same(const word_list *x, const word_list *y)
{
    if (x->n != y->n)
        return false;
    for (int64_t i = 0; i < x->n; i++)
        if (!words_equal(x->v[i].text, y->v[i].text))
            return false;
    return true;
}

static status f1(arena *a, word_list lists[2], double *out)
{
    grams    g;
    uint32_t distinct;
    int64_t  hits;

    *out = lists[0].n == lists[1].n;
    if (lists[0].n == 0 || lists[1].n == 0)
        return STATUS_OK;
    TRY(words_number(a, lists, 2, &distinct));
    TRY(grams_of_words(a, lists, 2, &g));
    TRY(grams_longer(a, &g));
    TRY(grams_hits(a, &g, 0, 1, 1, &hits));
    *out = counts_part((double[]){(double)hits, (double)lists[0].n, (double)lists[1].n}, PART_F1);
    return STATUS_OK;
}

static status measure(const metric_tally *t, const metric_sample *s, bool whole, double *row)
{
    word_list lists[2];

    TRY(normalise(t->a, s->texts.predicted, &lists[0]));
    for (int i = 0; i < s->texts.n_truths; i++) {
        double figure;
        TRY(normalise(t->a, s->texts.truths[i], &lists[1]));
        if (whole)
            figure = same(&lists[0], &lists[1]);
        else
            TRY(f1(t->a, lists, &figure));
        if (figure > *row)
            *row = figure;
    }
    return STATUS_OK;
}

static status measure_exact(const metric_tally *t, const metric_sample *s, double *row)
{
    return measure(t, s, true, row);
}

static status measure_f1(const metric_tally *t, const metric_sample *s, double *row)
{
    return measure(t, s, false, row);
}

const metric_form metric_form_exact_match = {.width = 1, .measure = measure_exact, .finish = metric_mean};
const metric_form metric_form_token_f1 = {.width = 1, .measure = measure_f1, .finish = metric_mean};
