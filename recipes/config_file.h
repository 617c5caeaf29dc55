/* config_file: config.json of a folder that is written */
#ifndef RECIPES_CONFIG_FILE_H
#define RECIPES_CONFIG_FILE_H

#include "layers/weights.h"

/* Writes w's config as folder/config.json. Whole numbers that its source writes as 30.0 keep their point, since
 * transformers wants one where it expects a real number. The config is not to be read any more. */
status config_write(arena *a, const weights *w, const char *folder);

#endif
