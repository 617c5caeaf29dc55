/* spans: two readings of tags
 *
 * The default mode is that of the old conlleval script: a span begins and ends wherever two neighbouring tags
 * cannot be of the same one, whatever the scheme. In strict mode a span must begin, go on and end as the
 * scheme says; what does not is no span. */
#include "recipes/metrics/spans.h"

#include <stdbool.h>
#include <string.h>

/* ---- names --------------------------------------------------------------------------------------------- */

/* What may follow what: previous prefixes, prefixes, and whether the types must be equal. */
typedef struct rule {
    const char *before, *now;
    enum { ANY, SAME, OTHER } types;
} rule;

enum { RULES = 5 };

typedef struct scheme_rules {
    const char *name, *prefixes;
    rule        begins[RULES], goes_on[RULES]; /* of this word, after the one before */
    rule        ends[RULES];                   /* of the word before, given this one */
} scheme_rules;

static const scheme_rules schemes[] = {
    {.name = NULL, .prefixes = "OBIES"},
    /* B only where a span follows another one of its type */
    {.name = "iob1",
     .prefixes = "OBI",
     .begins = {{"OB", "I", ANY}, {"I", "I", OTHER}, {"IB", "B", SAME}},
     .goes_on = {{"BI", "I", SAME}},
     .ends = {{"BI", "I", OTHER}, {"BI", "O", ANY}, {"I", "B", ANY}, {"B", "B", SAME}}},
    {.name = "iob2",
     .prefixes = "OBI",
     .begins = {{"OBI", "B", ANY}},
     .goes_on = {{"BI", "I", SAME}},
     .ends = {{"BI", "OB", ANY}, {"BI", "I", OTHER}}},
    {.name = "iobes",
     .prefixes = "OBIES",
     .begins = {{"OBIES", "BS", ANY}},
     .goes_on = {{"BI", "IE", SAME}},
     .ends = {{"ES", "OBIES", ANY}}},
};

static int32_t type_of(const char *const *names, int i)
{
    /* the first tag of the same type names it, so types are numbered by tags; gaps do no harm */
    for (int k = 0; k < i; k++)
        if (names[k][0] != 'O' && strcmp(names[k] + 1, names[i] + 1) == 0)
            return k;
    return i;
}

status span_tags_read(arena *a, const char *const *names, int n, const char *scheme, span_tags *out)
{
    span_tag *v;

    *out = (span_tags){.n = n, .n_types = n, .scheme = -1};
    for (int i = 0; i < (int)COUNT_OF(schemes); i++)
        if (scheme == schemes[i].name || (scheme && schemes[i].name && strcmp(scheme, schemes[i].name) == 0))
            out->scheme = i;
    if (out->scheme < 0)
        return fail(STATUS_USAGE, "the scheme of tags is '%s', must be iob1, iob2 or iobes", scheme);
    TRY_TAKE(v, a, n);
    for (int i = 0; i < n; i++) {
        const char  prefix = names[i][0];
        const char *allowed = schemes[out->scheme].prefixes;
        if (!prefix || !strchr(allowed, prefix) || (names[i][1] && (prefix == 'O' || names[i][1] != '-')))
            return fail(STATUS_FORMAT, "tag %d is '%s', must be O, or one of the letters %s and then -TYPE",
                        i, names[i], allowed + 1);
        v[i] = (span_tag){prefix, prefix == 'O' ? -1 : type_of(names, i)};
    }
    out->v = v;
    return STATUS_OK;
}

/* ---- default mode -------------------------------------------------------------------------------------- */

static bool in(char prefix, const char *set)
{
    return strchr(set, prefix) != NULL;
}

static bool loosely_ends(span_tag before, span_tag now)
{
    return before.prefix != 'O' &&
           (in(before.prefix, "ES") || in(now.prefix, "BSO") || before.type != now.type);
}

static bool loosely_begins(span_tag before, span_tag now)
{
    return now.prefix != 'O' &&
           (in(now.prefix, "BS") || in(before.prefix, "ESO") || before.type != now.type);
}

static const span_tag outside = {'O', -1};

static int64_t find_loosely(const span_tags *t, const int32_t *tags, int64_t n, span *out)
{
    span_tag before = outside;
    int64_t  begin = 0, found = 0;

    for (int64_t i = 0; i <= n; i++) {
        const span_tag now = i < n ? t->v[tags[i]] : outside;
        if (loosely_ends(before, now))
            out[found++] = (span){before.type, begin, i};
        if (loosely_begins(before, now))
            begin = i;
        before = now;
    }
    return found;
}

/* ---- strict mode --------------------------------------------------------------------------------------- */

static bool holds(const rule rules[RULES], span_tag before, span_tag now)
{
    for (const rule *r = rules; r < rules + RULES && r->before; r++)
        if (in(before.prefix, r->before) && in(now.prefix, r->now) &&
            (r->types == ANY || (r->types == SAME) == (before.type == now.type)))
            return true;
    return false;
}

static int64_t find_strictly(const span_tags *t, const int32_t *tags, int64_t n, span *out)
{
    const scheme_rules *s = &schemes[t->scheme];
    span_tag            before = outside;
    int64_t             found = 0;

    for (int64_t i = 0; i < n;) {
        const span_tag first = t->v[tags[i]];
        span_tag       now = outside;
        const int64_t  begin = i++;
        const bool     begins = holds(s->begins, before, first);
        before = first;
        if (!begins)
            continue;
        for (; i < n && holds(s->goes_on, before, t->v[tags[i]]); i++)
            before = t->v[tags[i]];
        if (i < n)
            now = t->v[tags[i]];
        if (holds(s->ends, before, now))
            out[found++] = (span){first.type, begin, i};
    }
    return found;
}

int64_t spans_find(const span_tags *t, const int32_t *tags, int64_t n, span *out)
{
    return t->scheme ? find_strictly(t, tags, n, out) : find_loosely(t, tags, n, out);
}
