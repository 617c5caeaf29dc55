/* rouge: longest common subsequence of words */
#include "recipes/rouge.h"

#include <string.h>

typedef struct word {
    const char *text;
    size_t      n;
} word;

static int fold(int c)
{
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

static int in_word(int c)
{
    c = fold(c);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static status split(arena *a, const char *text, size_t n, word **out, size_t *count)
{
    word  *w;
    size_t k = 0;

    TRY_TAKE(w, a, n / 2 + 1);
    for (size_t i = 0; i < n;) {
        if (!in_word((unsigned char)text[i])) {
            i++;
            continue;
        }
        w[k].text = text + i;
        while (i < n && in_word((unsigned char)text[i]))
            i++;
        w[k].n = (size_t)(text + i - w[k].text);
        k++;
    }
    *out = w;
    *count = k;
    return STATUS_OK;
}

static int equal(const word *a, const word *b)
{
    if (a->n != b->n)
        return 0;
    for (size_t i = 0; i < a->n; i++)
        if (fold((unsigned char)a->text[i]) != fold((unsigned char)b->text[i]))
            return 0;
    return 1;
}

status rouge_l(arena *a, const char *answer, size_t n_answer, const char *truth, size_t n_truth,
               double *f1)
{
    const size_t mark = arena_mark(a);
    word        *x, *y;
    size_t       n, m, *row;

    TRY(split(a, answer, n_answer, &x, &n));
    TRY(split(a, truth, n_truth, &y, &m));
    TRY_TAKE(row, a, m + 1);
    memset(row, 0, (m + 1) * sizeof *row);
    for (size_t i = 0; i < n; i++) {
        size_t corner = 0; /* of the row above, one to the left */
        for (size_t j = 1; j <= m; j++) {
            const size_t above = row[j];
            row[j] = equal(&x[i], &y[j - 1]) ? corner + 1 : above > row[j - 1] ? above : row[j - 1];
            corner = above;
        }
    }
    const double common = (double)row[m];
    *f1 = common > 0 ? 2 * common / (double)(n + m) : 0;
    arena_rewind(a, mark);
    return STATUS_OK;
}
