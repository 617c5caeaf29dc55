/* manifest: writing and checking */
#include "recipes/manifest.h"

#include "core/file.h"
#include "core/json.h"
#include "core/sha256.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char name[] = "MANIFEST.json", tail[] = "\"manifest_sha256\": \"";

enum { TAIL = sizeof tail - 1 + SHA256_HEX - 1 + 3 /* "}\n */, TEXT_LIMIT = 1 << 24 };

typedef struct file_list {
    arena *a;
    char **v; /* [MANIFEST_FILES] paths relative to the folder */
    int n;
} file_list;

/* Adds all files below folder/prefix. */
static status list_files(file_list *l, const char *folder, const char *prefix)
{
    char path[PATH_MAX];
    struct dirent *entry;
    status s = STATUS_OK;

    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, prefix) >= sizeof path)
        return fail(STATUS_IO, "%s: path is too long", folder);
    DIR *dir = opendir(path);
    if (!dir)
        return fail(STATUS_IO, "%s: cannot open the folder: %s", path, strerror(errno));
    while (s == STATUS_OK && (entry = readdir(dir)) != NULL) {
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *below = arena_printf(l->a, "%s%s%s", prefix, prefix[0] ? "/" : "", entry->d_name);
        if (!below)
            s = STATUS_MEMORY;
        else if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, below) >= sizeof path)
            s = fail(STATUS_IO, "%s: path is too long", folder);
        else if (lstat(path, &st) != 0)
            s = fail(STATUS_IO, "%s: cannot read: %s", path, strerror(errno));
        else if (S_ISDIR(st.st_mode))
            s = list_files(l, folder, below);
        else if (!S_ISREG(st.st_mode))
            s = fail(STATUS_IO, "%s: must be a file", path);
        else if (l->n == MANIFEST_FILES)
            s = fail(STATUS_IO, "%s: has more than %d files", folder, MANIFEST_FILES);
        else
            l->v[l->n++] = below;
    }
    closedir(dir);
    return s;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Size and hash of a regular file (no link). */
static status measure(const char *path, int64_t *bytes, char hex[SHA256_HEX])
{
    struct stat st;

    if (lstat(path, &st) != 0)
        return fail(STATUS_IO, "%s: cannot read: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fail(STATUS_FORMAT, "%s: must be a file", path);
    *bytes = (int64_t)st.st_size;
    return sha256_file(path, hex);
}

/* "key": "text" or null; json_quote's result lies in the arena. */
static void print_text(arena *a, FILE *f, const char *key, const char *text)
{
    const char *quoted = text ? json_quote(a, text, strlen(text)) : "null";

    fprintf(f, "\"%s\": %s,\n", key, quoted ? quoted : "null");
}

static status print_files(arena *a, FILE *f, const char *folder)
{
    file_list l = {.a = a};

    TRY_TAKE(l.v, a, MANIFEST_FILES);
    TRY(list_files(&l, folder, ""));
    qsort(l.v, (size_t)l.n, sizeof *l.v, by_name);
    fprintf(f, "\"files\": [");
    for (int i = 0, printed = 0; i < l.n; i++) {
        char hex[SHA256_HEX], path[PATH_MAX];
        int64_t bytes;

        if (strcmp(l.v[i], name) == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, l.v[i]);
        TRY(measure(path, &bytes, hex));
        const char *quoted = json_quote(a, l.v[i], strlen(l.v[i]));
        if (!quoted)
            return STATUS_MEMORY;
        fprintf(f, "%s\n  {\"path\": %s, \"bytes\": %lld, \"sha256\": \"%s\"}",
                printed++ ? "," : "", quoted, (long long)bytes, hex);
    }
    fprintf(f, "\n],\n");
    return STATUS_OK;
}

static status print_manifest(arena *a, FILE *f, const char *folder, int64_t step,
                             const checkpoint_facts *facts)
{
    fprintf(f, "{\"format\": %d,\n\"step\": %lld,\n", MANIFEST_FORMAT, (long long)step);
    print_text(a, f, "base", facts->base);
    print_text(a, f, "tokenizer", facts->tokenizer);
    print_text(a, f, "data", facts->data);
    print_text(a, f, "recipe", facts->recipe);
    print_text(a, f, "device", facts->device);
    fprintf(f, "\"metrics_bytes\": %lld,\n\"timing_bytes\": %lld,\n",
            (long long)facts->metrics_bytes, (long long)facts->timing_bytes);
    return print_files(a, f, folder);
}

status manifest_write(const char *folder, int64_t step, const checkpoint_facts *facts)
{
    arena work;
    char *text = NULL, hex[SHA256_HEX], path[PATH_MAX];
    size_t n = 0;

    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path)
        return fail(STATUS_IO, "%s: path is too long", folder);
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return fail(STATUS_MEMORY, "%s: no memory for its text", path);
    status s = arena_open(&work, "work", 1 << 26);
    if (s == STATUS_OK)
        s = print_manifest(&work, f, folder, step, facts);
    arena_close(&work);
    if (s == STATUS_OK && fflush(f) != 0)
        s = fail(STATUS_MEMORY, "%s: no memory for its text", path);
    if (s == STATUS_OK)
        s = sha256_bytes(text, n, hex);
    if (s == STATUS_OK) {
        fprintf(f, "%s%s\"}\n", tail, hex);
        s = fclose(f) == 0 ? file_replace(path, text, n)
                           : fail(STATUS_MEMORY, "%s: no memory for its text", path);
    } else
        fclose(f);
    free(text);
    return s;
}

/* The text must end with the hash of what stands before it. */
static status check_self(const char *text, size_t n, const char *path)
{
    char hex[SHA256_HEX];

    if (n < TAIL)
        return fail(STATUS_FORMAT, "%s: has %zu bytes, is cut off", path, n);
    const char *end = text + n - TAIL;
    TRY(sha256_bytes(text, n - TAIL, hex));
    if (memcmp(end, tail, sizeof tail - 1) != 0 ||
        memcmp(end + sizeof tail - 1, hex, SHA256_HEX - 1) != 0 ||
        memcmp(text + n - 3, "\"}\n", 3) != 0)
        return fail(STATUS_FORMAT, "%s: does not match its own SHA-256", path);
    return STATUS_OK;
}

static bool is_inside(const char *path)
{
    return path[0] && path[0] != '/' && strcmp(path, "..") != 0 && strncmp(path, "../", 3) != 0 &&
           !strstr(path, "/../") &&
           !(strlen(path) >= 3 && strcmp(path + strlen(path) - 3, "/..") == 0);
}

static status check_file(const char *folder, const cJSON *item, const char *what)
{
    const char *file = NULL, *want = NULL;
    char path[PATH_MAX], hex[SHA256_HEX];
    int64_t bytes = 0, have;

    TRY(json_string(item, "path", true, &file, what));
    TRY(json_string(item, "sha256", true, &want, what));
    TRY(json_int(item, "bytes", true, 0, INT64_MAX >> 10, &bytes, what));
    if (!is_inside(file) ||
        (size_t)snprintf(path, sizeof path, "%s/%s", folder, file) >= sizeof path)
        return fail(STATUS_FORMAT, "%s: %s is no path below the folder", what, file);
    TRY(measure(path, &have, hex));
    if (have != bytes)
        return fail(STATUS_FORMAT, "%s: has %lld bytes, the manifest says %lld", path,
                    (long long)have, (long long)bytes);
    if (strcmp(hex, want) != 0)
        return fail(STATUS_FORMAT, "%s: its SHA-256 is not the one in the manifest", path);
    return STATUS_OK;
}

static status copy_text(arena *a, const cJSON *o, const char *key, const char **out,
                        const char *what)
{
    const char *text = NULL;

    TRY(json_string(o, key, false, &text, what));
    *out = text ? arena_string(a, text, strlen(text)) : NULL;
    return text && !*out ? STATUS_MEMORY : STATUS_OK;
}

static status check_manifest(arena *a, const char *folder, const cJSON *o, const char *what,
                             int64_t *step, checkpoint_facts *facts)
{
    int64_t format = 0;
    const cJSON *files = cJSON_GetObjectItemCaseSensitive(o, "files"), *item;

    TRY(json_int(o, "format", true, 0, 1000, &format, what));
    if (format != MANIFEST_FORMAT)
        return fail(STATUS_UNSUPPORTED, "%s: format is %lld, this program reads %d", what,
                    (long long)format, MANIFEST_FORMAT);
    TRY(json_int(o, "step", true, 0, INT64_MAX >> 10, step, what));
    TRY(json_int(o, "metrics_bytes", true, 0, INT64_MAX >> 10, &facts->metrics_bytes, what));
    TRY(json_int(o, "timing_bytes", true, 0, INT64_MAX >> 10, &facts->timing_bytes, what));
    TRY(copy_text(a, o, "base", &facts->base, what));
    TRY(copy_text(a, o, "tokenizer", &facts->tokenizer, what));
    TRY(copy_text(a, o, "data", &facts->data, what));
    TRY(copy_text(a, o, "recipe", &facts->recipe, what));
    TRY(copy_text(a, o, "device", &facts->device, what));
    if (!cJSON_IsArray(files))
        return fail(STATUS_FORMAT, "%s: files must be a list", what);
    cJSON_ArrayForEach(item, files) TRY(check_file(folder, item, what));
    return STATUS_OK;
}

status manifest_check(arena *a, const char *folder, int64_t *step, checkpoint_facts *facts)
{
    char path[PATH_MAX], *text;
    size_t n;
    cJSON *o = NULL;

    *facts = (checkpoint_facts){0};
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path)
        return fail(STATUS_IO, "%s: path is too long", folder);
    TRY(file_read(a, path, TEXT_LIMIT, &text, &n));
    TRY(check_self(text, n, path));
    TRY(json_parse(text, n, path, &o));
    const status s = check_manifest(a, folder, o, path, step, facts);
    cJSON_Delete(o);
    return s;
}
