/* run_folder: lock, logs and events */
#include "recipes/run_folder.h"

#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 4096 };

static status join(char out[PATH_MAX], const char *folder, const char *name)
{
    if (snprintf(out, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX)
        return fail(STATUS_IO, "%s: path is too long", folder);
    return STATUS_OK;
}

static status io_error(const char *path, const char *what, int error)
{
    return fail(STATUS_IO, "%s: cannot %s: %s%s", path, what, strerror(error), file_remedy(error));
}

static status lock(run_folder *r)
{
    char path[PATH_MAX], owner[32] = "";

    TRY(join(path, r->path, ".lock"));
    r->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (r->lock < 0)
        return io_error(path, "write", errno);
    if (flock(r->lock, LOCK_EX | LOCK_NB) != 0) {
        const int error = errno;
        if (error != EWOULDBLOCK)
            return io_error(path, "lock", error);
        const ssize_t n = pread(r->lock, owner, sizeof owner - 1, 0);
        owner[n > 0 ? n : 0] = '\0';
        return fail(STATUS_IO,
                    "%s: process %ld writes there; wait until it has ended, or choose another "
                    "folder with out=",
                    r->path, strtol(owner, NULL, 10));
    }
    snprintf(owner, sizeof owner, "%ld\n", (long)getpid());
    if (ftruncate(r->lock, 0) != 0 ||
        pwrite(r->lock, owner, strlen(owner), 0) != (ssize_t)strlen(owner))
        return io_error(path, "write", errno);
    return STATUS_OK;
}

/* What says that a run was here, NULL when nothing does. */
static const char *trace_of_run(const char *folder)
{
    static const char *const names[] = {"metrics.jsonl", "timing.jsonl", "checkpoints", "adapter",
                                        "recipe.yaml"};
    char path[PATH_MAX];

    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (join(path, folder, names[i]) == STATUS_OK && path_exists(path))
            return names[i];
    return NULL;
}

static status open_locked(run_folder *r, bool resume)
{
    TRY(lock(r));
    const char *trace = resume ? NULL : trace_of_run(r->path);
    if (trace)
        return fail(STATUS_USAGE,
                    "%s: holds a run already (%s); go on with --resume, or choose another folder "
                    "with out=",
                    r->path, trace);
    TRY(join(r->metrics.path, r->path, "metrics.jsonl"));
    return join(r->timing.path, r->path, "timing.jsonl");
}

status run_folder_open(run_folder *r, const char *path, bool resume)
{
    memset(r, 0, sizeof *r);
    r->lock = r->metrics.fd = r->timing.fd = r->events.fd = -1;
    if ((size_t)snprintf(r->path, sizeof r->path, "%s", path) >= sizeof r->path)
        return fail(STATUS_IO, "%.60s...: path is too long", path);
    TRY(folder_make(path));
    const status s = open_locked(r, resume);
    if (s != STATUS_OK)
        run_folder_close(r);
    return s;
}

void run_folder_close(run_folder *r)
{
    int *const fds[] = {&r->metrics.fd, &r->timing.fd, &r->lock};

    if (r->path[0] == '\0')
        return;
    tensorboard_close(&r->events);
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}

static status log_length(const run_log *log, int64_t *bytes)
{
    struct stat st;

    if (fstat(log->fd, &st) != 0)
        return io_error(log->path, "read", errno);
    *bytes = (int64_t)st.st_size;
    return STATUS_OK;
}

static status start_log(run_log *log, int64_t bytes)
{
    int64_t have;

    log->fd = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log->fd < 0)
        return io_error(log->path, "write", errno);
    TRY(log_length(log, &have));
    if (have < bytes)
        return fail(STATUS_FORMAT, "%s: has %lld bytes, the checkpoint wrote %lld", log->path,
                    (long long)have, (long long)bytes);
    if (ftruncate(log->fd, (off_t)bytes) != 0)
        return io_error(log->path, "cut back", errno);
    return STATUS_OK;
}

status run_folder_start(run_folder *r, int64_t from_step, int64_t metrics_bytes,
                        int64_t timing_bytes)
{
    CHECK(r->lock >= 0 && r->metrics.fd < 0);
    TRY(start_log(&r->metrics, metrics_bytes));
    TRY(start_log(&r->timing, timing_bytes));
    return tensorboard_open(&r->events, r->path, from_step);
}

/* Adds to a line; a programmer's error when there are so many values that it does not fit. */
static void add(char line[LINE], size_t *used, const char *format, ...) PRINTF_LIKE(3, 4);
static void add(char line[LINE], size_t *used, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    const int n = vsnprintf(line + *used, LINE - *used, format, args);
    va_end(args);
    CHECK(n >= 0 && *used + (size_t)n < LINE);
    *used += (size_t)n;
}

static bool is_name(const char *name)
{
    return name[0] && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789_./-") == strlen(name);
}

static status write_line(run_log *log, int64_t step, const run_value *v, int n)
{
    char line[LINE];
    size_t used = 0;
    int64_t before = 0;

    CHECK(log->fd >= 0);
    add(line, &used, "{\"step\": %lld", (long long)step);
    for (int i = 0; i < n; i++) {
        CHECK(is_name(v[i].name));
        if (!isfinite(v[i].value))
            add(line, &used, ", \"%s\": null", v[i].name);
        else if (v[i].whole)
            add(line, &used, ", \"%s\": %.0f", v[i].name, v[i].value);
        else
            add(line, &used, ", \"%s\": %.9g", v[i].name, v[i].value);
    }
    add(line, &used, "}\n");

    TRY(log_length(log, &before));
    const ssize_t wrote = write(log->fd, line, used);
    if (wrote == (ssize_t)used)
        return STATUS_OK;
    const int error = wrote < 0 ? errno : ENOSPC;
    if (wrote > 0 && ftruncate(log->fd, (off_t)before) != 0)
        return io_error(log->path, "cut a torn line", errno);
    return io_error(log->path, "write", error);
}

static status write_events(run_folder *r, int64_t step, const run_value *v, int n)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    const double wall = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    for (int i = 0; i < n; i++)
        TRY(tensorboard_scalar(&r->events, wall, step, v[i].name, (float)v[i].value));
    return STATUS_OK;
}

status run_folder_metrics(run_folder *r, int64_t step, const run_value *v, int n)
{
    TRY(write_line(&r->metrics, step, v, n));
    return write_events(r, step, v, n);
}

status run_folder_timing(run_folder *r, int64_t step, const run_value *v, int n)
{
    TRY(write_line(&r->timing, step, v, n));
    return write_events(r, step, v, n);
}

status run_folder_lengths(run_folder *r, int64_t *metrics_bytes, int64_t *timing_bytes)
{
    CHECK(r->metrics.fd >= 0 && r->timing.fd >= 0);
    if (fsync(r->metrics.fd) != 0)
        return io_error(r->metrics.path, "sync", errno);
    if (fsync(r->timing.fd) != 0)
        return io_error(r->timing.path, "sync", errno);
    TRY(log_length(&r->metrics, metrics_bytes));
    return log_length(&r->timing, timing_bytes);
}
