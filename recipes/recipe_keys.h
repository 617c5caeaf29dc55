/* recipe_keys: the parts of a recipe and their general keys, as tables; the reader, the schema and the
 * help all walk these rows. */
#ifndef RECIPES_RECIPE_KEYS_H
#define RECIPES_RECIPE_KEYS_H

#include "recipes/recipe.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum recipe_part_id {
    PART_TOP,
    PART_DATA,
    PART_DATA_TRAIN,
    PART_DATA_TEST,
    PART_DATA_PREPARE,
    PART_TEMPLATE,
    PART_MODULES,
    PART_OBJECTIVE,
    PART_OPTIM,
    PART_GROUPS,
    PART_TRAIN,
    PART_ROUTER,
    PART_PROCEDURE,
    PART_COUNT
} recipe_part_id;

typedef enum part_shape {
    PART_MAP,         /* {..} */
    PART_NAME_OR_MAP, /* causal_lm, or {name: causal_lm, ..} */
    PART_WORD_OR_MAP, /* chat, or {..} */
    PART_LIST,        /* [{..}, {..}] */
    PART_MAP_OR_LIST  /* {..} or [{..}, {..}] */
} part_shape;

typedef struct recipe_part {
    const char      *path;     /* "data.train"; "" is the whole */
    part_shape       shape;
    const key_table *table;    /* general keys */
    const char      *group;    /* of the registry; NULL: nothing to choose */
    const char      *selector; /* the key that names a row of the group */
    size_t           choice;   /* of the recipe_choice in the struct that table fills */
    const char      *instead;  /* key that may stand in the selector's place, or NULL */
    const char      *word;     /* PART_WORD_OR_MAP: the word */
    const char      *preset;   /* YAML for a part that is missing; NULL: stays away */
    const char      *help;
} recipe_part;

extern const recipe_part recipe_parts[PART_COUNT];

/* The part's own key ("train" of "data.train"), and whether `child` lies directly below `parent`. */
const char *part_key(const recipe_part *part);
bool        part_is_below(const recipe_part *child, const recipe_part *parent);

/* Reads recipe trees before they are checked: recipe_tree.c. */
status recipe_tree_read(arena *a, const char *path, yaml_node **root, const char **from);
/* Lays the file's mapping over the tree. */
status recipe_tree_overlay(arena *a, yaml_node *root, const char *path);
status recipe_tree_override(arena *a, yaml_node *root, const char *assignment);
status recipe_tree_find(arena *a, yaml_node *root, const char *path, yaml_node **out);
/* "objective: causal_lm" becomes "objective: {name: causal_lm}". */
status recipe_tree_normalise(arena *a, yaml_node *root);

/* What no single key can say: recipe_check.c. */
status recipe_check(arena *a, const recipe *r);

/* recipe_write.c */
status recipe_fingerprint(const yaml_node *root, uint64_t *out);

#ifdef __cplusplus
}
#endif
#endif
