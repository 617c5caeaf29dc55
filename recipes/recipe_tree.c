/* recipe_tree: from a file, what it is built on and the command line to one tree */
#include "recipes/keys_read.h"
#include "recipes/nearest.h"
#include "recipes/recipe_keys.h"

#include "core/file.h"

#include <stdlib.h>
#include <string.h>

enum { FROM_DEPTH_MAX = 16 };

status recipe_tree_normalise(arena *a, yaml_node *root)
{
    for (int i = 0; i < PART_COUNT; i++) {
        const recipe_part *part = &recipe_parts[i];
        for (int j = 0; root->kind == YAML_MAP && j < root->n; j++) {
            yaml_node *value = root->v[j].value;
            if (part->shape != PART_NAME_OR_MAP || value->kind != YAML_TEXT ||
                yaml_is_null(value) || strcmp(root->v[j].key->text, part->path) != 0)
                continue;
            yaml_node *map = yaml_new(a, YAML_MAP, NULL, value);
            if (!map)
                return STATUS_MEMORY;
            TRY(yaml_set(a, map, yaml_new(a, YAML_TEXT, "name", value), value));
            root->v[j].value = map;
        }
    }
    return STATUS_OK;
}

/* True when both name something and the names differ: then they are different things. */
static bool is_another(const yaml_node *under, const yaml_node *over)
{
    static const char *const selectors[] = {"method", "source", "name"};

    for (size_t i = 0; i < COUNT_OF(selectors); i++) {
        const yaml_node *u = yaml_find(under, selectors[i]), *o = yaml_find(over, selectors[i]);
        if (u && o && u->kind == YAML_TEXT && o->kind == YAML_TEXT)
            return strcmp(u->text, o->text) != 0;
    }
    return false;
}

/* Lays the mapping `over` on `under`. */
static status overlay(arena *a, yaml_node *under, const yaml_node *over)
{
    for (int i = 0; i < over->n; i++) {
        yaml_node *name = over->v[i].key, *value = over->v[i].value;
        yaml_node *below = yaml_find(under, name->text);

        if (below && yaml_is_null(value))
            yaml_remove(under, name->text);
        else if (below && below->kind == YAML_MAP && value->kind == YAML_MAP &&
                 !is_another(below, value))
            TRY(overlay(a, below, value));
        else
            TRY(yaml_set(a, under, name, value));
    }
    return STATUS_OK;
}

static const char *beside(arena *a, const char *file, const char *name)
{
    const char *slash = strrchr(file, '/');
    char       *folder = arena_string(a, file, slash ? (size_t)(slash - file) : 0);

    if (slash == file)
        folder = arena_string(a, "/", 1);
    return folder ? path_join(a, folder, name) : NULL;
}

/* The chain of files that are being read, for cycles. */
typedef struct reading {
    const char           *path;
    char                 *real; /* of realpath */
    const struct reading *by;
    int                   depth;
} reading;

static status read_file(arena *a, const char *path, const reading *by, yaml_node **root,
                        const char **from);

/* Takes `from` out of the tree and puts the tree over that recipe. */
static status take_from(arena *a, const reading *self, yaml_node **root, const char **from)
{
    yaml_node *name = yaml_find(*root, "from"), *under;

    if (!name)
        return STATUS_OK;
    if (name->kind != YAML_TEXT || yaml_is_null(name))
        return fail_at(name, "from is %s, must be the path of a recipe", yaml_describe(a, name));

    const char *path = beside(a, self->path, name->text);
    if (!path)
        return STATUS_MEMORY;
    if (self->depth >= FROM_DEPTH_MAX)
        return fail_at(name, "from: more than %d recipes built on each other", FROM_DEPTH_MAX);
    *from = name->text;

    const char *deeper = NULL;
    char        where[1024];
    TRY_IN(read_file(a, path, self, &under, &deeper), "at %s: from: %.200s",
           yaml_where(name, where, sizeof where), name->text);
    yaml_remove(*root, "from");
    TRY(overlay(a, under, *root));
    *root = under;
    return STATUS_OK;
}

static status read_file(arena *a, const char *path, const reading *by, yaml_node **root,
                        const char **from)
{
    reading self = {.path = path, .by = by, .depth = by ? by->depth + 1 : 0};

    TRY(yaml_read(a, path, root));
    if ((*root)->kind != YAML_MAP)
        return fail_at(*root, "the recipe is %s, must be a mapping", yaml_describe(a, *root));
    TRY(recipe_tree_normalise(a, *root));
    self.real = realpath(path, NULL);
    if (!self.real)
        return fail(STATUS_IO, "%s: cannot be found again", path);

    status s = STATUS_OK;
    for (const reading *r = by; r && s == STATUS_OK; r = r->by)
        if (strcmp(r->real, self.real) == 0)
            s = fail(STATUS_USAGE, "%s: is built on itself (from)", path);
    if (s == STATUS_OK)
        s = take_from(a, &self, root, from);
    free(self.real);
    return s;
}

status recipe_tree_read(arena *a, const char *path, yaml_node **root, const char **from)
{
    *from = NULL;
    return read_file(a, path, NULL, root, from);
}

status recipe_tree_overlay(arena *a, yaml_node *root, const char *path)
{
    yaml_node  *over;
    const char *from;

    TRY(recipe_tree_read(a, path, &over, &from));
    return overlay(a, root, over);
}

/* ---- paths: a.b.0.c -------------------------------------------------------------------------- */

/* The entry of a list that a segment names: by `name`, else by number; -1: none. */
static int list_entry(const yaml_node *list, const char *segment)
{
    char *end;

    for (int i = 0; i < list->n; i++) {
        const yaml_node *name = yaml_find(list->v[i].value, "name");
        if (name && name->kind == YAML_TEXT && strcmp(name->text, segment) == 0)
            return i;
    }
    const long number = strtol(segment, &end, 10);
    return *segment >= '0' && *segment <= '9' && *end == '\0' && number < list->n ? (int)number : -1;
}

static status no_entry(arena *a, const yaml_node *list, const char *in, const char *segment)
{
    const char **names;
    int          n = 0;

    TRY_TAKE(names, a, list->n);
    for (int i = 0; i < list->n; i++) {
        const yaml_node *name = yaml_find(list->v[i].value, "name");
        if (name && name->kind == YAML_TEXT)
            names[n++] = name->text;
    }
    const char *hint = n ? name_hint(a, segment, names, n) : NULL;
    return fail(STATUS_USAGE, "%s has %d entries, none is '%.60s'%s%s", in, list->n, segment,
                hint ? "; " : "", hint ? hint : "");
}

/* Copies the next segment of a path; NULL when it is empty or too long. */
static const char *next_segment(arena *a, const char **path)
{
    const size_t length = strcspn(*path, ".");
    char        *segment;

    if (length == 0 || length > YAML_KEY_MAX || (segment = arena_string(a, *path, length)) == NULL)
        return NULL;
    *path += length + ((*path)[length] == '.');
    return segment;
}

static yaml_entry *map_entry(yaml_node *map, const char *name)
{
    for (int i = 0; i < map->n; i++)
        if (strcmp(map->v[i].key->text, name) == 0)
            return &map->v[i];
    return NULL;
}

status recipe_tree_find(arena *a, yaml_node *root, const char *path, yaml_node **out)
{
    *out = NULL;
    while (root && *path) {
        const char *segment = next_segment(a, &path);
        if (!segment)
            return fail(STATUS_USAGE, "path '%.60s' has an empty or overlong piece", path);
        if (root->kind == YAML_LIST) {
            const int i = list_entry(root, segment);
            root = i < 0 ? NULL : root->v[i].value;
        } else
            root = yaml_find(root, segment);
    }
    *out = root;
    return STATUS_OK;
}

/* Everything below a value from the command line has its place there. */
static void on_command_line(yaml_node *n)
{
    n->line = n->column = 0;
    for (int i = 0; i < n->n; i++) {
        if (n->v[i].key)
            n->v[i].key->line = n->v[i].key->column = 0;
        on_command_line(n->v[i].value);
    }
}

static status set_path(arena *a, yaml_node *root, const char *path, yaml_node *value)
{
    const char *whole = path;
    yaml_node   here = {.file = "command line"};

    for (int depth = 0;; depth++) {
        const char *in = path == whole ? "the recipe"
                                       : arena_string(a, whole, (size_t)(path - whole - 1));
        const char *segment = next_segment(a, &path);
        if (!segment || !in || depth >= YAML_DEPTH_MAX)
            return fail(STATUS_USAGE, "'%.100s' is not the path of a key", whole);

        yaml_entry *entry = NULL;
        if (root->kind == YAML_LIST) {
            const int i = list_entry(root, segment);
            if (i < 0)
                return no_entry(a, root, in, segment);
            entry = &root->v[i];
        } else if (root->kind == YAML_TEXT)
            return fail(STATUS_USAGE, "%s is %s, it has no key '%.60s'", in,
                        yaml_describe(a, root), segment);
        else
            entry = map_entry(root, segment);

        if (!*path && !value) { /* taken away */
            if (!entry || root->kind == YAML_LIST)
                return fail(STATUS_USAGE, "there is nothing to take away");
            yaml_remove(root, segment);
            return STATUS_OK;
        }
        if (!entry) {
            yaml_node *next = *path ? yaml_new(a, YAML_MAP, NULL, &here) : value;
            TRY(yaml_append(a, root, yaml_new(a, YAML_TEXT, segment, &here), next));
            entry = &root->v[root->n - 1];
        } else if (!*path)
            entry->value = value;
        if (!*path)
            return STATUS_OK;
        root = entry->value;
    }
}

status recipe_tree_override(arena *a, yaml_node *root, const char *assignment)
{
    const char *equals = strchr(assignment, '=');
    yaml_node  *value = NULL;
    char       *path;

    if (!equals || equals == assignment)
        return fail(STATUS_USAGE, "command line: '%.100s' must be key=value", assignment);
    path = arena_string(a, assignment, (size_t)(equals - assignment));
    if (!path)
        return STATUS_MEMORY;
    if (strspn(equals + 1, " \t") != strlen(equals + 1)) {
        TRY_IN(yaml_parse(a, equals + 1, strlen(equals + 1), "command line", &value), "in %.200s",
               assignment);
        on_command_line(value);
        if (yaml_is_null(value))
            value = NULL;
    }
    TRY_IN(set_path(a, root, path, value), "at command line: %.200s", assignment);
    return recipe_tree_normalise(a, root);
}
