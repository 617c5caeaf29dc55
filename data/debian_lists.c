/* debian: fetching the archive's lists with apt-get into a folder of our own, without root. The
 * system's own lists stay as they are. */
#include "data/debian.h"
#include "data/process.h"

#include "core/log.h"

#include <dirent.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The folder and the files in it. */
typedef struct place {
    char *folder, *lists, *targets, *index, *log, *lock;
} place;

static status make_place(arena *a, place *p)
{
    char *cache, *partial;

    TRY(cache_folder(a, &cache));
    if (!(p->folder = path_join(a, cache, "debian")) || !(p->lists = path_join(a, p->folder, "lists")) ||
        !(partial = path_join(a, p->lists, "partial")) ||
        !(p->targets = path_join(a, p->folder, "targets")) ||
        !(p->index = path_join(a, p->folder, "index")) ||
        !(p->log = path_join(a, p->folder, "apt.log")) || !(p->lock = path_join(a, p->folder, "lock")))
        return STATUS_MEMORY;
    return folder_make(partial);
}

bool debian_has(const debian_lists *l, const char *language)
{
    for (int i = 0; i < l->n; i++)
        if (strcmp(l->v[i].language, language) == 0)
            return true;
    return false;
}

static bool has_all(const debian_lists *l, int n, const char *const *languages)
{
    bool all = debian_has(l, "") && debian_has(l, "en");

    for (int i = 0; i < n; i++)
        all = all && debian_has(l, languages[i]);
    return all;
}

static bool is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Adds a list if its file is there. */
static status add_list(arena *a, debian_lists *l, const char *language, size_t n, const char *path)
{
    if (!is_file(path))
        return STATUS_OK;
    if (l->n == DEBIAN_FILES_MAX)
        return fail(STATUS_UNSUPPORTED, "debian: more than %d lists", DEBIAN_FILES_MAX);
    debian_file *f = &l->v[l->n++];
    f->language = arena_string(a, language, n);
    f->path = arena_string(a, path, strlen(path));
    return f->language && f->path ? STATUS_OK : STATUS_MEMORY;
}

/* What the last fetch found: lines "language|path". An absent or useless file gives no lists. */
static status read_targets(arena *a, const place *p, debian_lists *l, double *age_days)
{
    struct stat st;
    char       *text;
    size_t      n;

    *l = (debian_lists){0};
    *age_days = 1e9;
    if (stat(p->targets, &st) != 0)
        return STATUS_OK;
    *age_days = difftime(time(NULL), st.st_mtime) / 86400;
    TRY(file_read(a, p->targets, 1 << 20, &text, &n));
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        char *bar = strchr(line, '|');
        if (bar)
            TRY(add_list(a, l, line, (size_t)(bar - line), bar + 1));
    }
    return STATUS_OK;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Rows "created by|language|codename|component|file" of apt-get indextargets. */
static status read_index(arena *a, const place *p, debian_lists *l)
{
    char  *text;
    size_t n;

    *l = (debian_lists){0};
    TRY(file_read(a, p->index, 1 << 20, &text, &n));
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        char *cell[5];
        int   cells = 0;

        *end = '\0';
        for (char *at = line; at && cells < 5; cells++) {
            cell[cells] = at;
            at = cells < 4 ? strchr(at, '|') : NULL;
            if (at)
                *at++ = '\0';
        }
        if (cells < 5 || ends_with(cell[2], "-updates") || ends_with(cell[2], "-security") ||
            ends_with(cell[2], "-backports"))
            continue;
        if (strcmp(cell[0], "Packages") == 0)
            TRY(add_list(a, l, "", 0, cell[4]));
        else if (strcmp(cell[0], "Translations") == 0)
            TRY(add_list(a, l, cell[1], strlen(cell[1]), cell[4]));
    }
    return STATUS_OK;
}

static status write_targets(const place *p, const debian_lists *l)
{
    file_writer w;

    TRY(file_writer_open(&w, p->targets));
    for (int i = 0; i < l->n; i++)
        file_printf(&w, "%s|%s\n", l->v[i].language, l->v[i].path);
    return file_writer_close(&w, true);
}

/* "Acquire::Languages=en,de,..": English, what is there and what is asked for. */
static char *language_option(arena *a, const debian_lists *l, int n, const char *const *languages)
{
    char *option = arena_printf(a, "Acquire::Languages=en");

    for (int i = 0; option && i < l->n + n; i++) {
        const char *language = i < l->n ? l->v[i].language : languages[i - l->n];
        const char *seen = language[0] ? strstr(option, language) : option;
        const size_t length = strlen(language);

        while (seen && length && !((seen[-1] == ',' || seen[-1] == '=') &&
                                   (seen[length] == ',' || seen[length] == '\0')))
            seen = strstr(seen + 1, language);
        if (!seen)
            option = arena_printf(a, "%s,%s", option, language);
    }
    return option;
}

static status run_apt(arena *a, const place *p, const debian_lists *old, int n,
                      const char *const *languages)
{
    const struct passwd *user = getpwuid(geteuid());
    char  *lists = arena_printf(a, "Dir::State::Lists=%s", p->lists);
    char  *cache = arena_printf(a, "Dir::Cache=%s/cache", p->folder);
    char  *which = language_option(a, old, n, languages);
    char  *sandbox = arena_printf(a, "APT::Sandbox::User=%s", user ? user->pw_name : "root");
    char   last[256];
    int    code;

    if (!lists || !cache || !which || !sandbox)
        return STATUS_MEMORY;
    const char *update[] = {"apt-get", "-qq", "update", "-o", lists, "-o", cache, "-o", which,
                            "-o", "Acquire::GzipIndexes=false", "-o", sandbox,
                            "-o", "APT::Update::Error-Mode=any", NULL};
    const char *index[] = {"apt-get", "indextargets", "-o", lists, "-o", which, "--format",
                           "$(CREATED_BY)|$(LANGUAGE)|$(CODENAME)|$(COMPONENT)|$(FILENAME)", NULL};

    unlink(p->log);
    log_info("debian: fetching the archive's package descriptions with apt-get (log: %s)", p->log);
    TRY(process_run(update, p->log, NULL, &code));
    if (code != 0)
        return fail(STATUS_IO, "apt-get update ended with %d: %s", code,
                    process_last_line(p->log, last));
    TRY(process_run(index, p->log, p->index, &code));
    if (code != 0)
        return fail(STATUS_IO, "apt-get indextargets ended with %d: %s", code,
                    process_last_line(p->log, last));
    return STATUS_OK;
}

/* With the lock held: the lists as apt-get brings them, or the old ones. */
static status update(arena *a, const place *p, int n, const char *const *languages, int64_t max_age,
                     debian_lists *out)
{
    char   why[512];
    double age;

    TRY(read_targets(a, p, out, &age)); /* another process may have been quicker */
    if (has_all(out, n, languages) && age < (double)max_age)
        return STATUS_OK;

    const status s = run_apt(a, p, out, n, languages);
    if (s == STATUS_OK) {
        TRY(read_index(a, p, out));
        TRY(write_targets(p, out));
        for (int i = 0; i < n; i++)
            if (!debian_has(out, languages[i]))
                return fail(STATUS_USAGE, "debian: the archive has no descriptions in the language "
                                          "\"%s\"",
                            languages[i]);
        if (has_all(out, n, languages))
            return STATUS_OK;
        return fail(STATUS_IO, "debian: apt-get update brought no package lists for this release; is an "
                               "archive named in /etc/apt/sources.list? (log: %s)",
                    p->log);
    }
    snprintf(why, sizeof why, "%.500s", status_text());
    if (has_all(out, n, languages)) {
        log_warn("debian: the lists are %.0f days old and could not be renewed (%s); using them", age,
                 why);
        return STATUS_OK;
    }
    if (s == STATUS_UNSUPPORTED)
        return fail(STATUS_UNSUPPORTED, "debian: package descriptions need apt-get, which is not on this "
                                        "machine: use Debian or Ubuntu, or another source");
    return fail(STATUS_IO,
                "debian: the package descriptions could not be fetched into %s: %s\n"
                "connect this machine to its archive (test with: apt-get update) or copy the folder "
                "from a machine that has it (log: %s)",
                p->lists, why, p->log);
}

status debian_fetch(arena *a, int n, const char *const *languages, int64_t max_age, debian_lists *out)
{
    place  p;
    double age;
    int    fd;

    for (int i = 0; i < n; i++)
        if (!languages[i][0] || strlen(languages[i]) > 16 ||
            strspn(languages[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_@") !=
                strlen(languages[i]))
            return fail(STATUS_USAGE, "debian: \"%.40s\" is not a language, must be like de or pt_BR",
                        languages[i]);
    TRY(make_place(a, &p));
    TRY(read_targets(a, &p, out, &age));
    if (has_all(out, n, languages) && age < (double)max_age)
        return STATUS_OK;
    TRY(file_lock(p.lock, &fd));
    const status s = update(a, &p, n, languages, max_age, out);
    file_unlock(fd);
    return s;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const debian_file *)a)->path, ((const debian_file *)b)->path);
}

status debian_look(arena *a, const char *folder, debian_lists *out)
{
    DIR           *dir = opendir(folder);
    struct dirent *entry;
    status         s = STATUS_OK;

    *out = (debian_lists){0};
    if (!dir)
        return fail(STATUS_IO, "debian: %s: cannot open the folder of lists", folder);
    while (s == STATUS_OK && (entry = readdir(dir)) != NULL) {
        const char *name = entry->d_name, *mark = strstr(name, "Translation-");
        char        language[64], *path = path_join(a, folder, name), *escaped;

        if (!path)
            s = STATUS_MEMORY;
        else if (mark) {
            snprintf(language, sizeof language, "%.60s", mark + strlen("Translation-"));
            if ((escaped = strstr(language, "%5f")) != NULL) {
                *escaped = '_';
                memmove(escaped + 1, escaped + 3, strlen(escaped + 3) + 1);
            }
            s = add_list(a, out, language, strlen(language), path);
        } else if (ends_with(name, "Packages"))
            s = add_list(a, out, "", 0, path);
    }
    closedir(dir);
    TRY(s);
    qsort(out->v, (size_t)out->n, sizeof *out->v, by_path);
    if (!debian_has(out, "") || !debian_has(out, "en"))
        return fail(STATUS_IO, "debian: %s must hold a file ..Packages and a file ..Translation-en",
                    folder);
    return STATUS_OK;
}
