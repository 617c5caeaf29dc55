/* place: offsets for stretches of memory with lifetimes.
 *
 * Greedy by size (Pisarchyk and Lee 2020): the largest first, each at the lowest offset that is free
 * for its whole life. */
#include "autograd/graph.h"

#include <stdlib.h>
#include <string.h>

enum { STORE_ALIGN = 64 };

static int larger_first(const void *a, const void *b)
{
    const store *x = *(store *const *)a, *y = *(store *const *)b;

    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    if (x->birth != y->birth)
        return x->birth < y->birth ? -1 : 1;
    return x < y ? -1 : 1; /* one order on every machine */
}

size_t place_stores(arena *scratch, store *stores, int n)
{
    const size_t mark = arena_mark(scratch);
    store      **order = arena_take(scratch, (size_t)n, sizeof *order);
    store      **placed = arena_take(scratch, (size_t)n, sizeof *placed); /* by offset */
    int          n_order = 0, n_placed = 0;
    size_t       total = 0;

    CHECK(order && placed);
    for (int i = 0; i < n; i++) {
        if (stores[i].root != i || stores[i].birth < 0)
            continue;
        stores[i].bytes = (stores[i].bytes + STORE_ALIGN - 1) & ~(size_t)(STORE_ALIGN - 1);
        order[n_order++] = &stores[i];
    }
    qsort(order, (size_t)n_order, sizeof *order, larger_first);

    for (int i = 0; i < n_order; i++) {
        store *s = order[i];
        size_t at = 0;
        for (int j = 0; j < n_placed; j++) {
            const store *p = placed[j];
            if (p->death < s->birth || s->death < p->birth)
                continue;
            if (at + s->bytes <= p->offset)
                break; /* placed is sorted by offset: this gap holds it */
            if (p->offset + p->bytes > at)
                at = p->offset + p->bytes;
        }
        s->offset = at;
        if (at + s->bytes > total)
            total = at + s->bytes;

        int to = n_placed++;
        while (to > 0 && placed[to - 1]->offset > at)
            to--;
        memmove(placed + to + 1, placed + to, (size_t)(n_placed - 1 - to) * sizeof *placed);
        placed[to] = s;
    }
    arena_rewind(scratch, mark);
    return total;
}
