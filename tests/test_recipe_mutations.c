/* recipe mutations: every key of every shipped recipe, misspelt, is refused with its place and the right
 * name; random damage to a recipe never crashes the reader */
#include "tests/helpers.h"
#include "tests/with_recipe.h"

#include "core/file.h"
#include "core/rng.h"
#include "recipes/recipe_keys.h"

#include <glob.h>

static arena a;
static char  folder[64];

static uint32_t random_word(uint32_t *counter)
{
    return rng_philox(rng_key_for(1, "mutations"), (*counter)++, 0, 0, 0).r[0];
}

static uint32_t below(uint32_t *counter, size_t n)
{
    return (uint32_t)(random_word(counter) % n);
}

/* One edit of `kind` (0..3); false when it changed nothing. */
static bool misspell(const char *name, int kind, uint32_t *counter, char *out)
{
    const size_t n = strlen(name), at = below(counter, n + (kind == 0));
    const char   letter = (char)('a' + below(counter, 26));

    strcpy(out, name);
    if (kind == 0) { /* insertion */
        memmove(out + at + 1, name + at, n - at + 1);
        out[at] = letter;
    } else if (kind == 1 && n > 1) /* deletion */
        memmove(out + at, name + at + 1, n - at);
    else if (kind == 2) /* substitution */
        out[at] = letter;
    else if (kind == 3 && at + 1 < n) { /* swap of neighbours */
        out[at] = name[at + 1];
        out[at + 1] = name[at];
    }
    return strcmp(out, name) != 0;
}

static bool is_key_somewhere(const char *name)
{
    const key_table *tables[64];
    int              n = 0;

    for (int i = 0; i < PART_COUNT; i++) {
        tables[n++] = recipe_parts[i].table;
        if (strcmp(part_key(&recipe_parts[i]), name) == 0)
            return true;
    }
    for (int i = 0; i < fake_registry.n; i++)
        if (fake_registry.v[i].table)
            tables[n++] = fake_registry.v[i].table;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < tables[i]->n; j++)
            if (strcmp(tables[i]->keys[j].name, name) == 0)
                return true;
    return false;
}

typedef struct mutation_counts {
    int tried, excused;
} mutation_counts;

static size_t offset_of(const char *text, int line, int column)
{
    const char *p = text;

    while (--line > 0)
        p = strchr(p, '\n') + 1;
    return (size_t)(p - text) + (size_t)column - 1; /* the recipes' lines with keys are ASCII */
}

static void check_misspelt(const char *text, const yaml_node *name, const char *wrong,
                           mutation_counts *counts)
{
    const char  *path = path_join(&a, folder, "mutant.yaml");
    const size_t at = offset_of(text, name->line, name->column), mark = arena_mark(&a);
    const char  *mutant =
        arena_printf(&a, "%.*s%s%s", (int)at, text, wrong, text + at + strlen(name->text));
    recipe *r;

    ck_assert(memcmp(text + at, name->text, strlen(name->text)) == 0);
    MUST(file_replace(path, mutant, strlen(mutant)));
    status_clear();
    const status s = recipe_load(&a, path, NULL, &fake_registry, &r);
    counts->tried++;
    const char *expected = arena_printf(&a, "%s:%d:%d: unknown key '%s' in ", path, name->line,
                                        name->column, wrong);
    const char *hint = strstr(status_text(), "did you mean ");
    const bool  right = s == STATUS_USAGE && strstr(status_text(), expected) == status_text() &&
                       hint && strstr(hint, arena_printf(&a, "'%s'", name->text));
    if (!right && is_key_somewhere(wrong))
        counts->excused++;
    else
        ck_assert_msg(right, "'%s' for '%s': status %d, \"%s\", not \"%s\"", wrong, name->text,
                      (int)s, status_text(), expected);
    arena_rewind(&a, mark);
}

static void mutate_keys(const char *text, const yaml_node *n, uint32_t *counter,
                        mutation_counts *counts)
{
    for (int i = 0; i < n->n; i++) {
        const yaml_node *name = n->v[i].key;
        for (int k = 0; name && k < 12; k++) {
            char wrong[300];
            if (misspell(name->text, k % 4, counter, wrong))
                check_misspelt(text, name, wrong, counts);
        }
        if (!name || !strstr(name->text, "_pattern")) /* the keys below are patterns: any will do */
            mutate_keys(text, n->v[i].value, counter, counts);
    }
}

START_TEST(test_misspelt_keys)
{
    glob_t          found;
    uint32_t        counter = 0;
    mutation_counts counts = {0};

    MUST(arena_open(&a, "setup", 256 << 20));
    test_folder(folder);
    ck_assert_int_eq(glob(SOURCE_FOLDER "/recipes/*.yaml", 0, NULL, &found), 0);
    ck_assert_uint_ge(found.gl_pathc, 2);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        yaml_node *root;
        char      *text;
        size_t     length;
        recipe    *r;
        MUST(recipe_load(&a, found.gl_pathv[i], NULL, &fake_registry, &r));
        MUST(file_read(&a, found.gl_pathv[i], YAML_BYTES_MAX, &text, &length));
        MUST(yaml_parse(&a, text, length, found.gl_pathv[i], &root));
        mutate_keys(text, root, &counter, &counts);
    }
    globfree(&found);
    printf("%d misspelt keys, %d of them another valid key\n", counts.tried, counts.excused);
    ck_assert_int_ge(counts.tried, 500);
    ck_assert_int_le(counts.excused * 100, counts.tried);
    MUST(folder_remove_tree(folder));
    arena_close(&a);
}
END_TEST

/* Bytes that mean something to YAML, so that damage gets past the scanner. */
static const char *const pieces[] = {
    "{", "}", "[", "]", ":", ": ", ",", "\n", "\n  ", "- ", "#", "\"", "'", "&a ", "*a", "!t ", "|", ">",
    "%", "---\n", "...\n", "? ", "~", "null", "\t", "\xEF\xBB\xBF", "\xC3", "\xFF", "0", "1e999", "-1",
    "9223372036854775808", "from: quick.yaml\n", "name", "modules", "{}", "[]", "train: ", "<<: ", "\x01"};

START_TEST(test_random_damage)
{
    char    *text;
    size_t   length;
    uint32_t counter = 1u << 30;
    int      loaded = 0;

    MUST(arena_open(&a, "setup", 256 << 20));
    test_folder(folder);
    MUST(file_read(&a, SOURCE_FOLDER "/recipes/quickstart.yaml", YAML_BYTES_MAX, &text, &length));
    const char *path = path_join(&a, folder, "quick.yaml");
    for (int round = 0; round < 3000; round++) {
        const size_t mark = arena_mark(&a);
        char         damaged[4096];
        size_t       n = length;

        ck_assert_uint_lt(length, 2048);
        memcpy(damaged, text, n);
        for (uint32_t edits = 1 + below(&counter, 4); edits > 0; edits--) {
            const size_t at = below(&counter, n), cut = below(&counter, 8);
            const char  *piece = pieces[below(&counter, COUNT_OF(pieces))];
            const size_t gone = cut > n - at ? n - at : cut, more = strlen(piece);
            memmove(damaged + at + more, damaged + at + gone, n - at - gone);
            memcpy(damaged + at, piece, more);
            n = n - gone + more;
        }
        FILE *f = fopen(path, "wb");
        ck_assert_ptr_nonnull(f);
        ck_assert_uint_eq(fwrite(damaged, 1, n, f), n);
        fclose(f);

        recipe      *r;
        const status s = recipe_load(&a, path, NULL, &fake_registry, &r);
        ck_assert_msg(s == STATUS_OK || s == STATUS_USAGE || s == STATUS_IO, "%s", status_text());
        if (s == STATUS_OK) { /* what loads must also survive being written and read again */
            char *resolved;
            loaded++;
            MUST(recipe_text(&a, r, true, &resolved));
            MUST(file_replace(path, resolved, strlen(resolved)));
            const uint64_t before = r->fingerprint;
            ck_assert_msg(recipe_load(&a, path, NULL, &fake_registry, &r) == STATUS_OK, "%s\n%s",
                          status_text(), resolved);
            ck_assert_msg(r->fingerprint == before, "%s", resolved);
        }
        arena_rewind(&a, mark);
    }
    printf("%d of 3000 damaged recipes still load\n", loaded);
    ck_assert_int_gt(loaded, 0);
    MUST(folder_remove_tree(folder));
    arena_close(&a);
}
END_TEST

TESTS(recipe_mutations, test_misspelt_keys, test_random_damage)
