/* mixture: the records of several sources as one.
 *
 * Every source keeps its own wording. Classes and tags are united by name. What a weight means for an epoch
 * stands in data/pack.h. */
#ifndef DATA_MIXTURE_H
#define DATA_MIXTURE_H

#include "data/source.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mixture_part {
    records r;
    double  weight;
    int     task; /* of all its records; -1: as the records say */
} mixture_part;

/* Joins n sources; those of weight 0 are left out. One source alone stays what it is. Sources of given
 * micro-batches, or of another kind of sample than the first (texts, words, images, ids), are an error. */
status mixture_join(arena *a, mixture_part *parts, int n, records *out);

/* Numbers of classes and tags become those in names [n]; a class or tag that is not there is an error. */
status records_relabel(arena *a, records *r, int n, const char *const *names);

/* Leaves out records, and sources of a mixture without any left; fails when none is left. */
status records_keep(arena *a, records *r, bool (*keeps)(const void *context, const record *x), const void *context);

#ifdef __cplusplus
}
#endif
#endif
