/* status: the failure text of each thread */
#include "core/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static THREAD_LOCAL char text[4096];

status fail(status code, const char *format, ...)
{
    char    fresh[sizeof text]; /* the arguments may point into the old text */
    va_list args;

    va_start(args, format);
    vsnprintf(fresh, sizeof fresh, format, args);
    va_end(args);
    memcpy(text, fresh, sizeof text);
    return code;
}

status fail_in(status code, const char *format, ...)
{
    if (code == STATUS_OK)
        return code;

    const size_t used = strlen(text);
    va_list      args;

    if (used + 2 >= sizeof text)
        return code;
    if (used > 0)
        strcpy(text + used, "\n");
    va_start(args, format);
    vsnprintf(text + strlen(text), sizeof text - strlen(text), format, args);
    va_end(args);
    return code;
}

const char *status_text(void)
{
    return text;
}

const char *status_cause(void)
{
    const char *behind = strstr(text, ": ");

    return behind ? behind + 2 : text;
}

void status_clear(void)
{
    text[0] = '\0';
}

void check_failed(const char *file, int line, const char *condition)
{
    fprintf(stderr, "cambium: internal error at %s:%d: %s does not hold; please report this\n", file,
            line, condition);
    abort();
}
