/* site: which sites a recipe's patterns select */
#include "layers/site.h"

#include "core/text.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

static bool names_match(const site *s, const char *pattern)
{
    char end[256];

    if (strcmp(pattern, "all-linear") == 0)
        return s->kind == SITE_LINEAR;
    if (text_matches(pattern, s->name) || text_matches(pattern, s->checkpoint))
        return true;
    return (size_t)snprintf(end, sizeof end, "*.%s", pattern) < sizeof end &&
           text_matches(end, s->checkpoint);
}

/* What a pattern selects: `other` is a site of another kind than the wanted ones, or NULL. */
typedef struct selection {
    uint32_t    kinds;
    bool       *match;
    int         found;
    const site *other;
} selection;

static void select_site(selection *x, const site *s, int i)
{
    if (s->kind & x->kinds) {
        x->match[i] = true;
        x->found++;
    } else
        x->other = s;
}

/* Selects the sites whose checkpoint name the expression matches as a whole. */
static status match_expression(const site *sites, int n, const char *expression, selection *x)
{
    int           code;
    size_t        at;
    pcre2_code   *re = pcre2_compile((PCRE2_SPTR)expression, PCRE2_ZERO_TERMINATED,
                                     PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF, &code, &at, NULL);

    if (!re) {
        char text[128];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
        return fail(STATUS_USAGE, "re:%s: not a regular expression, at character %zu: %s",
                    expression, at + 1, text);
    }
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(re, NULL);
    for (int i = 0; i < n; i++) {
        const PCRE2_SPTR name = (PCRE2_SPTR)sites[i].checkpoint;
        if (pcre2_match(re, name, PCRE2_ZERO_TERMINATED, 0, 0, data, NULL) >= 0)
            select_site(x, &sites[i], i);
    }
    pcre2_match_data_free(data);
    pcre2_code_free(re);
    return STATUS_OK;
}

/* "block.0.attn.q (q_proj), block.0.attn.k (k_proj), ..." and the name nearest to a wrong one. */
static status nothing_matches(const site *sites, int n, uint32_t kinds, const char *pattern)
{
    const char *names[64] = {NULL};
    int         n_names = 0;

    for (int i = 0; i < n && n_names + 2 <= (int)COUNT_OF(names); i++) {
        const char *dot = strrchr(sites[i].checkpoint, '.');
        if (sites[i].block > 0 || !(sites[i].kind & kinds))
            continue;
        names[n_names++] = dot ? dot + 1 : sites[i].checkpoint;
        names[n_names++] = sites[i].name;
    }
    const char *nearest = text_nearest(pattern, names, n_names);
    char        some[256] = "";
    for (int i = 0; i < n_names && strlen(some) + 64 < sizeof some; i += 2)
        snprintf(some + strlen(some), sizeof some - strlen(some), "%s%s (%s)", i ? ", " : "",
                 names[i + 1], names[i]);
    if (nearest)
        return fail(STATUS_USAGE, "'%s' selects no site; did you mean '%s'?", pattern, nearest);
    return fail(STATUS_USAGE, "'%s' selects no site; the sites of block 0 are %s, ...", pattern,
                some);
}

status sites_match(const site *sites, int n, uint32_t kinds, const char *const *patterns, int n_patterns,
                   bool *match)
{
    for (int p = 0; p < n_patterns; p++) {
        selection x = {.kinds = kinds, .match = match};
        if (strncmp(patterns[p], "re:", 3) == 0)
            TRY(match_expression(sites, n, patterns[p] + 3, &x));
        else
            for (int i = 0; i < n; i++)
                if (names_match(&sites[i], patterns[p]))
                    select_site(&x, &sites[i], i);
        if (x.found == 0 && x.other)
            return fail(STATUS_USAGE, "'%s' selects %s, where this method cannot sit", patterns[p], x.other->name);
        if (x.found == 0)
            return nothing_matches(sites, n, kinds, patterns[p]);
    }
    return STATUS_OK;
}
