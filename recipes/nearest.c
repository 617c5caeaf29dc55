/* nearest: edit distance and the hint that is made of it */
#include "recipes/nearest.h"

#include <string.h>

enum { NAME_LENGTH_MAX = 128, HINTS_MAX = 4 };

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

int name_distance(const char *a, const char *b)
{
    const size_t la = strlen(a), lb = strlen(b);
    int          rows[3][NAME_LENGTH_MAX + 1]; /* the last three rows, by i % 3 */

    if (la > NAME_LENGTH_MAX || lb > NAME_LENGTH_MAX)
        return NAME_LENGTH_MAX + 1;
    for (size_t j = 0; j <= lb; j++)
        rows[0][j] = (int)j;
    for (size_t i = 1; i <= la; i++) {
        int       *now = rows[i % 3];
        const int *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];

        now[0] = (int)i;
        for (size_t j = 1; j <= lb; j++) {
            now[j] = min_int(min_int(above[j], now[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = min_int(now[j], two_above[j - 2] + 1);
        }
    }
    return rows[la % 3][lb];
}

bool name_is_near(const char *given, const char *name)
{
    const size_t lg = strlen(given), ln = strlen(name);
    const int    third = (int)((lg > ln ? lg : ln) / 3);

    return name_distance(given, name) <= (third > 2 ? third : 2);
}

static const char *list_names(arena *a, const char *const *names, int n)
{
    const char *text = "";

    for (int i = 0; i < n && text; i++)
        text = arena_printf(a, "%s%s%s", text, i ? ", " : "", names[i]);
    return text ? arena_printf(a, "valid: %s", n ? text : "none") : NULL;
}

const char *name_hint(arena *a, const char *given, const char *const *names, int n)
{
    int best = NAME_LENGTH_MAX + 1, found = 0;

    for (int i = 0; i < n; i++)
        if (name_is_near(given, names[i]))
            best = min_int(best, name_distance(given, names[i]));
    if (best > NAME_LENGTH_MAX)
        return list_names(a, names, n);

    const char *text = "did you mean ";
    for (int i = 0; i < n && text && found < HINTS_MAX; i++)
        if (name_distance(given, names[i]) == best)
            text = arena_printf(a, "%s%s'%s'", text, found++ ? " or " : "", names[i]);
    return text ? arena_printf(a, "%s?", text) : NULL;
}
