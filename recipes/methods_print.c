/* methods_print: the tables as text for people */
#include "recipes/keys_read.h"
#include "recipes/nearest.h"
#include "recipes/recipe_keys.h"

#include <string.h>

static const struct {
    const char *group, *title;
} titles[] = {
    {"method", "Methods (modules: method)"},
    {"router", "Routers (router)"},
    {"objective", "Objectives (objective)"},
    {"procedure", "Procedures (procedure)"},
    {"source", "Sources (data: source)"},
    {"optimizer", "Optimizers (optim: name)"},
};

static void print_keys(arena *a, const key_table *table, FILE *out)
{
    for (int i = 0; table && i < table->n; i++) {
        const key  *k = &table->keys[i];
        const bool  need = k->preset && strcmp(k->preset, "!") == 0;
        const bool  unit = k->unit && *k->unit;
        fprintf(out, "  %-18s %s%s%s", k->name, key_must_be(a, k), unit ? ", in " : "",
                unit ? k->unit : "");
        if (need)
            fputs("; must be given\n", out);
        else if (k->preset)
            fprintf(out, "; default %s\n", k->preset);
        else
            fputs("; none by default\n", out);
        fprintf(out, "  %-18s %s\n", "", k->help);
    }
    if (!table || table->n == 0)
        fputs("  no keys of its own\n", out);
}

static void print_set(arena *a, const option_set *set, FILE *out)
{
    fprintf(out, "%s %s%s%s\n", set->group[0] == '+' ? set->group + 1 : set->group, set->name,
            set->help ? ": " : "", set->help ? set->help : "");
    print_keys(a, set->table, out);
}

/* Row i of the registry, and behind its end the built-in one. */
static const option_set *row(const option_registry *registry, int i)
{
    if (i < registry->n)
        return &registry->v[i];
    const option_set *single = option_find(&(option_registry){0}, "procedure", "single");
    return i == registry->n && option_find(registry, "procedure", "single") == single ? single : NULL;
}

static void print_all(const option_registry *registry, FILE *out)
{
    const option_set *set;

    for (size_t t = 0; t < COUNT_OF(titles); t++) {
        int n = 0;
        for (int i = 0; (set = row(registry, i)) != NULL; i++) {
            if (strcmp(set->group, titles[t].group) != 0)
                continue;
            if (n++ == 0)
                fprintf(out, "%s%s\n", t ? "\n" : "", titles[t].title);
            fprintf(out, "  %-18s %s\n", set->name, set->help ? set->help : "");
        }
    }
    fputs("\nParts of a recipe\n", out);
    for (int i = 0; i < PART_COUNT; i++)
        fprintf(out, "  %-18s %s\n", i == PART_TOP ? "recipe" : recipe_parts[i].path,
                recipe_parts[i].help);
}

static bool is_part(const recipe_part *part, const char *name)
{
    return strcmp(*part->path ? part->path : "recipe", name) == 0;
}

static status unknown(arena *a, const option_registry *registry, const char *name)
{
    const option_set *set;
    const char      **names;
    int               n = 0;

    TRY_TAKE(names, a, registry->n + 1 + PART_COUNT);
    for (int i = 0; (set = row(registry, i)) != NULL; i++)
        names[n++] = set->name;
    for (int i = 0; i < PART_COUNT; i++)
        names[n++] = *recipe_parts[i].path ? recipe_parts[i].path : "recipe";
    const char *hint = name_hint(a, name, names, n);
    return fail(STATUS_USAGE, "methods: there is no '%.100s'; %s", name, hint ? hint : "");
}

status methods_print(const option_registry *registry, const char *name, FILE *out)
{
    const option_set *set;
    arena             a;
    status            s = STATUS_OK;
    int               found = 0;

    TRY(arena_open(&a, "methods", 16 << 20));
    if (!name)
        print_all(registry, out);
    for (int i = 0; name && (set = row(registry, i)) != NULL; i++)
        if (strcmp(set->name, name) == 0) {
            fputs(found++ ? "\n" : "", out);
            print_set(&a, set, out);
        }
    for (int i = 0; name && i < PART_COUNT; i++)
        if (is_part(&recipe_parts[i], name)) {
            fprintf(out, "%s%s: %s\n", found++ ? "\n" : "", name, recipe_parts[i].help);
            print_keys(&a, recipe_parts[i].table, out);
            for (int j = 0; (set = row(registry, j)) != NULL; j++)
                if (set->group[0] == '+' && strcmp(set->group + 1, recipe_parts[i].path) == 0)
                    print_keys(&a, set->table, out);
        }
    if (name && !found)
        s = unknown(&a, registry, name);
    arena_close(&a);
    return s;
}
