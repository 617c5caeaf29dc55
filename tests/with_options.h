/* with_options: the struct that a key table describes, filled from JSON, as a recipe would fill it
 */
#ifndef TESTS_WITH_OPTIONS_H
#define TESTS_WITH_OPTIONS_H

#include "core/arena.h"
#include "core/json.h"
#include "core/keys.h"

/* Presets, then what `json` (may be NULL) sets; a JSON null leaves the preset. A member that is no
 * key of the table is STATUS_UNSUPPORTED, but for `other` (may be NULL), which the caller reads
 * itself. */
status options_from_json(arena *a, const key_table *t, const cJSON *json, const char *other,
                         void **out);

#endif
