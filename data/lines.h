/* lines: the lines of a mapped text file, with their numbers */
#ifndef DATA_LINES_H
#define DATA_LINES_H

#include "core/file.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { LINE_MAX_BYTES = 16 << 20 };

typedef struct lines {
    file_map    map;
    size_t      at;
    const char *text; /* the current line, without its end; no NUL byte follows */
    size_t      length;
    int64_t     number; /* from 1 */
} lines;

/* Opens a file; *count is the number of lines that are not blank. Fails when there is none, and for a
 * line of more than LINE_MAX_BYTES. `path` must outlive it. */
status lines_open(lines *l, const char *path, int64_t *count);

/* Steps to the next line that is not blank; false at the end. */
bool lines_next(lines *l);

void lines_close(lines *l);

#ifdef __cplusplus
}
#endif
#endif
