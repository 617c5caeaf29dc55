/* signals: asking a run to stop.
 *
 * SIGTERM and SIGINT ask once: the loop saves and ends with exit code 3. A second SIGINT ends the
 * program at once. SIGPIPE and SIGXFSZ are ignored, so that writing fails with a status instead. */
#ifndef RECIPES_SIGNALS_H
#define RECIPES_SIGNALS_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Installs the handlers; once, at the start of the program. */
void signals_install(void);

/* Lets SIGTERM and SIGINT end the program again, for commands that have nothing to save. */
void signals_end_at_once(void);

/* Lets SIGINT ask, however often it comes, and SIGTERM end the program: for commands that go on after what SIGINT
 * stops. */
void signals_only_ask(void);

/* True after SIGTERM or SIGINT. */
bool signals_stop_requested(void);

/* The signal that asked, 0 when none did; its name for a message ("SIGTERM", ""). */
int signals_which(void);
const char *signals_name(void);

/* Forgets that it was asked: tests, and a second run in one process. */
void signals_forget(void);

#ifdef __cplusplus
}
#endif
#endif
