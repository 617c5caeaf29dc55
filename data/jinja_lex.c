/* jinja_lex: a template's text into tokens, with Jinja2's rules for white space: "-" beside a tag
 * eats all of it; trim_blocks eats one line end behind a tag or comment, lstrip_blocks the blanks
 * before one that begins its line; "+" keeps them. One line end at the very end of a template is
 * not part of it. */
#include "core/utf8.h"
#include "data/jinja.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct lexer {
    jinja *j;
    const char *text;
    size_t n, at;
    size_t place; /* line and column are known up to here */
    uint32_t line, column;
} lexer;

/* Moves the place for messages to `at`. */
static void locate(lexer *l, size_t at)
{
    for (; l->place < at; l->place++) {
        if (l->text[l->place] == '\n') {
            l->line++;
            l->column = 1;
        } else if (((uint8_t)l->text[l->place] & 0xC0) != 0x80)
            l->column++;
    }
    l->j->line = l->line;
    l->j->column = l->column;
}

static status push(lexer *l, jtoken token)
{
    jinja *j = l->j;

    if (j->n_tokens == j->room_tokens) {
        const size_t room = j->room_tokens ? 2 * j->room_tokens : 64;
        jtoken *v = jinja_take(j, room * sizeof *v);
        if (!v)
            return STATUS_MEMORY;
        if (j->n_tokens)
            memcpy(v, j->tokens, j->n_tokens * sizeof *v);
        j->tokens = v;
        j->room_tokens = room;
    }
    token.line = l->line;
    token.column = l->column;
    j->tokens[j->n_tokens++] = token;
    return STATUS_OK;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex(const char *text, size_t n)
{
    int value = 0;

    for (size_t i = 0; i < n; i++) {
        const char c = text[i];
        const int d = is_digit(c)            ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
        if (d < 0)
            return -1;
        value = value * 16 + d;
    }
    return value;
}

/* The escape behind a backslash at text[*at]; writes what it means. */
static status unescape(lexer *l, size_t end, size_t *at, char **to)
{
    static const char from[] = "ntrabfv\\'\"", into[] = "\n\t\r\a\b\f\v\\'\"";
    const char c = l->text[*at];
    const char *known = memchr(from, c, sizeof from - 1);

    if (known) {
        *(*to)++ = into[known - from];
        ++*at;
        return STATUS_OK;
    }
    if (c >= '0' && c <= '7') { /* up to three octal digits */
        uint32_t code = 0;
        for (int i = 0; i < 3 && *at < end && l->text[*at] >= '0' && l->text[*at] <= '7'; i++)
            code = code * 8 + (uint32_t)(l->text[(*at)++] - '0');
        *to += utf8_put(code, *to);
        return STATUS_OK;
    }
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 0;
    if (digits == 0) { /* as in Python: the backslash stays */
        *(*to)++ = '\\';
        return STATUS_OK;
    }
    const int code = end - *at > digits ? hex(l->text + *at + 1, digits) : -1;
    if (code < 0 || (code >= 0xD800 && code <= 0xDFFF))
        return jinja_fail(l->j, "\\%c needs %zu hexadecimal digits", c, digits);
    *to += utf8_put((uint32_t)code, *to);
    *at += 1 + digits;
    return STATUS_OK;
}

static status lex_string(lexer *l)
{
    const char quote = l->text[l->at];
    size_t end = l->at + 1;

    while (end < l->n && l->text[end] != quote)
        end += l->text[end] == '\\' && end + 1 < l->n ? 2 : 1;
    if (end >= l->n)
        return jinja_fail(l->j, "a string does not end");
    char *out = jinja_take(l->j, end - l->at + 1), *to = out;
    if (!out)
        return STATUS_MEMORY;
    for (size_t at = l->at + 1; at < end;) {
        if (l->text[at] != '\\') {
            *to++ = l->text[at++];
            continue;
        }
        at++;
        TRY(unescape(l, end, &at, &to));
    }
    TRY(push(l, (jtoken){.kind = JT_STRING, .text = out, .n = (size_t)(to - out)}));
    l->at = end + 1;
    return STATUS_OK;
}

static status lex_number(lexer *l)
{
    char digits[66];
    size_t n = 0;
    bool real = false;

    for (; l->at < l->n && n < sizeof digits - 2; l->at++) {
        const char c = l->text[l->at];
        if (c == '.' && !real && l->at + 1 < l->n && is_digit(l->text[l->at + 1]))
            real = true;
        else if ((c == 'e' || c == 'E') && l->at + 1 < l->n &&
                 (is_digit(l->text[l->at + 1]) ||
                  (l->at + 2 < l->n && strchr("+-", l->text[l->at + 1]) &&
                   is_digit(l->text[l->at + 2])))) {
            real = true;
            digits[n++] = l->text[l->at++];
        } else if (!is_digit(c) && c != '_')
            break;
        if (l->text[l->at] != '_')
            digits[n++] = l->text[l->at];
    }
    digits[n] = '\0';
    errno = 0;
    jtoken token = {.kind = real ? JT_FLOAT : JT_INT};
    if (real)
        token.f = strtod(digits, NULL);
    else
        token.i = strtoll(digits, NULL, 10);
    if (errno || (l->at < l->n && (is_name(l->text[l->at]) || is_digit(l->text[l->at]))))
        return jinja_fail(l->j, "not a number");
    return push(l, token);
}

static status lex_operator(lexer *l)
{
    static const char *const two[] = {"==", "!=", "<=", ">=", "//", "**"};
    const size_t left = l->n - l->at;
    size_t n = 1;

    for (size_t i = 0; i < COUNT_OF(two) && left >= 2; i++)
        if (memcmp(l->text + l->at, two[i], 2) == 0)
            n = 2;
    if (n == 1 && (!l->text[l->at] || !strchr("+-*/%~<>=()[]{}.,:|", l->text[l->at])))
        return jinja_fail(l->j, "unexpected character '%c'", l->text[l->at]);
    TRY(push(l, (jtoken){.kind = JT_OPERATOR, .text = l->text + l->at, .n = n}));
    l->at += n;
    return STATUS_OK;
}

/* Tokens up to and with the end of a print or tag; then the white space that the end eats. */
static status lex_inside(lexer *l, bool tag)
{
    const char *end = tag ? "%}" : "}}";
    int open = 0; /* brackets: "}}" inside a dict's literal ends nothing */

    for (;;) {
        while (l->at < l->n && is_space(l->text[l->at]))
            l->at++;
        locate(l, l->at);
        if (l->at >= l->n)
            return jinja_fail(l->j, "the template ends inside a %s", tag ? "tag" : "{{ }}");
        const char c = l->text[l->at];
        const size_t sign = (c == '-' || (c == '+' && tag)) && l->n - l->at > 2;
        if (open == 0 && l->n - l->at >= 2 + sign && memcmp(l->text + l->at + sign, end, 2) == 0) {
            TRY(push(l, (jtoken){.kind = tag ? JT_TAG_END : JT_PRINT_END}));
            l->at += 2 + sign;
            if (c == '-')
                while (l->at < l->n && is_space(l->text[l->at]))
                    l->at++;
            else if (tag && c != '+' && l->at < l->n && l->text[l->at] == '\n')
                l->at++;
            return STATUS_OK;
        }
        if (c == '"' || c == '\'')
            TRY(lex_string(l));
        else if (is_digit(c))
            TRY(lex_number(l));
        else if (is_name(c)) {
            const size_t from = l->at;
            while (l->at < l->n && (is_name(l->text[l->at]) || is_digit(l->text[l->at])))
                l->at++;
            TRY(push(l, (jtoken){.kind = JT_NAME, .text = l->text + from, .n = l->at - from}));
        } else {
            open += strchr("([{", c) != NULL ? 1 : strchr(")]}", c) != NULL ? -1 : 0;
            open = open < 0 ? 0 : open;
            TRY(lex_operator(l));
        }
    }
}

static status lex_comment(lexer *l)
{
    const char *end = memmem(l->text + l->at, l->n - l->at, "#}", 2);

    if (!end)
        return jinja_fail(l->j, "a comment does not end");
    l->at = (size_t)(end - l->text) + 2;
    if (end[-1] == '-')
        while (l->at < l->n && is_space(l->text[l->at]))
            l->at++;
    else if (end[-1] != '+' && l->at < l->n && l->text[l->at] == '\n')
        l->at++;
    return STATUS_OK;
}

/* End of the text [from, at) before a tag after its white space is taken off. */
static size_t text_end(const lexer *l, size_t from, size_t at, char kind)
{
    const char sign = at + 2 < l->n ? l->text[at + 2] : 0;
    size_t end = at;

    if (sign == '-') {
        while (end > from && is_space(l->text[end - 1]))
            end--;
        return end;
    }
    if (kind == '{' || sign == '+')
        return at;
    while (end > from && is_space(l->text[end - 1]) && l->text[end - 1] != '\n')
        end--;
    return end == 0 || l->text[end - 1] == '\n' ? end : at;
}

/* Line ends become \n; the last one goes. */
static status copy_lines(jinja *j, const char *text, size_t n, lexer *l)
{
    char *copy = jinja_take(j, n + 1);

    if (!copy)
        return STATUS_MEMORY;
    for (size_t i = 0; i < n; i++) {
        copy[l->n++] = text[i] == '\r' ? '\n' : text[i];
        if (text[i] == '\r' && i + 1 < n && text[i + 1] == '\n')
            i++;
    }
    if (l->n > 0 && copy[l->n - 1] == '\n')
        l->n--;
    copy[l->n] = '\0';
    l->text = copy;
    return STATUS_OK;
}

status jinja_lex(jinja *j, const char *text, size_t n)
{
    lexer l = {.j = j, .line = 1, .column = 1};
    size_t bad;

    if (n > JINJA_TEXT_MAX)
        return fail(STATUS_FORMAT, "chat template: has %zu bytes, may have %d", n, JINJA_TEXT_MAX);
    if (!utf8_valid(text, n, &bad))
        return fail(STATUS_FORMAT, "chat template: not valid UTF-8 at byte %zu", bad);
    if (memchr(text, '\0', n))
        return fail(STATUS_FORMAT, "chat template: holds a NUL byte");
    TRY(copy_lines(j, text, n, &l));
    while (l.at < l.n) {
        const size_t from = l.at;
        size_t at = from;
        while (at < l.n && !(l.text[at] == '{' && at + 1 < l.n && strchr("{%#", l.text[at + 1])))
            at++;
        const char kind = at < l.n ? l.text[at + 1] : 0;
        const size_t end = kind ? text_end(&l, from, at, kind) : l.n;
        locate(&l, from);
        if (end > from)
            TRY(push(&l, (jtoken){.kind = JT_TEXT, .text = l.text + from, .n = end - from}));
        if (!kind)
            break;
        locate(&l, at);
        l.at = at + 2;
        if (kind == '#') {
            TRY(lex_comment(&l));
            continue;
        }
        if (l.at < l.n && (l.text[l.at] == '-' || l.text[l.at] == '+') &&
            (kind == '%' || l.text[l.at] == '-'))
            l.at++;
        TRY(push(&l, (jtoken){.kind = kind == '%' ? JT_TAG_BEGIN : JT_PRINT_BEGIN}));
        TRY(lex_inside(&l, kind == '%'));
    }
    locate(&l, l.n);
    return push(&l, (jtoken){.kind = JT_END});
}
