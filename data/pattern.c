/* pattern: regular expressions of tokenizer files.
 *
 * Patterns are written for Oniguruma. PCRE2 reads the same syntax, but its \s also holds U+180E, its
 * \w lacks marks, and its \p{Han} also holds what is used with Han: these are replaced by what they
 * mean there; and its ^ and $ need the multi-line option to mean lines. */
#include "core/utf8.h"
#include "data/tokenizer_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char SPACE[] = "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}"
                            "\\x{202F}\\x{205F}\\x{3000}";
static const char NO_SPACE[] =
    "\\x{0}-\\x{8}\\x{E}-\\x{1F}!-\\x{84}\\x{86}-\\x{9F}\\x{A1}-\\x{167F}\\x{1681}-\\x{1FFF}"
    "\\x{200B}-\\x{2027}\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}"
    "\\x{3001}-\\x{D7FF}\\x{E000}-\\x{10FFFF}";

static const char WORD[] = "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\xB2\\xB3\\xB9\\xBC-\\xBE\\x{24B6}-\\x{24E9}"
                           "\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}";

/* Names of scripts that PCRE2 takes for script extensions, which are wider. */
static bool is_script(const char *name, size_t n)
{
    static const char *const scripts[] = {
        "Arabic", "Armenian", "Bengali",  "Bopomofo", "Common",   "Cyrillic", "Devanagari",
        "Greek",  "Gujarati", "Gurmukhi", "Han",      "Hangul",   "Hebrew",   "Hiragana",
        "Kannada", "Katakana", "Latin",   "Malayalam", "Mongolian", "Myanmar", "Tamil",
        "Telugu", "Thai",     "Tibetan"};

    for (size_t i = 0; i < COUNT_OF(scripts); i++)
        if (strlen(scripts[i]) == n && memcmp(scripts[i], name, n) == 0)
            return true;
    return false;
}

/* \p{Han} at p[0, n): writes \p{sc:Han} and returns the bytes read, or 0. */
static size_t replace_script(const char *p, size_t n, char **out)
{
    const char *end = n > 3 && p[2] == '{' ? memchr(p, '}', n) : NULL;
    const bool not = end && p[3] == '^';
    const char *name = p + 3 + not;

    if (!end || !is_script(name, (size_t)(end - name)))
        return 0;
    *out += sprintf(*out, "\\%c{%ssc:%.*s}", p[1], not ? "^" : "", (int)(end - name), name);
    return (size_t)(end - p) + 1;
}

/* Replaces \s and \S and names of scripts; out has room for n * sizeof NO_SPACE bytes. */
static size_t replace_space(const char *pattern, size_t n, char *out)
{
    char *p = out;
    bool class = false;

    for (size_t i = 0; i < n; i++) {
        if (pattern[i] == '\\' && i + 1 < n) {
            const char kind = pattern[++i];
            const size_t script =
                kind == 'p' || kind == 'P' ? replace_script(pattern + i - 1, n - i + 1, &p) : 0;
            if (script > 0) {
                i += script - 2;
                continue;
            }
            if (kind == 's' || kind == 'S')
                p += sprintf(p, "%s%s%s", class ? "" : "[", kind == 's' ? SPACE : NO_SPACE,
                             class ? "" : "]");
            else if (kind == 'w' || (kind == 'W' && !class))
                p += sprintf(p, "%s%s%s", class ? "" : kind == 'w' ? "[" : "[^", WORD,
                             class ? "" : "]");
            else {
                *p++ = '\\';
                *p++ = kind;
            }
            continue;
        }
        if (pattern[i] == '[' && !class) {
            class = true;
            *p++ = '[';
            if (i + 1 < n && pattern[i + 1] == '^')
                *p++ = pattern[++i];
            if (i + 1 < n && pattern[i + 1] == ']')
                *p++ = pattern[++i];
            continue;
        }
        if (pattern[i] == ']')
            class = false;
        *p++ = pattern[i];
    }
    return (size_t)(p - out);
}

status pattern_open(tokenizer *t, const char *part, const char *text, size_t n, bool literal,
                    pcre2_code **out)
{
    int error;
    PCRE2_SIZE at;

    if (n == 0 || n > 4096)
        return fail(STATUS_FORMAT, "%s: a %s pattern has %zu bytes, must have 1..4096", t->what,
                    part, n);
    if (t->n_patterns == PATTERNS_MAX)
        return fail(STATUS_FORMAT, "%s: more than %d patterns", t->what, PATTERNS_MAX);
    char *copy = malloc(n * sizeof NO_SPACE);
    if (!copy)
        return fail(STATUS_MEMORY, "%s: no memory for a pattern of %zu bytes", t->what, n);
    if (literal)
        memcpy(copy, text, n);
    const size_t size = literal ? n : replace_space(text, n, copy);
    const uint32_t options =
        PCRE2_UTF |
        (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)copy, size, options, &error, &at, NULL);
    free(copy);
    if (!code) {
        PCRE2_UCHAR why[256];
        pcre2_get_error_message(error, why, sizeof why);
        return fail(STATUS_FORMAT, "%s: %s pattern \"%.*s\": %s", t->what, part,
                    n < 80 ? (int)n : 80, text, (const char *)why);
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without it the interpreter matches */
    *out = t->patterns[t->n_patterns++] = code;
    return STATUS_OK;
}

pattern_search pattern_begin(const tokenizer *t, const pcre2_code *pattern,
                             pcre2_match_data *match, const char *text, size_t n)
{
    return (pattern_search){t, pattern, match, text, n, n > 0 ? 0 : 1, SIZE_MAX};
}

status pattern_next(pattern_search *s, size_t *begin, size_t *end, bool *found)
{
    const PCRE2_SPTR subject = (PCRE2_SPTR)s->text;

    for (*found = false; s->from <= s->n;) {
        int rc = pcre2_match(s->pattern, subject, s->n, s->from, PCRE2_NO_UTF_CHECK, s->match, NULL);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
            rc = pcre2_match(s->pattern, subject, s->n, s->from,
                             PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s->match, NULL);
        if (rc == PCRE2_ERROR_NOMATCH)
            return STATUS_OK;
        if (rc < 0) {
            PCRE2_UCHAR why[256];
            pcre2_get_error_message(rc, why, sizeof why);
            return fail(STATUS_FORMAT, "%s: a pattern cannot be matched: %s", s->t->what,
                        (const char *)why);
        }
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(s->match);
        *begin = span[0];
        *end = span[1] < span[0] ? span[0] : span[1]; /* \K may turn a match around */
        *found = *begin < *end || *begin != s->last;
        if (*found) {
            s->from = s->last = *end;
            return STATUS_OK;
        }
        uint32_t code; /* nothing, right behind the match before: one character further */
        s->from += s->from < s->n ? (size_t)utf8_next(s->text, s->n, s->from, &code) : 1;
    }
    return STATUS_OK;
}
