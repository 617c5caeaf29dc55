/* schema_print: the tables as JSON Schema (draft 2020-12), so that an editor completes and checks recipes.
 *
 * Everything is there twice: a recipe that stands alone ("whole") needs its required keys, one with `from`
 * ("over") may leave out all of them and may set keys to null to take them away. */
#include "recipes/keys_read.h"
#include "recipes/recipe_keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

typedef struct schema {
    arena                 *a;
    const option_registry *registry;
    bool                   over;
    bool                   broken; /* an item could not be made: no memory */
} schema;

static void add(schema *x, cJSON *to, const char *name, cJSON *item)
{
    if (!to || !item || !(name ? cJSON_AddItemToObject(to, name, item) : cJSON_AddItemToArray(to, item)))
        x->broken = true;
}

static void add_text(schema *x, cJSON *to, const char *name, const char *text)
{
    add(x, to, name, cJSON_CreateString(text));
}

/* {"type": name}, or with null beside it in a recipe that is laid over another one. */
static cJSON *of_type(schema *x, const char *const *names, int n)
{
    cJSON *o = cJSON_CreateObject(), *list = cJSON_CreateStringArray(names, n);

    if (x->over)
        add_text(x, list, NULL, "null");
    add(x, o, "type", list);
    return o;
}

static cJSON *scalar(schema *x)
{
    static const char *const types[] = {"string", "number", "boolean"};

    return of_type(x, types, 3);
}

static cJSON *array_of(schema *x, cJSON *items)
{
    cJSON *o = cJSON_CreateObject();

    add_text(x, o, "type", "array");
    add(x, o, "items", items);
    return o;
}

static cJSON *number(schema *x, const key *k, bool whole)
{
    cJSON *o = of_type(x, (const char *const[]){whole ? "integer" : "number"}, 1);

    if (k->lo != 0 || k->hi != 0) {
        add(x, o, "minimum", cJSON_CreateNumber(k->lo));
        add(x, o, "maximum", cJSON_CreateNumber(k->hi));
    }
    return o;
}

static cJSON *any_of(schema *x, cJSON *first, cJSON *second)
{
    cJSON *o = cJSON_CreateObject(), *list = cJSON_CreateArray();

    add(x, list, NULL, first);
    add(x, list, NULL, second);
    add(x, o, "anyOf", list);
    return o;
}

static cJSON *choices(schema *x, const key *k)
{
    cJSON      *o = cJSON_CreateObject(), *list = cJSON_CreateArray();
    const char *name;

    if (k->kind == KEY_BOOL) { /* yes and no are texts to a YAML 1.2 editor */
        add(x, list, NULL, cJSON_CreateTrue());
        add(x, list, NULL, cJSON_CreateFalse());
        add_text(x, list, NULL, "yes");
        add_text(x, list, NULL, "no");
    } else
        for (int i = 0; (name = choice_at(x->a, k->choices, i)) != NULL; i++)
            add_text(x, list, NULL, name);
    if (x->over)
        add(x, list, NULL, cJSON_CreateNull());
    add(x, o, "enum", list);
    return o;
}

static cJSON *value_of(schema *x, const key *k)
{
    cJSON *o;

    switch (k->kind) {
    case KEY_INT:
    case KEY_REAL:
        return number(x, k, k->kind == KEY_INT);
    case KEY_BOOL:
    case KEY_CHOICE:
        return choices(x, k);
    case KEY_TEXTS:
        return k->choices ? any_of(x, choices(x, k), array_of(x, choices(x, k)))
                          : any_of(x, scalar(x), array_of(x, scalar(x)));
    case KEY_MAP:
        o = of_type(x, (const char *const[]){"object"}, 1);
        add(x, o, "additionalProperties", number(x, k, k->whole));
        return o;
    default:
        return scalar(x);
    }
}

/* The preset as JSON. */
static cJSON *preset_of(schema *x, const key *k)
{
    yaml_node *n;
    bool       yes;
    double     real;

    if (yaml_parse(x->a, k->preset, strlen(k->preset), NULL, &n) != STATUS_OK)
        return NULL;
    if (n->kind == YAML_TEXT) {
        if ((k->kind == KEY_INT || k->kind == KEY_REAL) && yaml_real(n, &real))
            return cJSON_CreateNumber(real);
        if (k->kind == KEY_BOOL && yaml_bool(n, &yes))
            return cJSON_CreateBool(yes);
        return cJSON_CreateString(n->text);
    }
    cJSON *list = n->kind == YAML_LIST ? cJSON_CreateArray() : cJSON_CreateObject();
    for (int i = 0; n->kind == YAML_LIST && i < n->n; i++)
        add_text(x, list, NULL, n->v[i].value->kind == YAML_TEXT ? n->v[i].value->text : "");
    return list;
}

/* Adds the keys of a table that are not there yet; names those that must be given in `required`. */
static void add_keys(schema *x, const key_table *table, cJSON *properties, cJSON *required)
{
    for (int i = 0; table && i < table->n; i++) {
        const key *k = &table->keys[i];
        const bool unit = k->unit && *k->unit;
        if (cJSON_HasObjectItem(properties, k->name))
            continue;
        cJSON *o = value_of(x, k);
        const char *help = arena_printf(x->a, "%s%s%s%s", k->help, unit ? " [" : "",
                                        unit ? k->unit : "", unit ? "]" : "");
        add_text(x, o, "description", help ? help : "");
        if (k->preset && strcmp(k->preset, "!") == 0)
            add_text(x, required, NULL, k->name);
        else if (k->preset)
            add(x, o, "default", preset_of(x, k));
        add(x, properties, k->name, o);
    }
}

static cJSON *part_schema(schema *x, const recipe_part *part);

/* A mapping of a part; `set` is what its selector says (NULL: the selector is absent). */
static cJSON *mapping(schema *x, const recipe_part *part, const option_set *set)
{
    cJSON *o = cJSON_CreateObject(), *properties = cJSON_CreateObject();
    cJSON *required = cJSON_CreateArray();

    add_text(x, o, "type", "object");
    add_text(x, o, "description", set && set->help ? set->help : part->help);
    if (set) {
        const key *k = key_find(part->table, part->selector);
        cJSON     *name = cJSON_CreateObject();
        add_text(x, name, "const", set->name);
        add_text(x, name, "description", k->help);
        add(x, properties, part->selector, name);
        if (!k->preset || strcmp(k->preset, set->name) != 0)
            add_text(x, required, NULL, part->selector);
        add_keys(x, set->table, properties, required);
    }
    for (int i = 0; i < x->registry->n && part->shape == PART_MAP; i++)
        if (x->registry->v[i].group[0] == '+' &&
            strcmp(x->registry->v[i].group + 1, part->path) == 0)
            add_keys(x, x->registry->v[i].table, properties, required);
    add_keys(x, part->table, properties, required);
    if (part->selector && !set)
        cJSON_DeleteItemFromObject(properties, part->selector);
    for (int i = 0; i < PART_COUNT; i++)
        if (part_is_below(&recipe_parts[i], part))
            add(x, properties, part_key(&recipe_parts[i]), part_schema(x, &recipe_parts[i]));
    add(x, o, "properties", properties);
    add(x, o, "additionalProperties", cJSON_CreateFalse());
    if (!x->over && part->instead && !set)
        add_text(x, required, NULL, part->instead);
    if (x->over || cJSON_GetArraySize(required) == 0)
        cJSON_Delete(required);
    else
        add(x, o, "required", required);
    return o;
}

static bool needs_keys(const option_set *set)
{
    for (int i = 0; set->table && i < set->table->n; i++)
        if (set->table->keys[i].preset && strcmp(set->table->keys[i].preset, "!") == 0)
            return true;
    return false;
}

/* One alternative a row of the part's group; names alone where that is enough. */
static cJSON *alternatives(schema *x, const recipe_part *part)
{
    cJSON *o = cJSON_CreateObject(), *list = cJSON_CreateArray(), *names = cJSON_CreateArray();

    for (int i = -1; i < x->registry->n; i++) {
        const option_set *set = i < 0 ? option_find(&(option_registry){0}, part->group, "single")
                                      : &x->registry->v[i];
        if (!set || strcmp(set->group, part->group) != 0 ||
            (i < 0 && option_find(x->registry, part->group, "single") != set))
            continue;
        add(x, list, NULL, mapping(x, part, set));
        if (x->over || !needs_keys(set))
            add_text(x, names, NULL, set->name);
    }
    if (part->instead)
        add(x, list, NULL, mapping(x, part, NULL));
    if (part->shape == PART_NAME_OR_MAP && cJSON_GetArraySize(names) > 0) {
        cJSON *word = cJSON_CreateObject();
        add(x, word, "enum", names);
        add(x, list, NULL, word);
    } else
        cJSON_Delete(names);
    if (cJSON_GetArraySize(list) == 0) { /* nothing of this group is in this version */
        cJSON_Delete(list);
        add(x, o, "not", cJSON_CreateObject());
    } else
        add(x, o, "anyOf", list);
    return o;
}

static cJSON *part_schema(schema *x, const recipe_part *part)
{
    cJSON *o, *one;

    if (part->group)
        one = alternatives(x, part);
    else
        one = mapping(x, part, NULL);
    o = one;
    if (part->shape == PART_LIST || part->shape == PART_MAP_OR_LIST) {
        cJSON *list = array_of(x, one);
        add(x, list, "minItems", cJSON_CreateNumber(1));
        o = list;
        if (part->shape == PART_MAP_OR_LIST)
            o = any_of(x, cJSON_Duplicate(one, true), list);
    } else if (part->shape == PART_WORD_OR_MAP) {
        cJSON *word = cJSON_CreateObject();
        add_text(x, word, "const", part->word);
        o = any_of(x, word, one);
    }
    if (!cJSON_HasObjectItem(o, "description"))
        add_text(x, o, "description", part->help);
    return o;
}

/* The whole recipe; either modules and what they need, or together. */
static cJSON *whole(schema *x)
{
    static const char *const alone[] = {"base", "data", "modules", "optim", "train"};
    static const char *const together[] = {"together"};
    cJSON                   *o = mapping(x, &recipe_parts[PART_TOP], NULL);

    if (x->over)
        return o;
    cJSON *first = cJSON_CreateObject(), *second = cJSON_CreateObject();
    add(x, first, "required", cJSON_CreateStringArray(alone, COUNT_OF(alone)));
    add(x, second, "required", cJSON_CreateStringArray(together, 1));
    cJSON *both = any_of(x, first, second);
    add(x, o, "oneOf", cJSON_DetachItemFromObject(both, "anyOf"));
    cJSON_Delete(both);
    return o;
}

static cJSON *reference(schema *x, const char *name)
{
    cJSON *o = cJSON_CreateObject();

    add_text(x, o, "$ref", name);
    return o;
}

status schema_json(const option_registry *registry, FILE *out)
{
    static const char *const from[] = {"from"};
    arena                    a;

    TRY(arena_open(&a, "schema", 256 << 20));
    schema x = {.a = &a, .registry = registry};
    cJSON *root = cJSON_CreateObject(), *defs = cJSON_CreateObject(), *built = cJSON_CreateObject();

    add_text(&x, root, "$schema", "https://json-schema.org/draft/2020-12/schema");
    add_text(&x, root, "title", "Cambium recipe");
    add(&x, built, "required", cJSON_CreateStringArray(from, 1));
    add(&x, root, "if", built);
    add(&x, root, "then", reference(&x, "#/$defs/over"));
    add(&x, root, "else", reference(&x, "#/$defs/whole"));
    add(&x, defs, "whole", whole(&x));
    x.over = true;
    add(&x, defs, "over", whole(&x));
    add(&x, root, "$defs", defs);

    char *text = cJSON_Print(root);
    cJSON_Delete(root);
    arena_close(&a);
    if (!text || x.broken) {
        free(text);
        return fail(STATUS_MEMORY, "schema: no memory to write it");
    }
    fputs(text, out);
    putc('\n', out);
    free(text);
    return ferror(out) ? fail(STATUS_IO, "schema: cannot be written: %s", strerror(errno)) : STATUS_OK;
}
