/* yaml: one strict YAML document as a tree of nodes, each with its place in the file.
 *
 * Reading is by libyaml; what a recipe has no use for is refused: anchors, aliases, tags, a second
 * document, keys that occur twice or are not plain text, NUL characters, more than 32 levels, more
 * than 1 MB or 65,536 nodes. Scalars stay text: whether `no` is a word or a truth value is decided
 * by who wants it (keys_read). The tree lies in an arena and may be edited. */
#ifndef RECIPES_YAML_H
#define RECIPES_YAML_H

#include "core/arena.h"

#include <stdbool.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { YAML_DEPTH_MAX = 32, YAML_BYTES_MAX = 1 << 20, YAML_NODES_MAX = 65536, YAML_KEY_MAX = 256 };

typedef enum yaml_kind { YAML_TEXT, YAML_LIST, YAML_MAP } yaml_kind;

typedef struct yaml_node yaml_node;

typedef struct yaml_entry {
    yaml_node *key; /* NULL in a LIST */
    yaml_node *value;
} yaml_entry;

struct yaml_node {
    yaml_kind   kind;
    bool        quoted; /* TEXT: was written in quotes or as a block, so it is text whatever it says */
    const char *text;   /* TEXT */
    int         n, room;
    yaml_entry *v; /* LIST, MAP: n entries in file order */

    const char *file; /* where it was written: a path, "command line", or NULL: a default */
    int         line, column; /* from 1; 0 when there is none */

    /* set by who reads the value, for the fingerprint */
    const char *meaning; /* TEXT: the one way to write this value (0.001 for 1e-3); NULL: the text */
    bool        as_list; /* stands for a list of one */
    bool        ordered; /* MAP: the order of its keys matters */
};

/* Parses one document; `file` names it in messages and in the nodes, and must live as long as they
 * (NULL: a default). Fails with STATUS_USAGE and "file:line:column: ...". */
status yaml_parse(arena *a, const char *text, size_t length, const char *file, yaml_node **root);

/* The same for a file; also STATUS_IO. */
status yaml_read(arena *a, const char *path, yaml_node **root);

/* The value of a key of a MAP, or NULL. */
yaml_node *yaml_find(const yaml_node *map, const char *key);

/* True for an unquoted empty scalar, ~ or null. */
bool yaml_is_null(const yaml_node *n);

/* Editing: new nodes at the place of `at` (which may be NULL: a default), appending to a MAP or
 * LIST, replacing a key's value (appended when it is missing), removing a key. */
yaml_node *yaml_new(arena *a, yaml_kind kind, const char *text, const yaml_node *at);
status     yaml_append(arena *a, yaml_node *to, yaml_node *key, yaml_node *value);
status     yaml_set(arena *a, yaml_node *map, yaml_node *key, yaml_node *value);
void       yaml_remove(yaml_node *map, const char *key);

/* A tree of its own with the same nodes and places. */
status yaml_copy(arena *a, const yaml_node *n, yaml_node **out);

/* "file:line:column", "command line" or "default", into text[n]; returns text. */
const char *yaml_where(const yaml_node *n, char *text, size_t room);

/* Writes the tree as block YAML that yaml_parse reads back to the same values; with `origins` each
 * scalar is followed by "# file:line", "# command line" or "# default". */
void yaml_write(FILE *out, const yaml_node *root, bool origins);

#ifdef __cplusplus
}
#endif
#endif
