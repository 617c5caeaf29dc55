/* log: lines to stderr, and one live line on a terminal */
#include "core/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static log_level level = LOG_INFO;
static int       live; /* a live line stands on the terminal */
static const char *speaker; /* NULL: nobody */

void log_set_level(log_level l)
{
    level = l;
}

static void line(const char *before, const char *format, va_list args)
{
    if (live)
        fputs("\r\033[K", stderr);
    live = 0;
    if (speaker)
        fprintf(stderr, "%s: ", speaker);
    fputs(before, stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

#define LOG_FUNCTION(name, least, before)                                                          \
    void name(const char *format, ...)                                                             \
    {                                                                                              \
        va_list args;                                                                              \
        if (level < least)                                                                         \
            return;                                                                                \
        va_start(args, format);                                                                    \
        line(before, format, args);                                                                \
        va_end(args);                                                                              \
    }
LOG_FUNCTION(log_info, LOG_INFO, "")
LOG_FUNCTION(log_warn, LOG_WARN, "warning: ")
LOG_FUNCTION(log_debug, LOG_DEBUG, "")

void log_live(const char *text)
{
    if (level < LOG_INFO || !isatty(STDERR_FILENO))
        return;
    if (text)
        fprintf(stderr, "\r\033[K%s%s%s", speaker ? speaker : "", speaker ? ": " : "", text);
    else if (live)
        fputc('\n', stderr);
    live = text != NULL;
    fflush(stderr);
}

void log_speaker(const char *name)
{
    speaker = name;
}

int log_colour(void)
{
    const char *off = getenv("NO_COLOR");

    return isatty(STDERR_FILENO) && !(off && off[0]);
}
