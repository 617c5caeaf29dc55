/* threads: a thin layer over OpenMP */
#include "core/threads.h"

#include "core/status.h"

#include <omp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>

static int chosen; /* 0: not chosen yet */

static int default_count(void)
{
    const char *names[] = {"CAMBIUM_THREADS", "OMP_NUM_THREADS"};

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const char *text = getenv(names[i]);
        const int   n = text ? atoi(text) : 0;
        if (n > 0)
            return n;
    }
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    return omp_get_num_procs();
}

int threads_count(void)
{
    if (!chosen)
        chosen = default_count();
    return chosen;
}

void threads_set(int n)
{
    chosen = n < 1 ? default_count() : n;
}

void threads_run(int64_t pieces, void (*body)(void *context, int64_t piece), void *context)
{
    const int n = pieces < threads_count() ? (int)pieces : threads_count();

    if (n <= 1) {
        for (int64_t i = 0; i < pieces; i++)
            body(context, i);
        return;
    }
#pragma omp parallel for num_threads(n) schedule(dynamic, 1)
    for (int64_t i = 0; i < pieces; i++)
        body(context, i);
}

/* ---- scratch ---------------------------------------------------------------------------------------- */

enum { SLOTS = 4 };

typedef struct scratch_slot {
    void  *v;
    size_t bytes;
} scratch_slot;

static THREAD_LOCAL scratch_slot mine[SLOTS];
static size_t                    largest[SLOTS]; /* of all threads */
static int                       grown;          /* since the last threads_scratch_level */

static void note_size(int slot, size_t bytes)
{
    size_t seen = __atomic_load_n(&largest[slot], __ATOMIC_RELAXED);

    while (seen < bytes && !__atomic_compare_exchange_n(&largest[slot], &seen, bytes, true,
                                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    __atomic_store_n(&grown, 1, __ATOMIC_RELAXED);
}

void *threads_scratch(int slot, size_t bytes)
{
    CHECK(slot >= 0 && slot < SLOTS);
    scratch_slot *s = &mine[slot];
    if (s->bytes < bytes) {
        const size_t rounded = (bytes + 4095) & ~(size_t)4095;
        free(s->v);
        s->v = aligned_alloc(64, rounded);
        s->bytes = rounded;
        CHECK(s->v != NULL);
        note_size(slot, rounded);
    }
    return s->v;
}

void threads_scratch_level(void)
{
    if (!__atomic_exchange_n(&grown, 0, __ATOMIC_RELAXED))
        return;
#pragma omp parallel num_threads(threads_count())
    for (int i = 0; i < SLOTS; i++)
        threads_scratch(i, __atomic_load_n(&largest[i], __ATOMIC_RELAXED));
    __atomic_store_n(&grown, 0, __ATOMIC_RELAXED);
}
