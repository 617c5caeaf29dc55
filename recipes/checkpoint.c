/* checkpoint: publishing, pruning and finding */
#include "recipes/checkpoint.h"

#include "core/file.h"
#include "core/log.h"
#include "recipes/manifest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS_MAX = 100000 };

static status join(char out[PATH_MAX], const char *folder, const char *name)
{
    if (snprintf(out, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX)
        return fail(STATUS_IO, "%s: path is too long", folder);
    return STATUS_OK;
}

/* "step-000016", ".step-000016.tmp" */
static status step_path(char out[PATH_MAX], const char *folder, int64_t step, bool unfinished)
{
    char name[64];

    snprintf(name, sizeof name, unfinished ? ".step-%06lld.tmp" : "step-%06lld", (long long)step);
    return join(out, folder, name);
}

/* The step in "step-000016"; -1 for any other name. */
static int64_t step_of(const char *name)
{
    char again[64];

    if (strncmp(name, "step-", 5) != 0 || strlen(name) > 24)
        return -1;
    const int64_t step = strtoll(name + 5, NULL, 10);
    snprintf(again, sizeof again, "step-%06lld", (long long)step);
    return step >= 0 && strcmp(again, name) == 0 ? step : -1;
}

static bool is_unfinished(const char *name)
{
    const size_t n = strlen(name);

    return n > 10 && strncmp(name, ".step-", 6) == 0 && strcmp(name + n - 4, ".tmp") == 0;
}

static int newest_first(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x < y) - (x > y);
}

/* The steps in a folder, newest first, into a list that the caller frees; removes unfinished
 * checkpoints. */
static status list_steps(const char *folder, int64_t **steps, int *n)
{
    struct dirent *entry;
    status s = STATUS_OK;

    *n = 0;
    *steps = NULL;
    DIR *dir = opendir(folder);
    if (!dir)
        return errno == ENOENT
                   ? STATUS_OK
                   : fail(STATUS_IO, "%s: cannot open the folder: %s", folder, strerror(errno));
    *steps = malloc(STEPS_MAX * sizeof **steps);
    if (!*steps)
        s = fail(STATUS_MEMORY, "%s: no memory for its list", folder);
    while (s == STATUS_OK && (entry = readdir(dir)) != NULL) {
        const int64_t step = step_of(entry->d_name);
        char path[PATH_MAX];
        if (is_unfinished(entry->d_name)) {
            s = join(path, folder, entry->d_name);
            if (s == STATUS_OK && folder_remove_tree(path) != STATUS_OK)
                log_warn("%s", status_text());
        } else if (step >= 0 && *n == STEPS_MAX)
            s = fail(STATUS_IO, "%s: has more than %d checkpoints", folder, STEPS_MAX);
        else if (step >= 0)
            (*steps)[(*n)++] = step;
    }
    closedir(dir);
    if (s == STATUS_OK)
        qsort(*steps, (size_t)*n, sizeof **steps, newest_first);
    return s;
}

status checkpoint_begin(checkpoint *c, const char *run, int64_t step)
{
    CHECK(step >= 0);
    *c = (checkpoint){.step = step};
    TRY(join(c->folder, run, "checkpoints"));
    TRY(folder_make(c->folder));
    TRY(step_path(c->path, c->folder, step, true));
    TRY(folder_remove_tree(c->path));
    return folder_make(c->path);
}

void checkpoint_abort(checkpoint *c)
{
    char text[2048];

    snprintf(text, sizeof text, "%s", status_text()); /* the failure that led here is kept */
    if (c->path[0] && folder_remove_tree(c->path) != STATUS_OK)
        log_warn("%s", status_text());
    c->path[0] = '\0';
    if (text[0])
        fail(STATUS_IO, "%s", text);
}

/* Takes a finished checkpoint away: out of sight first, so that it is never found half removed. */
static status remove_step(const char *folder, int64_t step)
{
    char path[PATH_MAX], tmp[PATH_MAX];

    TRY(step_path(path, folder, step, false));
    TRY(step_path(tmp, folder, step, true));
    TRY(folder_remove_tree(tmp));
    if (rename(path, tmp) != 0)
        return fail(STATUS_IO, "%s: cannot remove: %s", path, strerror(errno));
    return folder_remove_tree(tmp);
}

static status prune(const char *folder, int64_t newest, int keep, int64_t best)
{
    int64_t *steps;
    int n, kept = 0;
    status s = list_steps(folder, &steps, &n);

    for (int i = 0; i < n && s == STATUS_OK; i++)
        if (steps[i] > newest || (kept++ >= keep && steps[i] != best))
            s = remove_step(folder, steps[i]);
    free(steps);
    return s;
}

/* Puts the finished folder in the place of a checkpoint of the same step, which exists: the two are
 * exchanged at once, or, on file systems that cannot, the old one is moved away first. */
static status replace_published(checkpoint *c, const char *path)
{
    char ready[PATH_MAX];

    TRY(step_path(ready, c->folder, c->step, true));
    ready[strlen(ready) - 4] = '\0';
    strcat(ready, ".new.tmp"); /* ends like all unfinished ones: a kill here leaves no trace */
    TRY(folder_remove_tree(ready));
    TRY(folder_publish(c->path, ready));
    if (renameat2(AT_FDCWD, ready, AT_FDCWD, path, RENAME_EXCHANGE) != 0) {
        TRY(remove_step(c->folder, c->step));
        if (rename(ready, path) != 0)
            return fail(STATUS_IO, "%s: cannot rename into place: %s", path, strerror(errno));
    } else
        TRY(folder_remove_tree(ready));
    return folder_sync(c->folder);
}

static status publish(checkpoint *c, const checkpoint_facts *facts)
{
    char path[PATH_MAX];

    TRY(step_path(path, c->folder, c->step, false));
    TRY(manifest_write(c->path, c->step, facts));
    return path_exists(path) ? replace_published(c, path) : folder_publish(c->path, path);
}

status checkpoint_commit(checkpoint *c, const checkpoint_facts *facts, int keep, int64_t best)
{
    CHECK(keep >= 2 && c->path[0]);
    const status s = publish(c, facts);

    if (s != STATUS_OK) {
        checkpoint_abort(c);
        return s;
    }
    c->path[0] = '\0';
    if (prune(c->folder, c->step, keep, best) != STATUS_OK) /* the checkpoint itself is safe */
        log_warn("%s", status_text());
    return STATUS_OK;
}

status checkpoint_verify(arena *a, const char *path, checkpoint_found *out)
{
    const char *slash = strrchr(path, '/');

    *out = (checkpoint_found){0};
    if ((size_t)snprintf(out->path, sizeof out->path, "%s", path) >= sizeof out->path)
        return fail(STATUS_IO, "%.60s...: path is too long", path);
    TRY(manifest_check(a, path, &out->step, &out->facts));
    if (step_of(slash ? slash + 1 : path) != out->step)
        return fail(STATUS_FORMAT, "%s: holds step %lld, its name says another", path,
                    (long long)out->step);
    out->any = true;
    return STATUS_OK;
}

status checkpoint_open(arena *a, const char *run, int64_t step, checkpoint_found *out)
{
    char folder[PATH_MAX], path[PATH_MAX];

    *out = (checkpoint_found){0};
    TRY(join(folder, run, "checkpoints"));
    TRY(step_path(path, folder, step, false));
    return checkpoint_verify(a, path, out);
}

status checkpoint_find_good(arena *a, const char *run, int64_t below, checkpoint_found *out)
{
    char folder[PATH_MAX], path[PATH_MAX];
    int64_t *steps;
    int n;

    *out = (checkpoint_found){0};
    TRY(join(folder, run, "checkpoints"));
    status s = list_steps(folder, &steps, &n);
    for (int i = 0; i < n && s == STATUS_OK && !out->any; i++) {
        if (steps[i] >= below)
            continue;
        const size_t mark = arena_mark(a);
        s = step_path(path, folder, steps[i], false);
        checkpoint_found one = {0};
        const status bad = s == STATUS_OK ? checkpoint_verify(a, path, &one) : s;
        if (bad == STATUS_MEMORY)
            s = bad;
        else if (s == STATUS_OK && bad != STATUS_OK) {
            log_warn("checkpoint skipped: %s", status_text());
            status_clear();
            out->n_bad++;
            arena_rewind(a, mark);
        } else if (s == STATUS_OK) {
            one.n_bad = out->n_bad;
            *out = one;
        }
    }
    free(steps);
    return s;
}

status checkpoint_find_newest_good(arena *a, const char *run, checkpoint_found *out)
{
    return checkpoint_find_good(a, run, INT64_MAX, out);
}
