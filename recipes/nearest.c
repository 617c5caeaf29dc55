/* nearest: the hint that is made of edit distances */
#include "recipes/nearest.h"

#include "core/text.h"

#include <limits.h>
#include <string.h>

enum { HINTS_MAX = 4 };

/* Edits that still count as a misspelling of `name`. */
static int edits_allowed(const char *given, const char *name)
{
    const size_t lg = strlen(given), ln = strlen(name);
    const int    third = (int)((lg > ln ? lg : ln) / 3);

    return third > 2 ? third : 2;
}

/* Edits from given to name, or INT_MAX when it is not near. */
static int edits(const char *given, const char *name)
{
    const int allowed = edits_allowed(given, name), n = text_distance(given, name, allowed);

    return n <= allowed ? n : INT_MAX;
}

bool name_is_near(const char *given, const char *name)
{
    return edits(given, name) != INT_MAX;
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
    int best = INT_MAX, found = 0;

    for (int i = 0; i < n; i++) {
        const int d = edits(given, names[i]);
        best = d < best ? d : best;
    }
    if (best == INT_MAX)
        return list_names(a, names, n);

    const char *text = "did you mean ";
    for (int i = 0; i < n && text && found < HINTS_MAX; i++)
        if (edits(given, names[i]) == best)
            text = arena_printf(a, "%s%s'%s'", text, found++ ? " or " : "", names[i]);
    return text ? arena_printf(a, "%s?", text) : NULL;
}
