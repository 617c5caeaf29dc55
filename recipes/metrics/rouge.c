/* rouge: F1 of ROUGE-N, -L and -Lsum (Lin 2004) as rouge_score computes them, without stemming. Words are
 * runs of a-z and 0-9 of the text in lower case; everything else, other alphabets too, is a border.
 *
 * row = 2 P R / (P + R), P and R = common / those of the prediction, of the truth; 0 when there is nothing in
 * common. Of several truths the best counts. What is in common:
 *   N     grams of N words
 *   L     the longest common subsequence of words
 *   Lsum  of every line of the truth the words that are in its longest common subsequence with any line of
 *         the prediction, each word at most as often as the prediction has it */
#include "recipes/metrics/form.h"
#include "recipes/metrics/grams.h"

#include <string.h>

static bool in_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static status split(arena *a, metric_text text, word_list *out)
{
    metric_text low;
    bool        inside = false;

    TRY(words_lower(a, text, &low));
    TRY_TAKE(out->v, a, low.length / 2 + 1);
    out->n = 0;
    for (size_t i = 0; i < low.length; i++) {
        if (in_word(low.text[i]) && !inside)
            out->v[out->n++] = (word){.text = {low.text + i, 0}};
        inside = in_word(low.text[i]);
        if (inside)
            out->v[out->n - 1].text.length++;
    }
    return STATUS_OK;
}

static double f1(double common, double predicted, double truth)
{
    return counts_part((double[]){common, predicted, truth}, PART_F1);
}

/* Lists [0] of the prediction and [1] of the truth to their figure. */
typedef status (*judge)(const metric_tally *t, word_list lists[2], double *out);

static status best_of(const metric_tally *t, const metric_texts *s, judge one, double *row)
{
    word_list lists[2];
    double    figure;

    TRY(split(t->a, s->predicted, &lists[0]));
    for (int i = 0; i < s->n_truths; i++) {
        TRY(split(t->a, s->truths[i], &lists[1]));
        TRY(one(t, lists, &figure));
        if (figure > *row)
            *row = figure;
    }
    return STATUS_OK;
}

/* ---- ROUGE-N ------------------------------------------------------------------------------------------- */

static status judge_n(const metric_tally *t, word_list lists[2], double *out)
{
    grams    g;
    uint32_t distinct;
    int64_t  hits;

    TRY(words_number(t->a, lists, 2, &distinct));
    TRY(grams_of_words(t->a, lists, 2, &g));
    while (g.order < t->m->part)
        TRY(grams_longer(t->a, &g));
    TRY(grams_hits(t->a, &g, 0, 1, 1, &hits));
    *out = f1((double)hits, (double)g.v[0].n, (double)g.v[1].n);
    return STATUS_OK;
}

static status measure_n(const metric_tally *t, const metric_sample *s, double *row)
{
    return best_of(t, &s->texts, judge_n, row);
}

/* ---- ROUGE-L ------------------------------------------------------------------------------------------- */

static status judge_l(const metric_tally *t, word_list lists[2], double *out)
{
    const word_list *x = &lists[0], *y = &lists[1];
    int64_t         *row;
    uint32_t         distinct;

    TRY(words_number(t->a, lists, 2, &distinct));
    TRY_TAKE(row, t->a, y->n + 1);
    memset(row, 0, (size_t)(y->n + 1) * sizeof *row);
    for (int64_t i = 0; i < x->n; i++) {
        int64_t corner = 0; /* of the row above, one to the left */
        for (int64_t j = 1; j <= y->n; j++) {
            const int64_t above = row[j];
            row[j] = x->v[i].id == y->v[j - 1].id ? corner + 1 : above > row[j - 1] ? above : row[j - 1];
            corner = above;
        }
    }
    *out = f1((double)row[y->n], (double)x->n, (double)y->n);
    return STATUS_OK;
}

static status measure_l(const metric_tally *t, const metric_sample *s, double *row)
{
    return best_of(t, &s->texts, judge_l, row);
}

/* ---- ROUGE-Lsum ---------------------------------------------------------------------------------------- */

/* Word lists of the lines that have words. */
static status split_lines(arena *a, metric_text text, word_list **lines, int *n)
{
    size_t breaks = 0;

    for (size_t i = 0; i < text.length; i++)
        breaks += text.text[i] == '\n';
    TRY_TAKE(*lines, a, breaks + 1);
    *n = 0;
    for (size_t begin = 0, end; begin <= text.length; begin = end + 1) {
        const char *stop = memchr(text.text + begin, '\n', text.length - begin);
        end = stop ? (size_t)(stop - text.text) : text.length;
        TRY(split(a, (metric_text){text.text + begin, end - begin}, &(*lines)[*n]));
        *n += (*lines)[*n].n > 0;
    }
    return STATUS_OK;
}

/* Marks the words of x that are in one longest common subsequence with y: of several the one that is found
 * from the end by stepping back in x unless only stepping back in y keeps its length. */
static status mark_common(arena *a, const word_list *x, const word_list *y, bool *marks)
{
    const size_t  mark = arena_mark(a);
    const int64_t W = y->n + 1;
    int32_t      *v; /* [x->n + 1, W]: lengths of the beginnings */

    TRY_TAKE(v, a, (x->n + 1) * W);
    memset(v, 0, (size_t)((x->n + 1) * W) * sizeof *v);
    for (int64_t i = 1; i <= x->n; i++)
        for (int64_t j = 1; j <= y->n; j++) {
            const int32_t above = v[(i - 1) * W + j], left = v[i * W + j - 1];
            v[i * W + j] = x->v[i - 1].id == y->v[j - 1].id ? v[(i - 1) * W + j - 1] + 1
                                                            : above > left ? above : left;
        }
    for (int64_t i = x->n, j = y->n; i > 0 && j > 0;)
        if (x->v[i - 1].id == y->v[j - 1].id) {
            marks[i - 1] = true;
            i--, j--;
        } else if (v[i * W + j - 1] > v[(i - 1) * W + j])
            j--;
        else
            i--;
    arena_rewind(a, mark);
    return STATUS_OK;
}

static int64_t count_words(const word_list *lines, int n)
{
    int64_t all = 0;

    for (int k = 0; k < n; k++)
        all += lines[k].n;
    return all;
}

/* lines: n of the prediction, then m of the truth, numbered together */
static status union_hits(arena *a, const word_list *lines, int n, int m, uint32_t distinct, double *out)
{
    int64_t *room, hits = 0; /* how often a word may still be counted */

    TRY_TAKE(room, a, distinct);
    memset(room, 0, distinct * sizeof *room);
    for (int k = 0; k < n; k++)
        for (int64_t i = 0; i < lines[k].n; i++)
            room[lines[k].v[i].id]++;
    for (const word_list *r = lines + n; r < lines + n + m; r++) {
        bool *marks;
        TRY_TAKE(marks, a, r->n);
        memset(marks, 0, (size_t)r->n * sizeof *marks);
        for (int k = 0; k < n; k++)
            TRY(mark_common(a, r, &lines[k], marks));
        for (int64_t i = 0; i < r->n; i++)
            if (marks[i] && room[r->v[i].id] > 0) {
                hits++;
                room[r->v[i].id]--;
            }
    }
    *out = f1((double)hits, (double)count_words(lines, n), (double)count_words(lines + n, m));
    return STATUS_OK;
}

static status measure_lsum(const metric_tally *t, const metric_sample *s, double *row)
{
    word_list *predicted, *truth, *lines;
    uint32_t   distinct;
    int        n, m;

    TRY(split_lines(t->a, s->texts.predicted, &predicted, &n));
    for (int i = 0; i < s->texts.n_truths; i++) {
        double figure;
        TRY(split_lines(t->a, s->texts.truths[i], &truth, &m));
        TRY_TAKE(lines, t->a, n + m);
        memcpy(lines, predicted, (size_t)n * sizeof *lines);
        memcpy(lines + n, truth, (size_t)m * sizeof *lines);
        TRY(words_number(t->a, lines, n + m, &distinct));
        TRY(union_hits(t->a, lines, n, m, distinct, &figure));
        if (figure > *row)
            *row = figure;
    }
    return STATUS_OK;
}

const metric_form metric_form_rouge_n = {.width = 1, .measure = measure_n, .finish = metric_mean};
const metric_form metric_form_rouge_l = {.width = 1, .measure = measure_l, .finish = metric_mean};
const metric_form metric_form_rouge_lsum = {.width = 1, .measure = measure_lsum, .finish = metric_mean};
