/* text: globs and edit distance */
#include "core/text.h"

#include <stdlib.h>
#include <string.h>

bool text_matches(const char *pattern, const char *text)
{
    const char *star = NULL, *from = NULL;

    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            from = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++from;
        } else
            return false;
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

bool text_ends(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

int text_index(const char *text, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], text) == 0)
            return i;
    return -1;
}

static int least(int a, int b, int c)
{
    const int m = a < b ? a : b;
    return m < c ? m : c;
}

/* Optimal string alignment distance, three rows at a time. */
int text_distance(const char *a, const char *b, int limit)
{
    enum { LONGEST = 128 };
    const int n = (int)strlen(a), m = (int)strlen(b);
    int       rows[3][LONGEST + 1];

    if (n > LONGEST || m > LONGEST || abs(n - m) > limit)
        return limit + 1;
    for (int j = 0; j <= m; j++)
        rows[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            now[j] = least(last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
    }
    const int d = rows[n % 3][m];
    return d > limit ? limit + 1 : d;
}

const char *text_nearest(const char *wrong, const char *const *names, int n)
{
    const int   third = (int)strlen(wrong) / 3, limit = third > 2 ? third : 2;
    int         best = limit + 1;
    const char *nearest = NULL;

    for (int i = 0; i < n; i++) {
        const int d = text_distance(wrong, names[i], limit);
        if (d < best) {
            best = d;
            nearest = names[i];
        }
    }
    return nearest;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int64_t text_sort(const char **v, int64_t n)
{
    int64_t kept = 0;

    qsort(v, (size_t)n, sizeof *v, compare_texts);
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || strcmp(v[i], v[kept - 1]) != 0)
            v[kept++] = v[i];
    return kept;
}

int64_t text_sorted_index(const char *text, const char *const *sorted, int64_t n)
{
    const char *const *at = n > 0 ? bsearch(&text, sorted, (size_t)n, sizeof *sorted, compare_texts) : NULL;

    return at ? at - sorted : -1;
}
