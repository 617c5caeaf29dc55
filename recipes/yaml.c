/* yaml: libyaml's events become a tree; everything that surprises is refused */
#include "recipes/yaml.h"

#include "core/file.h"

#include <string.h>

#include <yaml.h>

typedef struct builder {
    arena        *a;
    const char   *file;
    yaml_parser_t parser;
    int           nodes;
} builder;

static const char *name_of(const builder *b)
{
    return b->file ? b->file : "default";
}

static status refuse(const builder *b, yaml_mark_t at, const char *message)
{
    return fail(STATUS_USAGE, "%s:%zu:%zu: %s", name_of(b), at.line + 1, at.column + 1, message);
}

/* libyaml's own complaint; the place is where its reader or scanner stood. */
static status refuse_syntax(const builder *b)
{
    const yaml_parser_t *p = &b->parser;
    const char          *problem = p->problem ? p->problem : "cannot be read";

    if (p->error == YAML_MEMORY_ERROR)
        return fail(STATUS_MEMORY, "%s: no memory to read it", name_of(b));
    if (p->error == YAML_READER_ERROR)
        return fail(STATUS_USAGE, "%s: not valid YAML: %s at byte %zu", name_of(b), problem,
                    p->problem_offset);
    return fail(STATUS_USAGE, "%s:%zu:%zu: not valid YAML: %s%s%s", name_of(b),
                p->problem_mark.line + 1, p->problem_mark.column + 1, problem,
                p->context ? " " : "", p->context ? p->context : "");
}

static status next_event(builder *b, yaml_event_t *event)
{
    return yaml_parser_parse(&b->parser, event) ? STATUS_OK : refuse_syntax(b);
}

static status take_node(builder *b, yaml_kind kind, yaml_mark_t at, yaml_node **out)
{
    if (++b->nodes > YAML_NODES_MAX)
        return refuse(b, at, "has more than 65,536 values");
    TRY_TAKE(*out, b->a, 1);
    **out = (yaml_node){.kind = kind, .file = b->file, .line = (int)at.line + 1,
                        .column = (int)at.column + 1};
    return STATUS_OK;
}

static status take_scalar(builder *b, const yaml_event_t *e, yaml_node **out)
{
    const char  *text = (const char *)e->data.scalar.value;
    const size_t length = e->data.scalar.length;

    if (e->data.scalar.anchor)
        return refuse(b, e->start_mark, "anchors (&name) are not part of recipes");
    if (e->data.scalar.tag)
        return refuse(b, e->start_mark, "tags (!name) are not part of recipes");
    if (memchr(text, '\0', length))
        return refuse(b, e->start_mark, "a NUL character in a text");
    TRY(take_node(b, YAML_TEXT, e->start_mark, out));
    (*out)->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    (*out)->text = arena_string(b->a, text, length);
    return (*out)->text ? STATUS_OK : STATUS_MEMORY;
}

static status take_value(builder *b, yaml_event_t *e, int depth, yaml_node **out);

static status take_key(builder *b, const yaml_event_t *e, const yaml_node *map, yaml_node **key)
{
    if (e->type != YAML_SCALAR_EVENT)
        return refuse(b, e->start_mark, "a key must be a word");
    TRY(take_scalar(b, e, key));
    if ((*key)->text[0] == '\0' || strlen((*key)->text) > YAML_KEY_MAX)
        return refuse(b, e->start_mark, "a key must have 1 to 256 bytes");
    for (int i = 0; i < map->n; i++)
        if (strcmp(map->v[i].key->text, (*key)->text) == 0)
            return fail(STATUS_USAGE, "%s:%d:%d: key '%.60s' stands here twice; first at line %d",
                        name_of(b), (*key)->line, (*key)->column, (*key)->text,
                        map->v[i].key->line);
    return STATUS_OK;
}

/* The entries of a list or mapping whose start was seen, up to its end. */
static status take_entries(builder *b, yaml_node *into, int depth)
{
    const yaml_event_type_t end =
        into->kind == YAML_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;

    for (;;) {
        yaml_event_t e;
        yaml_node   *key = NULL, *value = NULL;

        TRY(next_event(b, &e));
        if (e.type == end) {
            yaml_event_delete(&e);
            return STATUS_OK;
        }
        if (into->kind == YAML_MAP) {
            if (into->n >= 4096) {
                yaml_event_delete(&e);
                return refuse(b, e.start_mark, "a mapping may have 4096 keys");
            }
            const status s = take_key(b, &e, into, &key);
            yaml_event_delete(&e);
            TRY(s);
            TRY(next_event(b, &e));
        }
        const status s = take_value(b, &e, depth, &value);
        yaml_event_delete(&e);
        TRY(s);
        TRY(yaml_append(b->a, into, key, value));
    }
}

static status take_value(builder *b, yaml_event_t *e, int depth, yaml_node **out)
{
    if (e->type == YAML_SCALAR_EVENT)
        return take_scalar(b, e, out);
    if (e->type == YAML_ALIAS_EVENT)
        return refuse(b, e->start_mark, "aliases (*name) are not part of recipes; a pattern that "
                                        "begins with * must be in quotes");

    const bool map = e->type == YAML_MAPPING_START_EVENT;
    if (!map && e->type != YAML_SEQUENCE_START_EVENT)
        return refuse(b, e->start_mark, "a value is missing");
    if (map ? e->data.mapping_start.anchor != NULL : e->data.sequence_start.anchor != NULL)
        return refuse(b, e->start_mark, "anchors (&name) are not part of recipes");
    if (map ? e->data.mapping_start.tag != NULL : e->data.sequence_start.tag != NULL)
        return refuse(b, e->start_mark, "tags (!name) are not part of recipes");
    if (depth >= YAML_DEPTH_MAX)
        return refuse(b, e->start_mark, "more than 32 levels");
    TRY(take_node(b, map ? YAML_MAP : YAML_LIST, e->start_mark, out));
    return take_entries(b, *out, depth + 1);
}

static status expect(builder *b, yaml_event_type_t type, const char *message)
{
    yaml_event_t e;

    TRY(next_event(b, &e));
    const bool        right = e.type == type;
    const yaml_mark_t at = e.start_mark;
    yaml_event_delete(&e);
    return right ? STATUS_OK : refuse(b, at, message);
}

static status take_document(builder *b, yaml_node **root)
{
    yaml_event_t e;

    TRY(expect(b, YAML_STREAM_START_EVENT, "is not a YAML stream"));
    TRY(expect(b, YAML_DOCUMENT_START_EVENT, "is empty"));
    TRY(next_event(b, &e));
    const status s = take_value(b, &e, 0, root);
    yaml_event_delete(&e);
    TRY(s);
    TRY(expect(b, YAML_DOCUMENT_END_EVENT, "one document must end here"));
    return expect(b, YAML_STREAM_END_EVENT, "a second document begins here; a file holds one");
}

status yaml_parse(arena *a, const char *text, size_t length, const char *file, yaml_node **root)
{
    builder b = {.a = a, .file = file};

    *root = NULL;
    if (length > YAML_BYTES_MAX)
        return fail(STATUS_USAGE, "%s: has %zu bytes, may have %d", name_of(&b), length,
                    (int)YAML_BYTES_MAX);
    if (!yaml_parser_initialize(&b.parser))
        return fail(STATUS_MEMORY, "%s: no memory to read it", name_of(&b));
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b.parser, (const unsigned char *)text, length);
    const status s = take_document(&b, root);
    yaml_parser_delete(&b.parser);
    return s;
}

status yaml_read(arena *a, const char *path, yaml_node **root)
{
    char  *text;
    size_t length;

    TRY(file_read(a, path, YAML_BYTES_MAX, &text, &length));
    return yaml_parse(a, text, length, path, root);
}

yaml_node *yaml_find(const yaml_node *map, const char *key)
{
    for (int i = 0; map && map->kind == YAML_MAP && i < map->n; i++)
        if (strcmp(map->v[i].key->text, key) == 0)
            return map->v[i].value;
    return NULL;
}

bool yaml_is_null(const yaml_node *n)
{
    return n->kind == YAML_TEXT && !n->quoted &&
           (n->text[0] == '\0' || strcmp(n->text, "~") == 0 || strcmp(n->text, "null") == 0 ||
            strcmp(n->text, "Null") == 0 || strcmp(n->text, "NULL") == 0);
}

yaml_node *yaml_new(arena *a, yaml_kind kind, const char *text, const yaml_node *at)
{
    yaml_node *n = arena_take(a, 1, sizeof *n);

    if (!n)
        return NULL;
    *n = (yaml_node){.kind = kind, .text = text};
    if (at) {
        n->file = at->file;
        n->line = at->line;
        n->column = at->column;
    }
    return n;
}

status yaml_append(arena *a, yaml_node *to, yaml_node *key, yaml_node *value)
{
    if (!value || (to->kind == YAML_MAP && !key))
        return STATUS_MEMORY;
    if (to->n == to->room) {
        yaml_entry *more;
        const int   room = to->room ? to->room * 2 : 4;

        TRY_TAKE(more, a, room);
        if (to->n)
            memcpy(more, to->v, (size_t)to->n * sizeof *more);
        to->v = more;
        to->room = room;
    }
    to->v[to->n++] = (yaml_entry){.key = key, .value = value};
    return STATUS_OK;
}

status yaml_set(arena *a, yaml_node *map, yaml_node *key, yaml_node *value)
{
    if (!key || !value)
        return STATUS_MEMORY;
    for (int i = 0; i < map->n; i++)
        if (strcmp(map->v[i].key->text, key->text) == 0) {
            map->v[i] = (yaml_entry){.key = key, .value = value};
            return STATUS_OK;
        }
    return yaml_append(a, map, key, value);
}

void yaml_remove(yaml_node *map, const char *key)
{
    int kept = 0;

    for (int i = 0; i < map->n; i++)
        if (strcmp(map->v[i].key->text, key) != 0)
            map->v[kept++] = map->v[i];
    map->n = kept;
}

status yaml_copy(arena *a, const yaml_node *n, yaml_node **out)
{
    yaml_node *copy;

    TRY_TAKE(copy, a, 1);
    *copy = *n;
    copy->room = n->n;
    TRY_TAKE(copy->v, a, n->n + 1);
    for (int i = 0; i < n->n; i++) {
        copy->v[i] = (yaml_entry){0};
        if (n->v[i].key)
            TRY(yaml_copy(a, n->v[i].key, &copy->v[i].key));
        TRY(yaml_copy(a, n->v[i].value, &copy->v[i].value));
    }
    *out = copy;
    return STATUS_OK;
}

const char *yaml_where(const yaml_node *n, char *text, size_t room)
{
    if (!n->file)
        snprintf(text, room, "default");
    else if (n->line == 0)
        snprintf(text, room, "%s", n->file);
    else
        snprintf(text, room, "%s:%d:%d", n->file, n->line, n->column);
    return text;
}
