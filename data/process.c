/* process: posix_spawn with an argument vector, and flock */
#include "data/process.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int set_up(posix_spawn_file_actions_t *files, const char *log, const char *out)
{
    int e = posix_spawn_file_actions_addopen(files, 0, "/dev/null", O_RDONLY, 0);

    if (!e)
        e = posix_spawn_file_actions_addopen(files, 2, log, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (!e && out)
        e = posix_spawn_file_actions_addopen(files, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    else if (!e)
        e = posix_spawn_file_actions_adddup2(files, 2, 1);
    return e;
}

status process_run(const char *const *argv, const char *log, const char *out, int *code)
{
    posix_spawn_file_actions_t files;
    pid_t                      pid;
    int                        state, e;

    posix_spawn_file_actions_init(&files);
    e = set_up(&files, log, out);
    if (!e) /* the interface wants char *const *, and does not write */
        e = posix_spawnp(&pid, argv[0], &files, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&files);
    if (e == ENOENT)
        return fail(STATUS_UNSUPPORTED, "%s: the program was not found", argv[0]);
    if (e)
        return fail(STATUS_IO, "%s: cannot be started: %s", argv[0], strerror(e));
    while (waitpid(pid, &state, 0) < 0)
        if (errno != EINTR)
            return fail(STATUS_IO, "%s: cannot be waited for: %s", argv[0], strerror(errno));
    *code = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
    return STATUS_OK;
}

const char *process_last_line(const char *log, char out[256])
{
    FILE *f = fopen(log, "r");
    char  line[1024];

    out[0] = '\0';
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0])
            snprintf(out, 256, "%.255s", line);
    }
    if (f)
        fclose(f);
    return out;
}

status file_lock(const char *path, int *fd)
{
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*fd < 0)
        return fail(STATUS_IO, "%s: cannot open: %s", path, strerror(errno));
    while (flock(*fd, LOCK_EX) != 0)
        if (errno != EINTR) {
            const status s = fail(STATUS_IO, "%s: cannot lock: %s", path, strerror(errno));
            close(*fd);
            return s;
        }
    return STATUS_OK;
}

void file_unlock(int fd)
{
    close(fd);
}
