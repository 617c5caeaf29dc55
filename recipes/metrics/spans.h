/* spans: the spans that a sequence of tags says, with seqeval's rules */
#ifndef RECIPES_METRICS_SPANS_H
#define RECIPES_METRICS_SPANS_H

#include "core/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct span_tag {
    char    prefix; /* O B I E S */
    int32_t type;   /* of the span; -1: O */
} span_tag;

/* The tags of a task, read once. */
typedef struct span_tags {
    const span_tag *v;
    int             n, n_types;
    int             scheme; /* 0: the default mode */
} span_tags;

typedef struct span {
    int32_t type;
    int64_t begin, end; /* end: behind the last word */
} span;

/* Reads the names "O", "B-PER", "I-PER"; "B" alone has a type of its own. scheme: NULL, "iob1", "iob2" or
 * "iobes". Fails with STATUS_FORMAT for a name that is no such tag, or has a prefix that the scheme lacks. */
status span_tags_read(arena *a, const char *const *names, int n, const char *scheme, span_tags *out);

/* Spans of a sentence in their order, at most n of them, into out[n]; returns how many. */
int64_t spans_find(const span_tags *t, const int32_t *tags, int64_t n, span *out);

#ifdef __cplusplus
}
#endif
#endif
