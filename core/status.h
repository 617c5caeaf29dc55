/* status: how a failure travels.
 *
 * A function that the world can make fail returns `status`; its results come back through pointers.
 * The first failure writes a text (who, what is, what must be), callers add where it happened, and
 * only recipes/main.c prints it. The text is kept per thread. What only a programmer can cause is
 * CHECK, which stops the program. */
#ifndef CORE_STATUS_H
#define CORE_STATUS_H

#include "core/compiler.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum status {
    STATUS_OK = 0,
    STATUS_USAGE,       /* command line or recipe: exit code 2 */
    STATUS_IO,          /* file, folder, network */
    STATUS_FORMAT,      /* a file is not what it says */
    STATUS_SHAPE,       /* sizes that do not fit together */
    STATUS_MEMORY,      /* no memory, or more than planned */
    STATUS_NUMERIC,     /* NaN or infinity where a number must be */
    STATUS_UNSUPPORTED, /* known, but not handled by this build or device */
    STATUS_DEVICE,      /* driver, GPU */
    STATUS_STOPPED      /* asked to stop (signal); state was saved */
} status;

/* Records a failure and returns `code`; replaces any older text of this thread. */
status fail(status code, const char *format, ...) PRINTF_LIKE(2, 3);

/* Adds a line of context below the text ("in block.0.attn.q") and returns `code`; does nothing and
 * returns STATUS_OK when code is STATUS_OK. */
status fail_in(status code, const char *format, ...) PRINTF_LIKE(2, 3);

/* The text of this thread's last failure, lines separated by '\n'; "" when there is none. */
const char *status_text(void);

/* The text behind its first ": ", for a sentence that has said who failed; all of it when there is none. */
const char *status_cause(void);

/* Forgets this thread's text. */
void status_clear(void);

/* Passes a failure up. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        const status try_status_ = (call);                                                         \
        if (try_status_ != STATUS_OK)                                                              \
            return try_status_;                                                                    \
    } while (0)

/* Passes a failure up and says where: TRY_IN(read_header(f), "in %s", path). */
#define TRY_IN(call, ...)                                                                          \
    do {                                                                                           \
        const status try_status_ = (call);                                                         \
        if (try_status_ != STATUS_OK)                                                              \
            return fail_in(try_status_, __VA_ARGS__);                                              \
    } while (0)

/* Stops the program with file, line and text when `condition` does not hold: programmer's errors only. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (UNLIKELY(!(condition)))                                                                \
            check_failed(__FILE__, __LINE__, #condition);                                          \
    } while (0)
NO_RETURN void check_failed(const char *file, int line, const char *condition);

#ifdef __cplusplus
}
#endif
#endif
