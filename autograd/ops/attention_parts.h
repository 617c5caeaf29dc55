/* attention_parts: how backward cuts a long sequence, so that threads share it evenly
 *
 * A part is a run of a sequence's groups (query rows); parts of one sequence see about equally many keys
 * in all, and their borders depend on the lengths alone. Every part sums the gradients of its keys by
 * itself and adds them to the sequence's in the order of the parts, whichever thread made them. */
#ifndef AUTOGRAD_OPS_ATTENTION_PARTS_H
#define AUTOGRAD_OPS_ATTENTION_PARTS_H

#include "autograd/ops/attention_group.h"

enum {
    PART_KEYS = 8192, /* keys that the groups of a part see, summed over groups: a millisecond or so */
    PARTS_MAX = 6     /* of a sequence: each costs a pass over its keys' gradients */
};

static inline int64_t groups_of(const attention_view *w, int64_t s)
{
    return (attention_queries(w, s) * w->G + GROUP - 1) / GROUP;
}

/* Keys that the first row of group i sees. */
static inline int64_t keys_of_group(const attention_view *w, int64_t s, int64_t i)
{
    int32_t lo, hi;

    attention_range(w, s, i * GROUP / w->G, &lo, &hi);
    return hi < lo ? 0 : hi - lo + 1;
}

static inline int64_t keys_of_groups(const attention_view *w, int64_t s)
{
    const int64_t n = groups_of(w, s);
    int64_t       keys = 0;

    for (int64_t i = 0; i < n; i++)
        keys += keys_of_group(w, s, i);
    return keys;
}

static inline int64_t parts_of(const attention_view *w, int64_t s)
{
    const int64_t parts = keys_of_groups(w, s) / PART_KEYS;

    return parts < 1 ? 1 : parts > PARTS_MAX ? PARTS_MAX : parts;
}

/* Groups *from .. *to-1 of part p of n. */
static inline void part_groups(const attention_view *w, int64_t s, int64_t p, int64_t n, int64_t *from,
                               int64_t *to)
{
    const int64_t groups = groups_of(w, s), keys = keys_of_groups(w, s);
    int64_t       seen = 0;

    *from = p == 0 ? 0 : groups;
    *to = groups;
    for (int64_t i = 0; i < groups; i++) {
        seen += keys_of_group(w, s, i);
        if (p > 0 && *from == groups && seen * n > p * keys)
            *from = i;
        if (p < n - 1 && seen * n > (p + 1) * keys) {
            *to = i;
            return;
        }
    }
}

#endif
