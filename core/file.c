/* file: mapping, reading, atomic replacement */
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

const char *file_remedy(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
        return "; free some space and run again";
    case EFBIG:
        return "; raise the limit on the size of a file (ulimit -f) and run again";
    case EROFS:
        return "; choose a writable place";
    case EACCES:
        return "; check the permissions";
    default:
        return "";
    }
}

static status io_error(const char *path, const char *what)
{
    const int error = errno;

    return fail(STATUS_IO, "%s: cannot %s: %s%s", path, what, strerror(error), file_remedy(error));
}

static status open_regular(const char *path, int *fd, size_t *bytes)
{
    struct stat st;

    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return io_error(path, "open");
    if (fstat(*fd, &st) != 0) {
        const status s = io_error(path, "read");
        close(*fd);
        return s;
    }
    if (!S_ISREG(st.st_mode)) {
        close(*fd);
        return fail(STATUS_IO, "%s: is %s, must be a file", path,
                    S_ISDIR(st.st_mode) ? "a folder" : "not a regular file");
    }
    *bytes = (size_t)st.st_size;
    return STATUS_OK;
}

status file_map_open(file_map *m, const char *path)
{
    int    fd;
    size_t bytes;

    *m = (file_map){.path = path, .v = (const uint8_t *)""};
    TRY(open_regular(path, &fd, &bytes));
    if (bytes > 0) {
        void *v = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (v == MAP_FAILED) {
            const status s = io_error(path, "map");
            close(fd);
            return s;
        }
        m->v = v;
        m->bytes = bytes;
    }
    close(fd);
    return STATUS_OK;
}

void file_map_let_go(const file_map *m, const void *v, size_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)v + page - 1) / page * page;
    const uintptr_t to = ((uintptr_t)v + bytes) / page * page;

    CHECK((const uint8_t *)v >= m->v && (const uint8_t *)v + bytes <= m->v + m->bytes);
    if (from < to)
        (void)madvise((void *)from, to - from, MADV_DONTNEED); /* what the system does not give is kept */
}

void file_map_close(file_map *m)
{
    if (m->bytes)
        munmap((void *)(uintptr_t)m->v, m->bytes);
    *m = (file_map){0};
}

status file_read(arena *a, const char *path, size_t limit, char **text, size_t *length)
{
    int    fd;
    size_t bytes, got = 0;

    TRY(open_regular(path, &fd, &bytes));
    if (bytes > limit) {
        close(fd);
        return fail(STATUS_FORMAT, "%s: has %zu bytes, may have %zu", path, bytes, limit);
    }
    *text = arena_take(a, bytes + 1, 1);
    if (!*text) {
        close(fd);
        return STATUS_MEMORY;
    }
    while (got < bytes) {
        const ssize_t n = read(fd, *text + got, bytes - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            const status s = io_error(path, "read");
            close(fd);
            return s;
        }
        if (n == 0)
            break;
        got += (size_t)n;
    }
    close(fd);
    (*text)[got] = '\0';
    *length = got;
    return STATUS_OK;
}

static void writer_failed(file_writer *w, const char *what)
{
    if (w->error != STATUS_OK)
        return;
    w->error = io_error(w->path, what);
    snprintf(w->text, sizeof w->text, "%s", status_text());
}

status file_writer_open(file_writer *w, const char *path)
{
    memset(w, 0, sizeof *w);
    if ((size_t)snprintf(w->path, sizeof w->path, "%s", path) >= sizeof w->path)
        return fail(STATUS_IO, "%.60s...: path is longer than %zu bytes", path, sizeof w->path - 1);
    snprintf(w->tmp, sizeof w->tmp, "%s.tmp", path);
    w->f = fopen(w->tmp, "wbe");
    if (!w->f)
        return io_error(path, "write");
    return STATUS_OK;
}

void file_write(file_writer *w, const void *bytes, size_t count)
{
    if (w->error == STATUS_OK && count && fwrite(bytes, 1, count, w->f) != count)
        writer_failed(w, "write");
}

void file_printf(file_writer *w, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (w->error == STATUS_OK && vfprintf(w->f, format, args) < 0)
        writer_failed(w, "write");
    va_end(args);
}

status file_writer_close(file_writer *w, bool keep)
{
    if (keep && w->error == STATUS_OK && (fflush(w->f) != 0 || fsync(fileno(w->f)) != 0))
        writer_failed(w, "write");
    if (fclose(w->f) != 0 && keep)
        writer_failed(w, "write");
    if (keep && w->error == STATUS_OK && rename(w->tmp, w->path) != 0)
        writer_failed(w, "rename");
    w->f = NULL;
    if (!keep || w->error != STATUS_OK)
        unlink(w->tmp);
    if (w->error != STATUS_OK)
        return fail(w->error, "%s", w->text);
    return STATUS_OK;
}

status file_replace(const char *path, const void *bytes, size_t count)
{
    file_writer w;

    TRY(file_writer_open(&w, path));
    file_write(&w, bytes, count);
    return file_writer_close(&w, true);
}
