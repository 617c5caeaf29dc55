/* patterns: PEFT's rank_pattern and alpha_pattern: values that differ from site to site */
#ifndef PEFT_PATTERNS_H
#define PEFT_PATTERNS_H

#include "core/arena.h"
#include "core/json.h"
#include "core/keys.h"

/* *value becomes that of the first pattern that matches the site's checkpoint name, and stays without one. */
status pattern_value(const key_map *map, const char *name, double *value);

/* The map as an object of adapter_config.json, and back; a missing one is empty. */
void   pattern_write(cJSON *config, const char *name, const key_map *map);
status pattern_read(const cJSON *config, const char *name, arena *a, key_map *map, const char *what);

#endif
