/* recipe: from a tree to the struct, part by part */
#include "recipes/recipe.h"

#include "core/file.h"
#include "recipes/keys_read.h"
#include "recipes/nearest.h"
#include "recipes/recipe_keys.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    arena                 *a;
    const option_registry *registry;
    recipe                *r;
    yaml_node             *root;
} reader;

/* One mapping that a part describes, with the tables that it must obey. */
enum { TARGETS_MAX = 18 };
typedef struct place {
    const recipe_part *part;
    const char        *in; /* "modules.0" */
    yaml_node         *map;
    const option_set  *set; /* what its selector chose */
    key_target         targets[TARGETS_MAX];
    int                n_targets;
    const char        *more[PART_COUNT]; /* keys of parts below it */
    int                n_more;
} place;

static const option_set builtin[] = {
    {.group = "procedure", .name = "single", .help = "One phase: the recipe as it stands."},
};

const option_set *option_find(const option_registry *registry, const char *group, const char *name)
{
    for (int i = 0; i < registry->n; i++)
        if (strcmp(registry->v[i].group, group) == 0 && strcmp(registry->v[i].name, name) == 0)
            return &registry->v[i];
    for (size_t i = 0; i < COUNT_OF(builtin); i++)
        if (strcmp(builtin[i].group, group) == 0 && strcmp(builtin[i].name, name) == 0)
            return &builtin[i];
    return NULL;
}

static status unknown_choice(reader *x, const place *p, const yaml_node *value)
{
    const char **names;
    int          n = 0;

    TRY_TAKE(names, x->a, x->registry->n);
    for (int i = 0; i < x->registry->n; i++)
        if (strcmp(x->registry->v[i].group, p->part->group) == 0)
            names[n++] = x->registry->v[i].name;
    const char *hint = name_hint(x->a, value->text, names, n);
    return fail_at(value, "%s: unknown %s '%.100s'; %s", p->in, p->part->group, value->text,
                   hint ? hint : "");
}

/* A mapping that does not say what it is: a misspelt selector is the likeliest cause. */
static status no_selector(reader *x, const place *p)
{
    const recipe_part *part = p->part;
    const char        *wanted[] = {part->selector, part->instead};

    if (part->instead && yaml_find(p->map, part->instead))
        return STATUS_OK;
    for (int i = 0; i < p->map->n; i++) {
        const yaml_node *given = p->map->v[i].key;
        if (key_find(part->table, given->text))
            continue;
        for (int w = 0; w < (part->instead ? 2 : 1); w++)
            if (name_is_near(given->text, wanted[w]) && !yaml_find(p->map, wanted[w]))
                return keys_check_names(x->a, p->targets, p->n_targets, p->more, p->n_more, p->in,
                                        p->map);
    }
    return fail_at(p->map, "%s needs the key '%s'%s%s%s: %s", p->in, part->selector,
                   part->instead ? " or '" : "", part->instead ? part->instead : "",
                   part->instead ? "'" : "", key_find(part->table, part->selector)->help);
}

/* Finds what the selector chose; its name may come from the selector's preset. */
static status choose(reader *x, place *p)
{
    const yaml_node *value = yaml_find(p->map, p->part->selector);
    const char      *preset = key_find(p->part->table, p->part->selector)->preset;

    if (!value && (!preset || strcmp(preset, "!") == 0))
        return no_selector(x, p);
    if (value && (value->kind != YAML_TEXT || yaml_is_null(value)))
        return fail_at(value, "%s.%s is %s, must be a name", p->in, p->part->selector,
                       yaml_describe(x->a, value));
    p->set = option_find(x->registry, p->part->group, value ? value->text : preset);
    if (!p->set && value)
        return unknown_choice(x, p, value);
    return p->set ? STATUS_OK
                  : fail_at(p->map, "%s: there is no %s '%s' in this version; %s must be given",
                            p->in, p->part->group, preset, p->part->selector);
}

/* Names the tables of a mapping: its choice's own, those added by the registry, the general one. */
static status place_open(reader *x, recipe_part_id id, const char *in, yaml_node *map, place *p)
{
    const recipe_part *part = &recipe_parts[id];

    *p = (place){.part = part, .in = in, .map = map};
    if (map->kind != YAML_MAP)
        return fail_at(map, "%s is %s, must be a mapping", *in ? in : "the recipe",
                       yaml_describe(x->a, map));
    for (int i = 0; i < PART_COUNT; i++)
        if (part_is_below(&recipe_parts[i], part))
            p->more[p->n_more++] = part_key(&recipe_parts[i]);

    p->targets[p->n_targets++] = (key_target){.table = part->table};
    if (part->group)
        TRY(choose(x, p));
    p->n_targets = 0;
    if (p->set)
        p->targets[p->n_targets++] = (key_target){.table = p->set->table};
    for (int i = 0; i < x->registry->n && part->shape == PART_MAP; i++) {
        const option_set *set = &x->registry->v[i];
        if (set->group[0] != '+' || strcmp(set->group + 1, part->path) != 0)
            continue;
        CHECK(p->n_targets < TARGETS_MAX - 1);
        p->targets[p->n_targets++] = (key_target){.table = set->table};
    }
    p->targets[p->n_targets++] = (key_target){.table = part->table};
    return STATUS_OK;
}

static status place_check(reader *x, const place *p)
{
    return keys_check_names(x->a, p->targets, p->n_targets, p->more, p->n_more, p->in, p->map);
}

/* Takes the structs of the chosen tables and fills all of them; `out` is the general one's. */
static status place_read(reader *x, place *p, void *out)
{
    recipe_choice *choice = (void *)((char *)out + p->part->choice);

    p->targets[p->n_targets - 1].out = out;
    for (int i = 0; i < p->n_targets - 1; i++)
        if (p->targets[i].table) {
            void *options = arena_take(x->a, 1, p->targets[i].table->size);
            if (!options)
                return STATUS_MEMORY;
            p->targets[i].out = memset(options, 0, p->targets[i].table->size);
        }
    TRY(keys_read(x->a, p->targets, p->n_targets, p->more, p->n_more, p->in, p->map));
    if (p->set) {
        choice->set = p->set;
        choice->options = p->targets[0].out;
    }
    return STATUS_OK;
}

/* ---- walking the parts ----------------------------------------------------------------------- */

/* Calls `visit` for every mapping that belongs to a part. */
typedef status (*visitor)(reader *x, recipe_part_id id, int i, int n, place *p);

static status visit_part(reader *x, recipe_part_id id, visitor visit)
{
    const recipe_part *part = &recipe_parts[id];
    yaml_node         *node;
    place              p;

    TRY(recipe_tree_find(x->a, x->root, part->path, &node));
    if (!node)
        return STATUS_OK;
    if (part->shape == PART_WORD_OR_MAP && node->kind == YAML_TEXT) {
        if (strcmp(node->text, part->word) == 0)
            return STATUS_OK;
        return fail_at(node, "%s is %s, must be %s or a mapping", part->path,
                       yaml_describe(x->a, node), part->word);
    }

    const bool listed = part->shape == PART_LIST || part->shape == PART_MAP_OR_LIST;
    if (node->kind != YAML_LIST || !listed) {
        if (part->shape == PART_LIST)
            return fail_at(node, "%s is %s, must be a list of mappings", part->path,
                           yaml_describe(x->a, node));
        node->as_list = part->shape == PART_MAP_OR_LIST;
        TRY(place_open(x, id, part->path, node, &p));
        return visit(x, id, 0, 1, &p);
    }
    if (node->n == 0)
        return fail_at(node, "%s is an empty list", part->path);
    for (int i = 0; i < node->n; i++) {
        const char *in = arena_printf(x->a, "%s.%d", part->path, i);
        if (!in)
            return STATUS_MEMORY;
        TRY(place_open(x, id, in, node->v[i].value, &p));
        TRY(visit(x, id, i, node->n, &p));
    }
    return STATUS_OK;
}

static status visit_check(reader *x, recipe_part_id id, int i, int n, place *p)
{
    (void)id, (void)i, (void)n;
    return place_check(x, p);
}

/* Element i of an array of n that is taken with the first one. */
#define ELEMENT(array, count)                                                                      \
    do {                                                                                           \
        if (i == 0) {                                                                              \
            TRY_TAKE(array, x->a, n);                                                              \
            memset(array, 0, (size_t)n * sizeof *(array));                                         \
            (count) = n;                                                                           \
        }                                                                                          \
        out = &(array)[i];                                                                         \
    } while (0)

static status visit_read(reader *x, recipe_part_id id, int i, int n, place *p)
{
    recipe *r = x->r;
    void   *singles[PART_COUNT] = {
        [PART_TOP] = r, [PART_DATA] = &r->data, [PART_TEMPLATE] = &r->data.wording,
        [PART_OBJECTIVE] = &r->objective, [PART_OPTIM] = &r->optim, [PART_TRAIN] = &r->train,
        [PART_ROUTER] = &r->router, [PART_PROCEDURE] = &r->procedure};
    void *out = singles[id];

    if (id == PART_DATA_TRAIN)
        ELEMENT(r->data.train, r->data.n_train);
    else if (id == PART_DATA_TEST)
        ELEMENT(r->data.test, r->data.n_test);
    else if (id == PART_DATA_PREPARE)
        ELEMENT(r->data.prepare, r->data.n_prepare);
    else if (id == PART_MODULES)
        ELEMENT(r->modules, r->n_modules);
    else if (id == PART_GROUPS)
        ELEMENT(r->optim.groups, r->optim.n_groups);
    TRY(place_read(x, p, out));

    for (int t = 0; t < p->n_targets - 1; t++)
        for (int s = 0; s < x->registry->n; s++) {
            const option_set *set = &x->registry->v[s];
            if (set->group[0] == '+' && set->table == p->targets[t].table && set != p->set)
                r->extra[r->n_extra++] = (recipe_choice){set->name, set, p->targets[t].out};
        }
    return STATUS_OK;
}

/* ---- defaults that depend on other keys ------------------------------------------------------- */

/* A missing key takes the value of another one, or of nothing. */
static status inherit(reader *x, yaml_node *map, const char *name, const yaml_node *from)
{
    if (!from || map->kind != YAML_MAP || yaml_find(map, name) || from->kind != YAML_TEXT)
        return STATUS_OK;
    return yaml_set(x->a, map, yaml_new(x->a, YAML_TEXT, name, NULL),
                    yaml_new(x->a, YAML_TEXT, from->text, NULL));
}

static status add_parts(reader *x)
{
    for (int i = 0; i < PART_COUNT; i++) {
        const recipe_part *part = &recipe_parts[i];
        yaml_node         *value;
        if (!part->preset || yaml_find(x->root, part->path))
            continue;
        TRY(yaml_parse(x->a, part->preset, strlen(part->preset), NULL, &value));
        value->line = value->column = 0;
        TRY(yaml_set(x->a, x->root, yaml_new(x->a, YAML_TEXT, part->path, NULL), value));
    }
    return recipe_tree_normalise(x->a, x->root);
}

/* After data and optim are read: pack is length, a group's rates are the optimizer's. */
static status add_dependent(reader *x, recipe_part_id id)
{
    yaml_node *data = yaml_find(x->root, "data"), *optim = yaml_find(x->root, "optim");

    if (id == PART_DATA) {
        yaml_node *length = yaml_find(data, "length");
        const bool given = yaml_find(data, "pack") != NULL;
        TRY(inherit(x, data, "pack", length));
        if (!given)
            x->r->data.pack = x->r->data.length;
    }
    yaml_node *groups = yaml_find(optim, "groups");
    for (int i = 0; id == PART_OPTIM && groups && groups->kind == YAML_LIST && i < groups->n; i++) {
        TRY(inherit(x, groups->v[i].value, "lr", yaml_find(optim, "lr")));
        TRY(inherit(x, groups->v[i].value, "weight_decay", yaml_find(optim, "weight_decay")));
    }
    return STATUS_OK;
}

/* Paths in `together` are relative to the file that says them. */
static status find_together(reader *x)
{
    const yaml_node *node = yaml_find(x->root, "together");
    const char     **paths;

    if (!node)
        return STATUS_OK;
    TRY_TAKE(paths, x->a, x->r->together.n);
    for (int i = 0; i < x->r->together.n; i++) {
        const yaml_node *item = node->kind == YAML_LIST ? node->v[i].value : node;
        const char      *slash = item->line ? strrchr(item->file, '/') : NULL;
        char *folder = slash ? arena_string(x->a, item->file, (size_t)(slash - item->file)) : NULL;
        paths[i] = slash ? folder ? path_join(x->a, folder, item->text) : NULL : item->text;
        if (!paths[i])
            return STATUS_MEMORY;
    }
    x->r->together.v = paths;
    return STATUS_OK;
}

static status read_parts(reader *x)
{
    if (yaml_find(x->root, "together")) {
        TRY(visit_part(x, PART_TOP, visit_check));
        for (int i = PART_TOP + 1; i < PART_COUNT; i++)
            if (yaml_find(x->root, recipe_parts[i].path))
                return fail_at(yaml_find(x->root, recipe_parts[i].path),
                               "%s cannot stand beside together: each of its recipes says it",
                               recipe_parts[i].path);
        TRY(visit_part(x, PART_TOP, visit_read));
        return find_together(x);
    }
    for (int i = 0; i < PART_COUNT; i++)
        TRY(visit_part(x, i, visit_check));
    TRY(add_parts(x));
    for (int i = 0; i < PART_COUNT; i++) {
        TRY(visit_part(x, i, visit_read));
        TRY(add_dependent(x, i));
    }

    const yaml_node *wording = yaml_find(yaml_find(x->root, "data"), "template");
    x->r->data.wording.chat = wording && wording->kind == YAML_TEXT;
    return STATUS_OK;
}

/* From the tree of what files say to the recipe. */
static status load(reader *x, const char *file, const char *from, const key_texts *overrides, recipe **out)
{
    for (int i = 0; overrides && i < overrides->n; i++)
        TRY(recipe_tree_override(x->a, x->root, overrides->v[i]));
    TRY_TAKE(x->r, x->a, 1);
    *x->r = (recipe){.file = file, .from = from};
    TRY_TAKE(x->r->extra, x->a, x->registry->n);
    TRY(read_parts(x));
    x->r->from = from;
    x->r->tree = x->root;
    TRY(recipe_check(x->a, x->r));
    TRY(recipe_fingerprint(x->root, &x->r->fingerprint));
    *out = x->r;
    return STATUS_OK;
}

status recipe_load(arena *a, const char *path, const key_texts *overrides,
                   const option_registry *registry, recipe **out)
{
    reader      x = {.a = a, .registry = registry};
    const char *from;

    TRY(recipe_tree_read(a, path, &x.root, &from));
    return load(&x, path, from, overrides, out);
}

status recipe_derive(arena *a, const recipe *r, const char *over, const key_texts *overrides,
                     const option_registry *registry, recipe **out)
{
    reader x = {.a = a, .registry = registry};

    TRY(yaml_copy(a, r->tree, &x.root));
    if (over)
        TRY(recipe_tree_overlay(a, x.root, over));
    return load(&x, r->file, r->from, overrides, out);
}

const void *recipe_options(const recipe *r, const char *group, const char *name)
{
    for (int i = 0; i < r->n_extra; i++)
        if (strcmp(r->extra[i].set->group, group) == 0 && strcmp(r->extra[i].name, name) == 0)
            return r->extra[i].options;
    return NULL;
}

int64_t recipe_warmup(const recipe *r, int64_t steps)
{
    const double warmup = r->optim.warmup;
    const double share = warmup * (double)steps;

    if (warmup >= 1)
        return (int64_t)warmup;
    /* 0.07 * 100 is a little above 7 in binary: that is 7 */
    return fabs(share - round(share)) < 1e-9 * (1 + share) ? (int64_t)round(share)
                                                           : (int64_t)ceil(share);
}
