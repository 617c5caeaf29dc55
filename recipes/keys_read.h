/* keys_read: options structs from YAML mappings, by the rows of core/keys.h.
 *
 * A mapping may serve several tables at once (the general keys of a module and its method's own); a key
 * that several of them have fills each of their structs. Failures are STATUS_USAGE with the place:
 * "recipes/x.yaml:12:5: unknown key 'wramup' in optim; did you mean 'warmup'?" */
#ifndef RECIPES_KEYS_READ_H
#define RECIPES_KEYS_READ_H

#include "core/keys.h"
#include "recipes/yaml.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A table and the struct it fills (table->size bytes, zero before). */
typedef struct key_target {
    const key_table *table;
    void            *out;
} key_target;

/* The row of a name, or NULL. */
const key *key_find(const key_table *table, const char *name);

/* The whole way from a mapping to structs: refuses unknown keys, adds missing keys that have a preset to
 * the mapping as default nodes, refuses missing keys that must be given, reads the values. A preset is
 * taken from the first table that has one. `in` names the mapping in messages ("modules.0"); `more` are
 * n_more further names that the mapping may hold and that are read by someone else. */
status keys_read(arena *a, const key_target *targets, int n, const char *const *more, int n_more,
                 const char *in, yaml_node *map);

/* The first of these steps alone. */
status keys_check_names(arena *a, const key_target *targets, int n, const char *const *more,
                        int n_more, const char *in, const yaml_node *map);

/* One value into the place that its row wants (int64_t, double, ...: see key_kind). */
status key_read(arena *a, const key *k, const char *in, yaml_node *value, void *place);

/* "a whole number in 1..65536", "none, all or lora_only": what a value must be. In the arena. */
const char *key_must_be(arena *a, const key *k);

/* fail() with the node's place in front. */
status fail_at(const yaml_node *at, const char *format, ...) PRINTF_LIKE(2, 3);

/* "text 'abc'", "a list", "nothing": what a node is, for messages; at most 60 bytes of its text. */
const char *yaml_describe(arena *a, const yaml_node *n);

/* YAML 1.2 numbers, without quotes: 16, +16, -3, 0x10, 0o20; 1e-3, .5, 2. (finite ones only). */
bool yaml_int(const yaml_node *n, int64_t *out);
bool yaml_real(const yaml_node *n, double *out);
/* true, false, yes, no in small, Capital or CAPITAL letters. */
bool yaml_bool(const yaml_node *n, bool *out);

/* Piece i of "none|all|lora_only", in the arena; NULL past the end. */
const char *choice_at(arena *a, const char *choices, int i);

#ifdef __cplusplus
}
#endif
#endif
