/* log: what the program tells a person while it works, always to stderr. Results go to stdout and
 * are not log lines; failures travel as status and are printed by recipes/main.c alone. */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include "core/compiler.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum log_level { LOG_QUIET, LOG_WARN, LOG_INFO, LOG_DEBUG } log_level;

/* INFO unless set; tests set QUIET. */
void log_set_level(log_level level);

/* One line; the newline is added. Warnings begin with "warning: ". */
void log_info(const char *format, ...) PRINTF_LIKE(1, 2);
void log_warn(const char *format, ...) PRINTF_LIKE(1, 2);
void log_debug(const char *format, ...) PRINTF_LIKE(1, 2);

/* A line that replaces the last live line on a terminal (nothing is printed when stderr is a file
 * or pipe); log_live(NULL) ends it. Other log lines push it down unharmed. */
void log_live(const char *text);

/* Who speaks: stands in front of every line from now on, "name: "; NULL: nobody. The text must outlive its use. */
void log_speaker(const char *name);

/* True when stderr is a terminal and NO_COLOR is not set. */
int log_colour(void);

#ifdef __cplusplus
}
#endif
#endif
