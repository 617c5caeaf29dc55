/* words_13a: white space at the end goes, "<skipped>" and a hyphen before a line end go, a line end is a
 * blank, four entities are read; then four passes put blanks, each over the result of the one before:
 *
 *   1. around ASCII punctuation, but for ' , - and .
 *   2. around . and , behind a character that is no digit
 *   3. around . and , before a character that is no digit
 *   4. around - behind a digit
 *
 * A pass goes from left to right and uses no character twice. It may go by bytes: what it looks for is ASCII,
 * and no byte of a longer character is. */
#include "recipes/metrics/words_13a.h"

#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_stop(char c)
{
    return c == '.' || c == ',';
}

static size_t put(char *to, size_t n, const char *text)
{
    const size_t length = strlen(text);

    memcpy(to + n, text, length);
    return n + length;
}

/* Every `what` becomes `with`, which is not longer; in place. */
static size_t replace(char *text, size_t length, const char *what, const char *with)
{
    const size_t k = strlen(what);
    size_t       n = 0;

    for (size_t i = 0; i < length;)
        if (i + k <= length && memcmp(text + i, what, k) == 0) {
            n = put(text, n, with);
            i += k;
        } else
            text[n++] = text[i++];
    return n;
}

static size_t pass_punctuation(const char *in, size_t length, char *to)
{
    size_t n = 0;

    for (size_t i = 0; i < length; i++) {
        const bool apart = words_is_punctuation((unsigned char)in[i]) && !strchr("',-.", in[i]);
        if (apart)
            to[n++] = ' ';
        to[n++] = in[i];
        if (apart)
            to[n++] = ' ';
    }
    return n;
}

static size_t pass_stop_behind(const char *in, size_t length, char *to)
{
    size_t n = 0;

    for (size_t i = 0; i < length; i++) {
        to[n++] = in[i];
        if (!is_digit(in[i]) && i + 1 < length && is_stop(in[i + 1])) {
            to[n++] = ' ';
            to[n++] = in[++i];
            to[n++] = ' ';
        }
    }
    return n;
}

static size_t pass_stop_before(const char *in, size_t length, char *to)
{
    size_t n = 0;

    for (size_t i = 0; i < length; i++)
        if (is_stop(in[i]) && i + 1 < length && !is_digit(in[i + 1])) {
            to[n++] = ' ';
            to[n++] = in[i];
            to[n++] = ' ';
            to[n++] = in[++i];
        } else
            to[n++] = in[i];
    return n;
}

static size_t pass_hyphen(const char *in, size_t length, char *to)
{
    size_t n = 0;

    for (size_t i = 0; i < length; i++) {
        to[n++] = in[i];
        if (is_digit(in[i]) && i + 1 < length && in[i + 1] == '-') {
            to[n++] = ' ';
            to[n++] = in[++i];
            to[n++] = ' ';
        }
    }
    return n;
}

status words_13a(arena *a, metric_text text, word_list *out)
{
    static const char *const changes[][2] = {{"<skipped>", ""}, {"-\n", ""},   {"\n", " "},  {"&quot;", "\""},
                                             {"&amp;", "&"},    {"&lt;", "<"}, {"&gt;", ">"}};
    static size_t (*const passes[])(const char *, size_t, char *) = {pass_punctuation, pass_stop_behind,
                                                                     pass_stop_before, pass_hyphen};
    enum { GROWTH = 3 }; /* of a pass, at most */
    char  *line;
    size_t n;

    text = words_trim_end(text);
    TRY_TAKE(line, a, text.length + 2);
    memcpy(line + 1, text.text, text.length);
    n = text.length;
    for (size_t i = 0; i < COUNT_OF(changes); i++)
        n = replace(line + 1, n, changes[i][0], changes[i][1]);
    line[0] = line[n + 1] = ' ';
    n += 2;
    for (size_t i = 0; i < COUNT_OF(passes); i++) {
        char *to;
        TRY_TAKE(to, a, n * GROWTH);
        n = passes[i](line, n, to);
        line = to;
    }
    return words_split(a, (metric_text){line, n}, out);
}
