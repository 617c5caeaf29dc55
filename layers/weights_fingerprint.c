/* weights: the fingerprint of a trunk, and the cache of file digests
 *
 * A cache file fingerprints/DEVICE-INODE holds "SIZE MTIME_NS HEX\n". What cannot be read as that,
 * or is of another size or time, is ignored and replaced; a cache that cannot be written is no
 * failure. */
#include "core/sha256.h"
#include "layers/weights_files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

typedef struct identity {
    uint64_t device, inode, size;
    int64_t  mtime; /* nanoseconds */
} identity;

static status identify(const char *path, identity *out)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return fail(STATUS_IO, "%s: cannot read: %s", path, strerror(errno));
    *out = (identity){.device = st.st_dev,
                      .inode = st.st_ino,
                      .size = (uint64_t)st.st_size,
                      .mtime = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec};
    return STATUS_OK;
}

/* The path of a file's entry, or NULL when there is no cache folder. */
static const char *entry_path(arena *a, const identity *id)
{
    char *cache;

    if (cache_folder(a, &cache) != STATUS_OK)
        return NULL;
    const char *folder = path_join(a, cache, "fingerprints");
    if (!folder || folder_make(folder) != STATUS_OK)
        return NULL;
    return arena_printf(a, "%s/%" PRIx64 "-%" PRIx64, folder, id->device, id->inode);
}

static bool read_entry(arena *a, const char *entry, const identity *id, char hex[SHA256_HEX])
{
    const char *want = arena_printf(a, "%" PRIu64 " %" PRId64 " ", id->size, id->mtime);
    char       *text;
    size_t      length;

    if (!want || !path_exists(entry) || file_read(a, entry, 4096, &text, &length) != STATUS_OK)
        return false;
    const size_t n = strlen(want);
    if (length != n + 65 || memcmp(text, want, n) != 0 || text[length - 1] != '\n' ||
        strspn(text + n, "0123456789abcdef") != 64)
        return false;
    memcpy(hex, text + n, 64);
    hex[64] = '\0';
    return true;
}

/* A file that changed within the last two seconds could change again without a new time. */
static bool is_settled(const identity *id)
{
    return (int64_t)time(NULL) - id->mtime / 1000000000 > 2;
}

static status digest(arena *a, const char *path, char hex[SHA256_HEX])
{
    identity before, after;

    TRY(identify(path, &before));
    const char *entry = entry_path(a, &before);
    if (entry && read_entry(a, entry, &before, hex))
        return STATUS_OK;

    TRY(sha256_file(path, hex));
    TRY(identify(path, &after));
    if (memcmp(&before, &after, sizeof before) != 0)
        return fail(STATUS_IO, "%s: changed while it was read", path);
    const char *text =
        arena_printf(a, "%" PRIu64 " %" PRId64 " %s\n", before.size, before.mtime, hex);
    if (entry && text && is_settled(&before) &&
        file_replace(entry, text, strlen(text)) != STATUS_OK)
        status_clear();
    return STATUS_OK;
}

/* Adds "HEX  NAME\n", as sha256sum prints it. */
static status add_file(arena *a, sha256 *h, const char *folder, const char *name)
{
    const char *path = path_join(a, folder, name);
    char        hex[SHA256_HEX];

    if (!path)
        return STATUS_MEMORY;
    TRY(digest(a, path, hex));
    sha256_add(h, hex, 64);
    sha256_add(h, "  ", 2);
    sha256_add(h, name, strlen(name));
    sha256_add(h, "\n", 1);
    return STATUS_OK;
}

static status add_folder(arena *a, sha256 *h, const weights *w)
{
    const weights_files *f = w->files;
    bool                 config = false;

    for (int i = 0; i < f->n; i++) {
        if (!config && strcmp("config.json", f->names[i]) < 0) {
            TRY(add_file(a, h, w->path, "config.json"));
            config = true;
        }
        TRY(add_file(a, h, w->path, f->names[i]));
    }
    return config ? STATUS_OK : add_file(a, h, w->path, "config.json");
}

static status fingerprint(arena *a, const weights *w, char hex[65])
{
    sha256 h;

    if (w->is_gguf)
        return digest(a, w->path, hex);
    TRY(sha256_open(&h));
    const status s = add_folder(a, &h, w);
    sha256_close(&h, hex);
    return s;
}

/* A random trunk is its config and its seed. */
static status fingerprint_random(const weights *w, char hex[65])
{
    char  *text = cJSON_PrintUnformatted(w->config);
    sha256 h;

    if (!text)
        return fail(STATUS_MEMORY, "%s: no memory for its text", w->path);
    const status s = sha256_open(&h);
    if (s == STATUS_OK) {
        sha256_add(&h, text, strlen(text));
        sha256_add(&h, &w->seed, sizeof w->seed);
        sha256_close(&h, hex);
    }
    free(text);
    return s;
}

status weights_fingerprint(const weights *w, char hex[65])
{
    arena a;

    if (w->random)
        return fingerprint_random(w, hex);
    TRY(arena_open(&a, "fingerprint", (size_t)64 << 20));
    const status s = fingerprint(&a, w, hex);
    arena_close(&a);
    return s;
}
