/* golden: runs every case found below the folders given (default: ../shared/golden). A line a case with its
 * largest error and the bound; last line the counts. */
#include "tests/check.h"
#include "tests/with_golden.h"

#include "core/file.h"

#include <dirent.h>

static const struct {
    const char *name;
    bool (*run)(golden *g, const char *folder);
} kinds[] = {
#define GOLDEN_KIND(kind) {#kind, golden_##kind},
    GOLDEN_KINDS(GOLDEN_KIND)
#undef GOLDEN_KIND
};

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Depth first, in the order of the names; a folder that a handler takes is not entered. */
static void walk(golden *g, const char *folder)
{
    char          *names[4096];
    int            n = 0;
    struct dirent *e;

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].run(g, folder))
            return;
    DIR *d = opendir(folder);
    while (d && (e = readdir(d)) != NULL && n < 4096)
        if (e->d_name[0] != '.' && path_is_folder(golden_path(folder, e->d_name)))
            names[n++] = strdup(golden_path(folder, e->d_name));
    if (d)
        closedir(d);
    qsort(names, (size_t)n, sizeof names[0], by_name);
    for (int i = 0; i < n; i++) {
        walk(g, names[i]);
        free(names[i]);
    }
}

int main(int argc, char **argv)
{
    const char *usual = golden_folder();
    arena       a;
    golden      g = {.a = &a};

    if (arena_open(&a, "golden", (size_t)8 << 30) != STATUS_OK)
        return 1;
    if (argc < 2 && !usual)
        printf("SKIP golden: no golden folder; set CAMBIUM_GOLDEN\n");
    for (int i = 1; i < argc; i++) {
        if (!path_is_folder(argv[i])) {
            fprintf(stderr, "%s: is not a folder\n", argv[i]);
            return 2;
        }
        walk(&g, argv[i]);
    }
    if (argc < 2 && usual)
        walk(&g, usual);
    printf("golden: %d passed, %d failed\n", g.passed, g.failed);
    return g.failed != 0;
}
