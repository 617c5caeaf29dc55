/* file: folders and paths */
#include "core/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static status io_error(const char *path, const char *what)
{
    const int error = errno;

    return fail(STATUS_IO, "%s: cannot %s: %s%s", path, what, strerror(error), file_remedy(error));
}

bool path_exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

bool path_is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

status folder_make(const char *path)
{
    char part[PATH_MAX];

    if ((size_t)snprintf(part, sizeof part, "%s", path) >= sizeof part)
        return fail(STATUS_IO, "%.60s...: path is too long", path);
    for (char *p = part + 1; *p; p++)
        if (*p == '/') {
            *p = '\0';
            if (mkdir(part, 0777) != 0 && errno != EEXIST)
                return io_error(part, "make the folder");
            *p = '/';
        }
    if (mkdir(part, 0777) != 0 && errno != EEXIST)
        return io_error(path, "make the folder");
    if (!path_is_folder(path))
        return fail(STATUS_IO, "%s: is a file, must be a folder", path);
    return STATUS_OK;
}

status folder_sync(const char *path)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return io_error(path, "open the folder");
    if (fsync(fd) != 0 && errno != EINVAL) { /* EINVAL: a file system without folder sync */
        const status s = io_error(path, "sync");
        close(fd);
        return s;
    }
    close(fd);
    return STATUS_OK;
}

/* Calls visit for every file below, deepest first, and for the folder itself last. */
static status walk(const char *path, status (*visit)(const char *path, bool is_folder))
{
    DIR           *dir = opendir(path);
    struct dirent *entry;
    status         s = STATUS_OK;

    if (!dir)
        return io_error(path, "open the folder");
    while (s == STATUS_OK && (entry = readdir(dir)) != NULL) {
        char        below[PATH_MAX];
        struct stat st;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if ((size_t)snprintf(below, sizeof below, "%s/%s", path, entry->d_name) >= sizeof below)
            s = fail(STATUS_IO, "%s: path is too long", path);
        else if (lstat(below, &st) != 0)
            s = io_error(below, "read");
        else
            s = S_ISDIR(st.st_mode) ? walk(below, visit) : visit(below, false);
    }
    closedir(dir);
    return s == STATUS_OK ? visit(path, true) : s;
}

static status remove_one(const char *path, bool is_folder)
{
    if ((is_folder ? rmdir(path) : unlink(path)) != 0 && errno != ENOENT)
        return io_error(path, "remove");
    return STATUS_OK;
}

status folder_remove_tree(const char *path)
{
    struct stat st;

    if (lstat(path, &st) != 0)
        return errno == ENOENT ? STATUS_OK : io_error(path, "remove");
    return S_ISDIR(st.st_mode) ? walk(path, remove_one) : remove_one(path, false);
}

static status sync_one(const char *path, bool is_folder)
{
    if (is_folder)
        return folder_sync(path);

    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return io_error(path, "open");
    if (fsync(fd) != 0) {
        const status s = io_error(path, "sync");
        close(fd);
        return s;
    }
    close(fd);
    return STATUS_OK;
}

status file_copy(const char *from, const char *to)
{
    file_map map;

    TRY(file_map_open(&map, from));
    const status s = file_replace(to, map.v, map.bytes);
    file_map_close(&map);
    return s;
}

/* Into a folder that is there. */
static status copy_below(const char *from, const char *to)
{
    DIR           *dir = opendir(from);
    struct dirent *entry;
    status         s = STATUS_OK;

    if (!dir)
        return io_error(from, "open the folder");
    while (s == STATUS_OK && (entry = readdir(dir)) != NULL) {
        char source[PATH_MAX], target[PATH_MAX];

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if ((size_t)snprintf(source, sizeof source, "%s/%s", from, entry->d_name) >= sizeof source ||
            (size_t)snprintf(target, sizeof target, "%s/%s", to, entry->d_name) >= sizeof target)
            s = fail(STATUS_IO, "%s: path is too long", from);
        else if (!path_is_folder(source))
            s = file_copy(source, target);
        else if ((s = folder_make(target)) == STATUS_OK)
            s = copy_below(source, target);
    }
    closedir(dir);
    return s;
}

status folder_copy(const char *from, const char *to)
{
    char tmp[PATH_MAX];

    if ((size_t)snprintf(tmp, sizeof tmp, "%s.tmp", to) >= sizeof tmp)
        return fail(STATUS_IO, "%s: path is too long", to);
    TRY(folder_remove_tree(tmp));
    TRY(folder_make(tmp));
    TRY(copy_below(from, tmp));
    return folder_publish(tmp, to);
}

static status rename_into(const char *tmp, const char *path)
{
    char parent[PATH_MAX];

    if (rename(tmp, path) != 0)
        return io_error(path, "rename into place");
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash == parent)
        slash[1] = '\0';
    else if (slash)
        *slash = '\0';
    else
        strcpy(parent, ".");
    return folder_sync(parent);
}

status folder_publish(const char *tmp, const char *path)
{
    TRY(walk(tmp, sync_one));
    if (path_exists(path))
        return fail(STATUS_IO, "%s: exists already", path);
    return rename_into(tmp, path);
}

status file_publish(const char *tmp, const char *path)
{
    TRY(sync_one(tmp, false));
    return rename_into(tmp, path);
}

char *path_join(arena *a, const char *folder, const char *name)
{
    if (name[0] == '/' || folder[0] == '\0' || strcmp(folder, ".") == 0)
        return arena_string(a, name, strlen(name));
    return arena_printf(a, "%s%s%s", folder, folder[strlen(folder) - 1] == '/' ? "" : "/", name);
}

status cache_folder(arena *a, char **path)
{
    const char *own = getenv("CAMBIUM_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");

    if (own && own[0])
        *path = arena_string(a, own, strlen(own));
    else if (xdg && xdg[0] == '/')
        *path = path_join(a, xdg, "cambium");
    else if (home && home[0])
        *path = path_join(a, home, ".cache/cambium");
    else
        return fail(STATUS_IO, "no cache folder: set CAMBIUM_CACHE to a folder, or HOME");
    if (!*path)
        return STATUS_MEMORY;
    return folder_make(*path);
}
