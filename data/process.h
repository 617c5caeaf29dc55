/* process: running another program without a shell, and locking between processes */
#ifndef DATA_PROCESS_H
#define DATA_PROCESS_H

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Runs argv[0] (looked for in PATH) with the arguments argv (NULL at the end), standard input closed,
 * standard output and errors appended to the file `log` (made when missing), and waits. `out`, when not
 * NULL, is a file that takes standard output instead. *code is the exit code; 128 + the signal for a
 * program that was killed. STATUS_UNSUPPORTED when the program is not there. */
status process_run(const char *const *argv, const char *log, const char *out, int *code);

/* The last line of a log that is not blank, for messages; "" when there is none. */
const char *process_last_line(const char *log, char out[256]);

/* Waits for the lock file (made when missing) and holds it until unlock; the kernel frees it when the
 * process ends. */
status file_lock(const char *path, int *fd);
void   file_unlock(int fd);

#ifdef __cplusplus
}
#endif
#endif
