/* keys_read: names, presets and values of options */
#include "recipes/keys_read.h"

#include "recipes/nearest.h"

#include <inttypes.h>
#include <string.h>

const key *key_find(const key_table *table, const char *name)
{
    for (int i = 0; table && i < table->n; i++)
        if (strcmp(table->keys[i].name, name) == 0)
            return &table->keys[i];
    return NULL;
}

const char *choice_at(arena *a, const char *choices, int i)
{
    for (const char *p = choices; p; i--) {
        const char  *bar = strchr(p, '|');
        const size_t length = bar ? (size_t)(bar - p) : strlen(p);
        if (i == 0)
            return arena_string(a, p, length);
        p = bar ? bar + 1 : NULL;
    }
    return NULL;
}

static bool has_range(const key *k)
{
    return k->lo != 0 || k->hi != 0;
}

static const char *must_be_choice(arena *a, const char *choices)
{
    const char *text = choice_at(a, choices, 0), *next;

    for (int i = 1; text && (next = choice_at(a, choices, i)) != NULL; i++) {
        const bool last = strchr(choices, '|') != NULL && choice_at(a, choices, i + 1) == NULL;
        text = arena_printf(a, "%s%s%s", text, last ? " or " : ", ", next);
    }
    return text;
}

const char *key_must_be(arena *a, const key *k)
{
    const char *range = "", *text = NULL;

    if (has_range(k) && k->kind != KEY_TEXT && k->kind != KEY_CHOICE)
        range = arena_printf(a, " in %.15g..%.15g", k->lo, k->hi);
    switch (k->kind) {
    case KEY_INT:
        text = arena_printf(a, "a whole number%s", range);
        break;
    case KEY_REAL:
        text = arena_printf(a, "a number%s", range);
        break;
    case KEY_BOOL:
        text = "yes or no";
        break;
    case KEY_TEXT:
        text = "a text";
        break;
    case KEY_CHOICE:
        text = must_be_choice(a, k->choices);
        break;
    case KEY_TEXTS:
        text = k->choices ? arena_printf(a, "a list of: %s", must_be_choice(a, k->choices))
                          : "a text or a list of texts";
        break;
    case KEY_MAP:
        text = arena_printf(a, "a mapping from names to %s%s",
                            k->whole ? "whole numbers" : "numbers", range);
        break;
    }
    return text ? text : "something else";
}

static status wrong_value(arena *a, const key *k, const char *in, const yaml_node *value)
{
    const char *hint = "";

    if (k->choices && value->kind == YAML_TEXT) {
        const char *names[64];
        int         n = 0;
        while (n < 64 && (names[n] = choice_at(a, k->choices, n)) != NULL)
            n++;
        const char *near = name_hint(a, value->text, names, n);
        if (near && strncmp(near, "did", 3) == 0)
            hint = arena_printf(a, "; %s", near);
    }
    return fail_at(value, "%s%s%s is %s, must be %s%s%s%s", in, *in ? "." : "", k->name,
                   yaml_describe(a, value), key_must_be(a, k), k->unit && *k->unit ? ", in " : "",
                   k->unit ? k->unit : "", hint ? hint : "");
}

static bool in_range(const key *k, double value)
{
    return !has_range(k) || (value >= k->lo && value <= k->hi);
}

static status read_int(arena *a, const key *k, const char *in, yaml_node *n, int64_t *place)
{
    if (!yaml_int(n, place) || !in_range(k, (double)*place))
        return wrong_value(a, k, in, n);
    n->meaning = arena_printf(a, "%" PRId64, *place);
    return n->meaning ? STATUS_OK : STATUS_MEMORY;
}

static status read_real(arena *a, const key *k, const char *in, yaml_node *n, double *place)
{
    if (!yaml_real(n, place) || !in_range(k, *place))
        return wrong_value(a, k, in, n);
    n->meaning = arena_printf(a, "%.17g", *place);
    return n->meaning ? STATUS_OK : STATUS_MEMORY;
}

static status read_choice(arena *a, const key *k, const char *in, const yaml_node *n, const char **place)
{
    const char *name;

    for (int i = 0; n->kind == YAML_TEXT && (name = choice_at(a, k->choices, i)) != NULL; i++)
        if (strcmp(name, n->text) == 0) {
            *place = name;
            return STATUS_OK;
        }
    return wrong_value(a, k, in, n);
}

static status read_texts(arena *a, const key *k, const char *in, yaml_node *n, key_texts *place)
{
    const char **v;
    const int    count = n->kind == YAML_LIST ? n->n : 1;

    if (n->kind == YAML_MAP || yaml_is_null(n))
        return wrong_value(a, k, in, n);
    TRY_TAKE(v, a, count);
    for (int i = 0; i < count; i++) {
        const yaml_node *item = n->kind == YAML_LIST ? n->v[i].value : n;
        if (item->kind != YAML_TEXT || yaml_is_null(item))
            return wrong_value(a, k, in, item);
        v[i] = item->text;
        if (k->choices)
            TRY(read_choice(a, k, in, item, &v[i]));
    }
    n->as_list = n->kind == YAML_TEXT;
    *place = (key_texts){.n = count, .v = v};
    return STATUS_OK;
}

static status read_map(arena *a, const key *k, const char *in, yaml_node *n, key_map *place)
{
    struct key_pair *v;

    if (n->kind != YAML_MAP)
        return wrong_value(a, k, in, n);
    TRY_TAKE(v, a, n->n);
    for (int i = 0; i < n->n; i++) {
        yaml_node *item = n->v[i].value;
        int64_t    whole;
        v[i].name = n->v[i].key->text;
        if (!yaml_real(item, &v[i].value) || (k->whole && !yaml_int(item, &whole)) ||
            !in_range(k, v[i].value)) {
            const key one = {.name = v[i].name, .kind = k->whole ? KEY_INT : KEY_REAL,
                             .lo = k->lo, .hi = k->hi, .unit = k->unit};
            const char *inner = arena_printf(a, "%s%s%s", in, *in ? "." : "", k->name);
            return wrong_value(a, &one, inner ? inner : in, item);
        }
        if ((item->meaning = arena_printf(a, "%.17g", v[i].value)) == NULL)
            return STATUS_MEMORY;
    }
    n->ordered = true;
    *place = (key_map){.n = n->n, .v = v};
    return STATUS_OK;
}

status key_read(arena *a, const key *k, const char *in, yaml_node *n, void *place)
{
    switch (k->kind) {
    case KEY_INT:
        return read_int(a, k, in, n, place);
    case KEY_REAL:
        return read_real(a, k, in, n, place);
    case KEY_BOOL:
        if (!yaml_bool(n, place))
            return wrong_value(a, k, in, n);
        n->meaning = *(bool *)place ? "true" : "false";
        return STATUS_OK;
    case KEY_TEXT:
        if (n->kind != YAML_TEXT || yaml_is_null(n))
            return wrong_value(a, k, in, n);
        *(const char **)place = n->text;
        return STATUS_OK;
    case KEY_CHOICE:
        return read_choice(a, k, in, n, place);
    case KEY_TEXTS:
        return read_texts(a, k, in, n, place);
    case KEY_MAP:
        return read_map(a, k, in, n, place);
    }
    CHECK(!"a key has no such kind");
    return STATUS_OK;
}

static bool is_known(const key_target *targets, int n, const char *const *more, int n_more,
                     const char *name)
{
    for (int i = 0; i < n; i++)
        if (key_find(targets[i].table, name))
            return true;
    for (int i = 0; i < n_more; i++)
        if (strcmp(more[i], name) == 0)
            return true;
    return false;
}

/* All names once, in the order of the tables. */
static status all_names(arena *a, const key_target *targets, int n, const char *const *more,
                        int n_more, const char *const **out, int *n_out)
{
    const char **names;
    int          room = n_more, used = 0;

    for (int i = 0; i < n; i++)
        room += targets[i].table ? targets[i].table->n : 0;
    TRY_TAKE(names, a, room);
    for (int i = 0; i < n; i++)
        for (int j = 0; targets[i].table && j < targets[i].table->n; j++)
            if (!is_known(targets, i, NULL, 0, targets[i].table->keys[j].name))
                names[used++] = targets[i].table->keys[j].name;
    for (int i = 0; i < n_more; i++)
        names[used++] = more[i];
    *out = names;
    *n_out = used;
    return STATUS_OK;
}

status keys_check_names(arena *a, const key_target *targets, int n, const char *const *more,
                        int n_more, const char *in, const yaml_node *map)
{
    if (map->kind != YAML_MAP)
        return fail_at(map, "%s is %s, must be a mapping", *in ? in : "the recipe",
                       yaml_describe(a, map));
    for (int i = 0; i < map->n; i++) {
        const yaml_node   *given = map->v[i].key;
        const char *const *names;
        int                n_names;

        if (is_known(targets, n, more, n_more, given->text))
            continue;
        TRY(all_names(a, targets, n, more, n_more, &names, &n_names));
        const char *hint = name_hint(a, given->text, names, n_names);
        return fail_at(given, "unknown key '%.100s' in %s; %s", given->text, *in ? in : "the recipe",
                       hint ? hint : "");
    }
    return STATUS_OK;
}

/* The preset of the first table that has one; "!" when there is none and some table wants a value. */
static const char *preset_of(const key_target *targets, int n, const char *name)
{
    const char *preset = NULL;

    for (int i = 0; i < n; i++) {
        const key *k = key_find(targets[i].table, name);
        if (!k || !k->preset)
            continue;
        if (strcmp(k->preset, "!") != 0)
            return k->preset;
        preset = k->preset;
    }
    return preset;
}

static status add_preset(arena *a, const key_target *targets, int n, const key *k, const char *in,
                         yaml_node *map)
{
    const char *preset = preset_of(targets, n, k->name);
    yaml_node  *value;

    if (!preset)
        return STATUS_OK;
    if (strcmp(preset, "!") == 0)
        return fail_at(map, "%s needs the key '%s': %s", *in ? in : "the recipe", k->name, k->help);
    TRY(yaml_parse(a, preset, strlen(preset), NULL, &value));
    value->line = value->column = 0;
    return yaml_set(a, map, yaml_new(a, YAML_TEXT, k->name, NULL), value);
}

status keys_read(arena *a, const key_target *targets, int n, const char *const *more, int n_more,
                 const char *in, yaml_node *map)
{
    TRY(keys_check_names(a, targets, n, more, n_more, in, map));
    for (int i = 0; i < n; i++)
        for (int j = 0; targets[i].table && j < targets[i].table->n; j++) {
            const key *k = &targets[i].table->keys[j];
            yaml_node *value = yaml_find(map, k->name);

            if (!value)
                TRY(add_preset(a, targets, n, k, in, map));
            if (!value && (value = yaml_find(map, k->name)) == NULL)
                continue;
            TRY(key_read(a, k, in, value, (char *)targets[i].out + k->offset));
        }
    return STATUS_OK;
}
