/* fields: of adapter_config.json */
#ifndef PEFT_FIELDS_H
#define PEFT_FIELDS_H

#include "core/json.h"

/* Refuses fields that are set, to anything but null, false, 0, "none" or nothing in a list or object: they
 * change what an adapter computes, and this version does not compute that. names ends with NULL. */
status fields_refuse(const cJSON *config, const char *const *names, const char *what);

/* A share of something that is left out while training: 0 or more and below 1; stays when it is missing. */
status fields_share(const cJSON *config, const char *name, double *share, const char *what);

#endif
