/* words: what Python's str does */
#include "recipes/metrics/words.h"

#include "core/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { REPLACEMENT = 0xFFFD, CAPITAL_SIGMA = 0x3A3, SMALL_SIGMA = 0x3C3, FINAL_SIGMA = 0x3C2 };
enum { CAPITAL_I_DOT = 0x130, DOT_ABOVE = 0x307 }; /* lower case of the first is i and the second */

int words_next(metric_text text, size_t at, uint32_t *code)
{
    const int n = utf8_next(text.text, text.length, at, code);

    if (n > 0)
        return n;
    *code = REPLACEMENT;
    return 1;
}

bool words_is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
           c == 0x3000;
}

bool words_is_punctuation(uint32_t c)
{
    return c < 0x7F && c > 0x20 && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", (int)c) != NULL;
}

bool words_is_letter(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return true;
    default:
        return false;
    }
}

/* ---- lower case ---------------------------------------------------------------------------------------- */

static bool is_cased(uint32_t c)
{
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);

    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

/* Marks, modifiers, and what may stand inside a word. */
static bool is_skipped(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        return c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x2018 || c == 0x2019 || c == 0x2024 ||
               c == 0x2027;
    }
}

/* A sigma at `at` with nothing but skipped characters between it and the end of the word. */
static bool ends_word(metric_text text, size_t at, bool after_cased)
{
    uint32_t c;

    if (!after_cased)
        return false;
    at += (size_t)words_next(text, at, &c);
    while (at < text.length) {
        at += (size_t)words_next(text, at, &c);
        if (!is_skipped(c))
            return !is_cased(c);
    }
    return true;
}

status words_lower(arena *a, metric_text text, metric_text *out)
{
    enum { GROWTH = 3 }; /* two bytes become three at most, and U+0130 three */
    char  *to;
    size_t n = 0;
    bool   after_cased = false; /* the last character that is not skipped */

    TRY_TAKE(to, a, text.length * GROWTH + 1);
    for (size_t at = 0; at < text.length;) {
        uint32_t  c;
        const int bytes = words_next(text, at, &c);
        if (c == CAPITAL_SIGMA)
            n += (size_t)utf8_put(ends_word(text, at, after_cased) ? FINAL_SIGMA : SMALL_SIGMA, to + n);
        else if (c == CAPITAL_I_DOT) {
            to[n++] = 'i';
            n += (size_t)utf8_put(DOT_ABOVE, to + n);
        } else
            n += (size_t)utf8_put((uint32_t)utf8proc_tolower((utf8proc_int32_t)c), to + n);
        if (!is_skipped(c))
            after_cased = is_cased(c);
        at += (size_t)bytes;
    }
    *out = (metric_text){to, n};
    return STATUS_OK;
}

/* ---- words --------------------------------------------------------------------------------------------- */

status words_split(arena *a, metric_text text, word_list *out)
{
    bool inside = false;

    TRY_TAKE(out->v, a, text.length / 2 + 1);
    out->n = 0;
    for (size_t at = 0; at < text.length;) {
        uint32_t  c;
        const int bytes = words_next(text, at, &c);
        if (words_is_space(c))
            inside = false;
        else if (inside)
            out->v[out->n - 1].text.length += (size_t)bytes;
        else {
            out->v[out->n++] = (word){.text = {text.text + at, (size_t)bytes}};
            inside = true;
        }
        at += (size_t)bytes;
    }
    return STATUS_OK;
}

metric_text words_trim_end(metric_text text)
{
    size_t end = 0;

    for (size_t at = 0; at < text.length;) {
        uint32_t c;
        at += (size_t)words_next(text, at, &c);
        if (!words_is_space(c))
            end = at;
    }
    return (metric_text){text.text, end};
}

bool words_equal(metric_text a, metric_text b)
{
    return a.length == b.length && memcmp(a.text, b.text, a.length) == 0;
}

static int by_text(const void *a, const void *b)
{
    const metric_text x = (*(word *const *)a)->text, y = (*(word *const *)b)->text;
    const int         order = memcmp(x.text, y.text, x.length < y.length ? x.length : y.length);

    return order ? order : (x.length > y.length) - (x.length < y.length);
}

status words_number(arena *a, word_list *lists, int n_lists, uint32_t *distinct)
{
    word  **all;
    int64_t n = 0;

    for (int k = 0; k < n_lists; k++)
        n += lists[k].n;
    TRY_TAKE(all, a, n);
    n = 0;
    for (int k = 0; k < n_lists; k++)
        for (int64_t i = 0; i < lists[k].n; i++)
            all[n++] = &lists[k].v[i];
    qsort(all, (size_t)n, sizeof *all, by_text);
    *distinct = 0;
    for (int64_t i = 0; i < n; i++) {
        *distinct += i > 0 && !words_equal(all[i]->text, all[i - 1]->text);
        all[i]->id = *distinct;
    }
    *distinct += n > 0;
    return STATUS_OK;
}
