/* lines: stepping through a mapped text file */
#include "data/lines.h"

#include <string.h>

static bool blank(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r')
            return false;
    return true;
}

bool lines_next(lines *l)
{
    while (l->at < l->map.bytes) {
        const char  *text = (const char *)l->map.v + l->at;
        const size_t left = l->map.bytes - l->at;
        const char  *end = memchr(text, '\n', left);
        const size_t n = end ? (size_t)(end - text) : left;

        l->at += end ? n + 1 : n;
        l->number++;
        if (blank(text, n))
            continue;
        l->text = text;
        l->length = n;
        return true;
    }
    return false;
}

status lines_open(lines *l, const char *path, int64_t *count)
{
    *l = (lines){0};
    *count = 0;
    TRY(file_map_open(&l->map, path));
    while (lines_next(l)) {
        if (l->length > LINE_MAX_BYTES) {
            const status s = fail(STATUS_FORMAT, "%s:%lld: the line has %zu bytes, may have %d", path,
                                  (long long)l->number, l->length, LINE_MAX_BYTES);
            lines_close(l);
            return s;
        }
        ++*count;
    }
    if (*count == 0) {
        lines_close(l);
        return fail(STATUS_FORMAT, "%s: holds no records: the file is empty", path);
    }
    l->at = 0;
    l->number = 0;
    return STATUS_OK;
}

void lines_close(lines *l)
{
    file_map_close(&l->map);
    *l = (lines){0};
}
