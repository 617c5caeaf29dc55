/* pretokenize: cutting a stretch into pieces that no token crosses.
 *
 * Steps run one inside the other: each cuts what it is given, and each part goes through the next
 * step at once. Patterns are written for Oniguruma; PCRE2 reads the same syntax except that its \s
 * also holds U+180E, so \s and \S are replaced by Unicode's White_Space, and that ^ and $ need the
 * multi-line option to mean lines. */
#include "core/utf8.h"
#include "data/tokenizer_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

const char *const PATTERN_GPT2 =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

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

static status add_step(tokenizer *t, pre_step step)
{
    if (t->n_steps == PRE_STEPS_MAX) {
        pcre2_code_free(step.pattern);
        return fail(STATUS_FORMAT, "%s: more than %d pre-tokenizers", t->what, PRE_STEPS_MAX);
    }
    t->steps[t->n_steps++] = step;
    return STATUS_OK;
}

status pre_add_split(tokenizer *t, const char *pattern, size_t n, bool literal,
                     split_behavior behavior, bool invert)
{
    int error;
    PCRE2_SIZE at;

    if (n == 0 || n > 4096)
        return fail(STATUS_FORMAT, "%s: a Split pattern has %zu bytes, must have 1..4096", t->what,
                    n);
    char *text = malloc(n * sizeof NO_SPACE);
    if (!text)
        return fail(STATUS_MEMORY, "%s: no memory for a pattern of %zu bytes", t->what, n);
    if (literal)
        memcpy(text, pattern, n);
    const size_t size = literal ? n : replace_space(pattern, n, text);
    const uint32_t options =
        PCRE2_UTF |
        (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)text, size, options, &error, &at, NULL);
    free(text);
    if (!code) {
        PCRE2_UCHAR why[256];
        pcre2_get_error_message(error, why, sizeof why);
        return fail(STATUS_FORMAT, "%s: Split pattern \"%.*s\": %s", t->what, n < 80 ? (int)n : 80,
                    pattern, (const char *)why);
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without it the interpreter matches */
    return add_step(t, (pre_step){code, behavior, invert});
}

status pre_add_digits(tokenizer *t, bool individual)
{
    return add_step(t, (pre_step){.behavior = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS});
}

/* Next match of the step in text[begin, end) at or behind `from`; *found false when there is none.
 */
static status next_match(tokenizer_work *w, const pre_step *step, size_t begin, size_t end,
                         size_t from, size_t *m_begin, size_t *m_end, bool *found)
{
    *found = false;
    if (!step->pattern) {
        for (size_t at = from; at < end;) {
            uint32_t code = (uint8_t)w->text[at];
            const int n = code < 0x80 ? 1 : utf8_next(w->text, end, at, &code);
            const int kind = code < 0x80 ? 0 : utf8proc_category((utf8proc_int32_t)code);
            if ((code >= '0' && code <= '9') ||
                (kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO)) {
                *m_begin = at;
                *m_end = at + (size_t)n;
                *found = true;
                return STATUS_OK;
            }
            at += (size_t)n;
        }
        return STATUS_OK;
    }

    const PCRE2_SPTR subject = (PCRE2_SPTR)w->text + begin;
    int rc = pcre2_match(step->pattern, subject, end - begin, from - begin, PCRE2_NO_UTF_CHECK,
                         w->match, NULL);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(step->pattern, subject, end - begin, from - begin,
                         PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, w->match, NULL);
    if (rc == PCRE2_ERROR_NOMATCH)
        return STATUS_OK;
    if (rc < 0) {
        PCRE2_UCHAR why[256];
        pcre2_get_error_message(rc, why, sizeof why);
        return fail(STATUS_FORMAT, "%s: a Split pattern cannot be matched: %s", w->t->what,
                    (const char *)why);
    }
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(w->match);
    *m_begin = begin + span[0];
    *m_end = begin + (span[1] < span[0] ? span[0] : span[1]); /* \K may turn a match around */
    *found = true;
    return STATUS_OK;
}

/* Parts of one step on their way to the next; some behaviours hold one back. */
typedef struct splitter {
    tokenizer_work *w;
    int step;
    bool held, held_match, last_match;
    size_t begin, end; /* of the one held */
} splitter;

static status flush(splitter *s)
{
    if (!s->held)
        return STATUS_OK;
    s->held = false;
    return pretokenize(s->w, s->step + 1, s->begin, s->end);
}

static status hold(splitter *s, size_t begin, size_t end, bool match)
{
    TRY(flush(s));
    s->held = true;
    s->held_match = match;
    s->begin = begin;
    s->end = end;
    return STATUS_OK;
}

static status part(splitter *s, size_t begin, size_t end, bool match)
{
    const pre_step *step = &s->w->t->steps[s->step];
    const bool is = match != step->invert, after = s->last_match;

    s->last_match = is;
    switch (step->behavior) {
    case SPLIT_ISOLATED:
        return pretokenize(s->w, s->step + 1, begin, end);
    case SPLIT_REMOVED:
        return is ? STATUS_OK : pretokenize(s->w, s->step + 1, begin, end);
    case SPLIT_MERGED_WITH_PREVIOUS:
        if (is && !after && s->held) {
            s->end = end;
            return STATUS_OK;
        }
        return hold(s, begin, end, is);
    case SPLIT_MERGED_WITH_NEXT:
        if (!is && s->held && s->held_match) {
            s->held = false;
            return pretokenize(s->w, s->step + 1, s->begin, end);
        }
        return hold(s, begin, end, is);
    case SPLIT_CONTIGUOUS:
        if (s->held && s->held_match == is) {
            s->end = end;
            return STATUS_OK;
        }
        return hold(s, begin, end, is);
    }
    return STATUS_OK;
}

status pretokenize(tokenizer_work *w, int step, size_t begin, size_t end)
{
    if (begin == end)
        return STATUS_OK;
    if (step == w->t->n_steps)
        return w->t->model->encode(w, begin, end);

    splitter s = {.w = w, .step = step};
    size_t done = begin, from = begin;
    while (from <= end) {
        size_t m_begin, m_end;
        bool found;
        TRY(next_match(w, &w->t->steps[step], begin, end, from, &m_begin, &m_end, &found));
        if (!found)
            break;
        if (m_begin > done)
            TRY(part(&s, done, m_begin, false));
        TRY(part(&s, m_begin, m_end, true));
        done = m_end;
        from = m_end;
        if (m_begin == m_end) { /* an empty match splits here; go on one character further */
            uint32_t code;
            from += from < end ? (size_t)utf8_next(w->text, end, from, &code) : 1;
        }
    }
    if (done < end)
        TRY(part(&s, done, end, false));
    return flush(&s);
}
