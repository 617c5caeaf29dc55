/* pattern: regular expressions of tokenizer files.
 *
 * Patterns are written for Oniguruma; PCRE2 reads the same syntax except that its \s also holds
 * U+180E, so \s and \S are replaced by Unicode's White_Space, and that ^ and $ need the multi-line
 * option to mean lines. */
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

/* Replaces \s and \S; out has room for n * sizeof NO_SPACE bytes. */
static size_t replace_space(const char *pattern, size_t n, char *out)
{
    char *p = out;
    bool class = false;

    for (size_t i = 0; i < n; i++) {
        if (pattern[i] == '\\' && i + 1 < n) {
            const char kind = pattern[++i];
            if (kind == 's' || kind == 'S')
                p += sprintf(p, "%s%s%s", class ? "" : "[", kind == 's' ? SPACE : NO_SPACE,
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

status pattern_next(const tokenizer *t, const pcre2_code *pattern, pcre2_match_data *match,
                    const char *text, size_t n, size_t from, size_t *begin, size_t *end,
                    bool *found)
{
    const PCRE2_SPTR subject = (PCRE2_SPTR)text;

    *found = false;
    int rc = pcre2_match(pattern, subject, n, from, PCRE2_NO_UTF_CHECK, match, NULL);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(pattern, subject, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match, NULL);
    if (rc == PCRE2_ERROR_NOMATCH)
        return STATUS_OK;
    if (rc < 0) {
        PCRE2_UCHAR why[256];
        pcre2_get_error_message(rc, why, sizeof why);
        return fail(STATUS_FORMAT, "%s: a pattern cannot be matched: %s", t->what,
                    (const char *)why);
    }
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(match);
    *begin = span[0];
    *end = span[1] < span[0] ? span[0] : span[1]; /* \K may turn a match around */
    *found = true;
    return STATUS_OK;
}

size_t pattern_after(const char *text, size_t n, size_t begin, size_t end)
{
    uint32_t code;

    if (begin < end)
        return end;
    return end < n ? end + (size_t)utf8_next(text, n, end, &code) : end + 1;
}
