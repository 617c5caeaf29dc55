/* kv_pages: a cache of keys and values in pages of 32 positions.
 *
 * A prompt's answer is one sequence, or several that a search goes on with (beams): those share the pages in which
 * they are the same. Pages of a prompt's source are read by all of its sequences. */
#ifndef RECIPES_KV_PAGES_H
#define RECIPES_KV_PAGES_H

#include "core/device.h"
#include "layers/model.h"

enum { KV_PAGE = 32 };

typedef struct kv_need {
    int64_t prompts, beams; /* beams: sequences of a prompt */
    int64_t positions;      /* of a sequence */
    int64_t common;         /* the first of them, which the sequences of a prompt never differ in */
    int64_t source;         /* positions of a prompt's source; 0: the model has none */
} kv_need;

typedef struct kv_pages {
    kv_need      need;
    int64_t      each, source_each; /* pages of a sequence, of a source */
    int64_t      pool;              /* pages of a prompt */
    kv_cache     cache;
    int32_t     *table;          /* [prompts * beams, each] numbers of pages */
    int32_t     *before;         /* [beams, each] of a prompt, while it changes */
    bool        *used;           /* [pool] of a prompt, while it changes */
    device_arena there;          /* the cache, on a device */
} kv_pages;

/* Every prompt's first sequence has its pages; the others get theirs from kv_pages_follow. */
status kv_pages_open(kv_pages *p, arena *a, const model *m, const kv_need *need);
void   kv_pages_close(kv_pages *p);

/* On the current device: bytes that the cache takes, and taking them. */
size_t kv_pages_bytes(const kv_pages *p);
status kv_pages_hold(kv_pages *p);

/* The pages of a sequence, [each], and the row of the cache that a position of it has. */
const int32_t *kv_pages_of(const kv_pages *p, int64_t prompt, int64_t beam);
int32_t        kv_pages_slot(const kv_pages *p, int64_t prompt, int64_t beam, int64_t position);

/* From now on sequence i of a prompt, i < n, has what its sequence parents[i] had up to `positions`, and room for the
 * next one. */
void kv_pages_follow(kv_pages *p, int64_t prompt, const int32_t *parents, int64_t n, int64_t positions);

#endif
