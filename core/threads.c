/* threads: a thin layer over OpenMP */
#include "core/threads.h"

#include "core/status.h"

#include <omp.h>
#include <sched.h>
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

void *threads_scratch(int slot, size_t bytes)
{
    static THREAD_LOCAL struct {
        void  *v;
        size_t bytes;
    } slots[4];

    CHECK(slot >= 0 && slot < (int)COUNT_OF(slots));
    if (slots[slot].bytes < bytes) {
        const size_t rounded = (bytes + 4095) & ~(size_t)4095;
        free(slots[slot].v);
        slots[slot].v = aligned_alloc(64, rounded);
        slots[slot].bytes = rounded;
        CHECK(slots[slot].v != NULL);
    }
    return slots[slot].v;
}
