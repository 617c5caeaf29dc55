/* merge_write: a trunk with what sits on it in its weights, as a Hugging Face folder (command_merge.c). */
#ifndef RECIPES_MERGE_WRITE_H
#define RECIPES_MERGE_WRITE_H

#include "recipes/session.h"

#include <stdio.h>

typedef struct merge_result {
    int    tensors;
    double loss; /* largest rounding of a value to the type that is written, beside its tensor's largest */
} merge_result;

/* Refuses a type that cannot be written (NULL: as stored) and a folder that is there. */
status merge_check(const char *folder, const char *type);

/* Writes the session's trunk, whole or not at all; config.json of a head that was wished for is what `adapter` says. */
status merge_write(session *s, const char *adapter, const char *folder, const char *type, merge_result *r);

/* One line about it. */
void merge_print(const merge_result *r, const char *folder, const char *type, FILE *out);

#endif
