/* golden: counting and comparing */
#include "tests/with_golden.h"

#include "core/file.h"

#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *golden_path(const char *folder, const char *name)
{
    static char ring[4][2048];
    static int next;
    char *path = ring[next++ & 3];

    snprintf(path, sizeof ring[0], "%s/%s", folder, name);
    return path;
}

bool golden_has(const char *folder, const char *name)
{
    return path_exists(golden_path(folder, name));
}

void golden_begin(golden *g, const char *folder, const char *name)
{
    snprintf(g->name, sizeof g->name, "%s%s%s", folder, name[0] ? " " : "", name);
    g->worst = g->error = g->bound = 0;
    g->what[0] = '\0';
    g->wrong = false;
    status_clear();
}

void golden_end(golden *g, status s)
{
    if (s == STATUS_UNSUPPORTED) {
        printf("SKIP golden %s: %s\n", g->name, status_text());
        g->skipped++;
    } else if (s != STATUS_OK) {
        printf("FAILED %s: %s\n", g->name, status_text());
        g->failed++;
    } else if (g->wrong) {
        printf("FAILED %s: %s\n", g->name, g->what);
        g->failed++;
    } else if (!g->what[0]) {
        printf("FAILED %s: nothing was compared\n", g->name);
        g->failed++;
    } else if (!(g->worst <= 1)) {
        printf("FAILED %s: %s is off by %.3g, may be %.3g\n", g->name, g->what, g->error, g->bound);
        g->failed++;
    } else {
        printf("ok %s: %.2g of %.2g (%s)\n", g->name, g->error, g->bound, g->what);
        g->passed++;
    }
    fflush(stdout);
}

void golden_skip(golden *g, const char *folder, const char *name, const char *format, ...)
{
    va_list args;

    printf("SKIP golden %s%s%s: ", folder, name[0] ? " " : "", name);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    g->skipped++;
}

static void note(golden *g, const char *what, double error, double bound)
{
    const double share = error == 0 ? 0 : isfinite(error) ? error / bound : INFINITY;

    if (g->wrong)
        return;

    if (share >= g->worst || isnan(share)) {
        g->worst = isnan(share) ? INFINITY : share;
        g->error = error;
        g->bound = bound;
        snprintf(g->what, sizeof g->what, "%s", what);
    }
}

void golden_number(golden *g, const char *what, double got, double want, double bound,
                   bool relative)
{
    const double scale = relative && want != 0 ? fabs(want) : 1;

    note(g, what, isfinite(got) ? fabs(got - want) / scale : INFINITY, bound);
}

void golden_exact(golden *g, const char *what, int64_t wrong)
{
    note(g, what, (double)wrong, 0);
}

void golden_wrong(golden *g, const char *format, ...)
{
    va_list args;

    if (g->wrong)
        return;
    va_start(args, format);
    vsnprintf(g->what, sizeof g->what, format, args);
    va_end(args);
    g->wrong = true;
}

status golden_list(const cJSON *o, const char *key, const cJSON **out, const char *what)
{
    *out = cJSON_GetObjectItemCaseSensitive(o, key);
    if (!cJSON_IsArray(*out) && !cJSON_IsObject(*out))
        return fail(STATUS_FORMAT, "%s: %s must be a list or an object", what, key);
    return STATUS_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

status golden_names(arena *a, const char *folder, bool folders, char ***names, int *n)
{
    enum { NAMES_MAX = 4096 };
    DIR *d = opendir(folder);
    struct dirent *e;
    status s = STATUS_OK;

    *n = 0;
    if (!d)
        return fail(STATUS_IO, "%s: cannot be read", folder);
    *names = arena_take(a, NAMES_MAX, sizeof **names);
    if (!*names)
        s = STATUS_MEMORY;
    while (s == STATUS_OK && (e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.' || path_is_folder(golden_path(folder, e->d_name)) != folders)
            continue;
        if (*n == NAMES_MAX)
            s = fail(STATUS_FORMAT, "%s: holds more than %d names", folder, NAMES_MAX);
        else if (!((*names)[(*n)++] = arena_string(a, e->d_name, strlen(e->d_name))))
            s = STATUS_MEMORY;
    }
    closedir(d);
    if (s == STATUS_OK)
        qsort(*names, (size_t)*n, sizeof **names, by_name);
    return s;
}

static double value_at(const tensor *t, const void *v, int64_t i)
{
    double d;
    float f;

    if (t->type == TYPE_F64) {
        memcpy(&d, (const char *)v + 8 * i, 8);
        return d;
    }
    memcpy(&f, (const char *)v + 4 * i, 4);
    return (double)f;
}

static bool is_float(const tensor *t)
{
    return t->type == TYPE_F32 || t->type == TYPE_F64;
}

double golden_largest(const safetensors_entry *e)
{
    double largest = 0;

    for (int64_t i = 0; !e->opaque && is_float(&e->t) && i < shape_count(e->t.s); i++)
        largest = fmax(largest, fabs(value_at(&e->t, e->v, i)));
    return largest;
}

void golden_tensor(golden *g, const char *what, const tensor *got, const safetensors_entry *want,
                   double bound, bool absolute)
{
    const int64_t n = want ? shape_count(want->t.s) : 0;
    double largest = 0, error = 0;

    if (!want) {
        golden_wrong(g, "%s: not in the expected file", what);
        return;
    }
    if (want->opaque || !is_float(&want->t) || !is_float(got)) {
        golden_wrong(g, "%s: the expected type is %s, must be F32 or F64", what, want->type_name);
        return;
    }
    if (shape_count(got->s) != n || shape_last(got->s) != shape_last(want->t.s)) {
        golden_wrong(g, "%s: shape %s, must be %s", what, shape_text(got->s),
                     shape_text(want->t.s));
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const double w = value_at(&want->t, want->v, i), d = fabs(value_at(got, got->v, i) - w);
        if (fabs(w) > largest)
            largest = fabs(w);
        if (!(d <= error))
            error = isnan(d) ? INFINITY : d;
    }
    note(g, what, absolute || largest == 0 ? error : error / largest, bound);
}
