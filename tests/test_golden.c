/* golden: runs every case found below the folders given (default: tests/golden/trunks and ../shared/golden). A
 * line a case with its largest error and the bound; last line the counts, skipped ones among the passed as
 * tests/run wants it.
 * tests/run: timeout 1500 (whole models take minutes on the emulated device) */
#include "tests/check.h"
#include "tests/with_golden.h"

#include "core/file.h"

static const struct {
    const char *name;
    bool (*run)(golden *g, const char *folder);
} kinds[] = {
#define GOLDEN_KIND(kind) {#kind, golden_##kind},
    GOLDEN_KINDS(GOLDEN_KIND)
#undef GOLDEN_KIND
};

static void fails(golden *g, const char *folder)
{
    golden_begin(g, folder, "");
    golden_wrong(g, "%s", status_text());
    golden_end(g, STATUS_OK);
}

/* A folder that says it holds cases, but no handler knows them: never left out in silence. */
static void leave_out(golden *g, const char *folder)
{
    static const char *const marks[] = {
        "index.json", "MANIFEST.json",        "case.json",         "cases.json",
        "units.json", "expected.safetensors", "expect.safetensors"};

    for (size_t i = 0; i < COUNT_OF(marks); i++)
        if (golden_has(folder, marks[i])) {
            golden_skip(g, folder, "", "%s is of a kind that this version does not compare",
                        marks[i]);
            return;
        }
}

/* Depth first, in the order of the names; a folder that a handler takes is not entered. */
static void walk(golden *g, const char *folder)
{
    const int lines = g->passed + g->failed + g->skipped;
    char **names, *below;
    int n;

    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (kinds[i].run(g, folder))
            return;
    if (g->passed + g->failed + g->skipped == lines)
        leave_out(g, folder);

    const size_t mark = arena_mark(g->a);
    if (golden_names(g->a, folder, true, &names, &n) != STATUS_OK)
        fails(g, folder);
    else
        for (int i = 0; i < n; i++)
            if ((below = path_join(g->a, folder, names[i])) != NULL)
                walk(g, below);
    arena_rewind(g->a, mark);
}

/* CAMBIUM_DEVICE=cuda: all that is computed on tapes is computed there; says where. */
static bool open_golden_device(void)
{
    const char *name = getenv("CAMBIUM_DEVICE");
    device     *d;

    if (!name)
        return true;
    if (device_open(name, TYPE_F32, &d) != STATUS_OK) {
        fprintf(stderr, "golden: %s\n", status_text());
        return false;
    }
    printf("golden: on %s\n", device_about(d)->name);
    return true;
}

int main(int argc, char **argv)
{
    const char *usual = golden_folder();
    arena a;
    golden g = {.a = &a};

    if (arena_open(&a, "golden", (size_t)8 << 30) != STATUS_OK || !open_golden_device())
        return 1;
    if (argc < 2)
        walk(&g, SOURCE_FOLDER "/tests/golden/trunks");
    if (argc < 2 && !usual) {
        printf("SKIP golden: no golden folder; set CAMBIUM_GOLDEN\n");
        g.skipped++;
    }
    for (int i = 1; i < argc; i++) {
        if (!path_is_folder(argv[i])) {
            fprintf(stderr, "%s: is not a folder\n", argv[i]);
            return 2;
        }
        walk(&g, argv[i]);
    }
    if (argc < 2 && usual)
        walk(&g, usual);
    device_close(device_current());
    printf("golden: %d passed, %d failed\n", g.passed + g.skipped, g.failed);
    return g.failed != 0;
}
