/* label_sets: samples with any number of classes, from a field that lists them. */
#ifndef RECIPES_OBJECTIVES_LABEL_SETS_H
#define RECIPES_OBJECTIVES_LABEL_SETS_H

#include "data/source.h"

typedef struct label_set {
    int          n;
    const char **v; /* [n] */
} label_set;

/* The labels in a record's field: a JSON list of names or numbers, or names with commas between them. */
status label_set_read(arena *a, const record *r, const char *name, label_set *out);

/* All names in the records of both (test may be NULL), sorted; if all are whole numbers, every number from 0 to the
 * largest. */
status label_sets_names(arena *a, const records *train, const records *test, const char *name, label_set *out);

#endif
