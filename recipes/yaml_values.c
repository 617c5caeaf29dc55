/* yaml_values: when a scalar is a number or a truth value, and what it looks like in a message */
#include "recipes/keys_read.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static bool all_digits(const char *p, int base)
{
    if (!*p)
        return false;
    for (; *p; p++) {
        const int digit = *p >= '0' && *p <= '9' ? *p - '0'
                          : isxdigit((unsigned char)*p) ? tolower((unsigned char)*p) - 'a' + 10
                                                        : 16;
        if (digit >= base)
            return false;
    }
    return true;
}

bool yaml_int(const yaml_node *n, int64_t *out)
{
    if (n->kind != YAML_TEXT || n->quoted)
        return false;

    const char *p = n->text;
    const bool  sign = *p == '-' || *p == '+';
    const int   base = strncmp(p, "0x", 2) == 0 ? 16 : strncmp(p, "0o", 2) == 0 ? 8 : 10;
    const char *digits = base != 10 ? p + 2 : sign ? p + 1 : p;

    if (!all_digits(digits, base))
        return false;
    errno = 0;
    *out = strtoll(base == 10 ? p : digits, NULL, base);
    return errno == 0;
}

bool yaml_real(const yaml_node *n, double *out)
{
    int64_t whole;

    if (yaml_int(n, &whole)) {
        *out = (double)whole;
        return true;
    }
    if (n->kind != YAML_TEXT || n->quoted || strlen(n->text) > 64)
        return false;

    /* strtod also takes hexadecimal, inf and nan: only [+-]digits[.digits][e[+-]digits] gets there */
    const char *p = n->text;
    int         digits = 0;
    p += *p == '-' || *p == '+';
    for (; isdigit((unsigned char)*p); p++)
        digits++;
    if (*p == '.')
        for (p++; isdigit((unsigned char)*p); p++)
            digits++;
    if (digits && (*p == 'e' || *p == 'E')) {
        p++;
        p += *p == '-' || *p == '+';
        if (!all_digits(p, 10))
            return false;
        p += strlen(p);
    }
    if (!digits || *p)
        return false;
    *out = strtod(n->text, NULL);
    return isfinite(*out);
}

bool yaml_bool(const yaml_node *n, bool *out)
{
    static const char *const words[] = {"true", "True", "TRUE", "yes", "Yes", "YES",
                                        "false", "False", "FALSE", "no", "No", "NO"};

    for (size_t i = 0; n->kind == YAML_TEXT && !n->quoted && i < COUNT_OF(words); i++)
        if (strcmp(n->text, words[i]) == 0) {
            *out = i < COUNT_OF(words) / 2;
            return true;
        }
    return false;
}

const char *yaml_describe(arena *a, const yaml_node *n)
{
    char shown[64];
    int  used = 0;

    if (n->kind != YAML_TEXT)
        return n->kind == YAML_LIST ? "a list" : "a mapping";
    if (yaml_is_null(n))
        return "without a value";
    for (const char *p = n->text; *p && used < 60; p++)
        shown[used++] = (unsigned char)*p < 0x20 || *p == 0x7F ? '?' : *p;
    while (used == 60 && ((unsigned char)shown[used - 1] & 0x80)) /* no half characters */
        used--;
    shown[used] = '\0';
    const char *dots = strlen(n->text) > 60 ? "..." : "";
    const char *text = n->quoted ? arena_printf(a, "the text \"%s%s\"", shown, dots)
                                 : arena_printf(a, "'%s%s'", shown, dots);
    return text ? text : "too long to show";
}

status fail_at(const yaml_node *at, const char *format, ...)
{
    char    text[2048], where[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fail(STATUS_USAGE, "%s: %s", yaml_where(at, where, sizeof where), text);
}
