/* threads: a pool of workers that wait awake, but politely
 *
 * A job is published by one 64-bit word, the ticket: its number in the high half, the next piece in the
 * low half. Whoever takes a piece does so by compare-and-swap on that word, so a worker that comes late
 * finds the job gone and harms nothing; the caller takes pieces too and waits for the pieces, not for
 * the workers. A worker without work spins for some microseconds, then offers its core to others
 * (sched_yield) while it keeps looking, and falls asleep after a few milliseconds. */
#include "core/threads.h"

#include "core/status.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { THREADS_MAX = 256, SPINS = 1 << 9, CALM = 64 };
static const int64_t AWAKE_NS = 5000000;

typedef void piece_function(void *context, int64_t piece);

static struct {
    _Atomic uint64_t          ticket; /* job << 32 | next piece */
    _Atomic(piece_function *) body;
    _Atomic(void *)           context;
    _Atomic int64_t           pieces, left;
    _Atomic int               limit;    /* workers 1 .. limit-1 may take pieces */
    _Atomic uint32_t          doorbell; /* what sleepers sleep on */
    _Atomic int               sleepers;
    int                       workers;  /* that exist */
    bool                      busy, watched;
} pool;

static int                chosen; /* 0: not chosen yet */
static THREAD_LOCAL int   my_index;

/* ---- how many ---------------------------------------------------------------------------------------- */

static int default_count(void)
{
    const char *names[] = {"CAMBIUM_THREADS", "OMP_NUM_THREADS"};
    cpu_set_t   set;

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const char *text = getenv(names[i]);
        const int   n = text ? atoi(text) : 0;
        if (n > 0)
            return n < THREADS_MAX ? n : THREADS_MAX;
    }
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set) < THREADS_MAX ? CPU_COUNT(&set) : THREADS_MAX;
    return 1;
}

int threads_count(void)
{
    if (!chosen)
        chosen = default_count();
    return chosen;
}

void threads_set(int n)
{
    chosen = n < 1 ? default_count() : n < THREADS_MAX ? n : THREADS_MAX;
}

/* ---- waiting ------------------------------------------------------------------------------------------- */

static inline void pause_core(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void sleep_on(uint32_t seen)
{
    syscall(SYS_futex, &pool.doorbell, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void wake_all(void)
{
    syscall(SYS_futex, &pool.doorbell, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* ---- pieces -------------------------------------------------------------------------------------------- */

/* Takes pieces of the job that the ticket names until there are none. */
static void take_pieces(uint64_t ticket)
{
    const uint64_t job = ticket >> 32;

    while (ticket >> 32 == job) {
        const int64_t   piece = (int64_t)(ticket & 0xFFFFFFFFu);
        piece_function *body = atomic_load_explicit(&pool.body, memory_order_relaxed);
        void           *context = atomic_load_explicit(&pool.context, memory_order_relaxed);
        if (piece >= atomic_load_explicit(&pool.pieces, memory_order_relaxed))
            return;
        if (atomic_compare_exchange_weak_explicit(&pool.ticket, &ticket, ticket + 1, memory_order_acq_rel,
                                                  memory_order_acquire)) {
            body(context, piece);
            atomic_fetch_sub_explicit(&pool.left, 1, memory_order_acq_rel);
            ticket++;
        }
    }
}

/* Waits for a job after `last`; returns its ticket. */
static uint64_t await_job(uint64_t last)
{
    int64_t started = 0;

    for (int64_t round = 0;; round++) {
        const uint32_t bell = atomic_load_explicit(&pool.doorbell, memory_order_acquire);
        const uint64_t ticket = atomic_load_explicit(&pool.ticket, memory_order_acquire);
        if (ticket >> 32 != last && my_index < atomic_load_explicit(&pool.limit, memory_order_relaxed))
            return ticket;
        if (round < SPINS) {
            pause_core();
            continue;
        }
        if (started == 0)
            started = now_ns();
        if (round % CALM || now_ns() - started < AWAKE_NS) {
            sched_yield();
            continue;
        }
        atomic_fetch_add_explicit(&pool.sleepers, 1, memory_order_seq_cst);
        if (atomic_load_explicit(&pool.ticket, memory_order_seq_cst) >> 32 == ticket >> 32)
            sleep_on(bell);
        atomic_fetch_sub_explicit(&pool.sleepers, 1, memory_order_relaxed);
        round = 0;
        started = 0;
    }
}

static void *work(void *index)
{
    uint64_t last = 0;

    my_index = (int)(intptr_t)index;
    for (;;) {
        const uint64_t ticket = await_job(last);
        last = ticket >> 32;
        take_pieces(ticket);
    }
    return NULL;
}

/* ---- the pool ------------------------------------------------------------------------------------------ */

/* A forked child has the memory of the workers but not the workers. */
static void forget_workers(void)
{
    pool.workers = 0;
    pool.busy = false;
    atomic_store(&pool.sleepers, 0);
}

static void start_workers(int n)
{
    pthread_attr_t detached;
    pthread_t      thread;

    if (!pool.watched)
        pool.watched = pthread_atfork(NULL, NULL, forget_workers) == 0;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    while (pool.workers < n - 1 &&
           pthread_create(&thread, &detached, work, (void *)(intptr_t)(pool.workers + 1)) == 0)
        pool.workers++;
    pthread_attr_destroy(&detached);
}

static uint64_t publish(int64_t pieces, piece_function *body, void *context)
{
    const uint64_t job = atomic_load_explicit(&pool.ticket, memory_order_relaxed) >> 32;
    const uint64_t next = job == UINT32_MAX ? 1 : job + 1;

    /* the old job closes first, so that nobody takes a piece of it while its fields change */
    atomic_store_explicit(&pool.ticket, job << 32 | UINT32_MAX, memory_order_seq_cst);
    atomic_store_explicit(&pool.body, body, memory_order_relaxed);
    atomic_store_explicit(&pool.context, context, memory_order_relaxed);
    atomic_store_explicit(&pool.pieces, pieces, memory_order_relaxed);
    atomic_store_explicit(&pool.left, pieces, memory_order_relaxed);
    atomic_store_explicit(&pool.limit, threads_count(), memory_order_relaxed);
    atomic_store_explicit(&pool.ticket, next << 32, memory_order_seq_cst);
    if (atomic_load_explicit(&pool.sleepers, memory_order_seq_cst) > 0) {
        atomic_fetch_add_explicit(&pool.doorbell, 1, memory_order_release);
        wake_all();
    }
    return next << 32;
}

/* One turn of a wait for what another thread is about to finish. */
static void wait_a_little(int64_t round)
{
    if (round < SPINS)
        pause_core();
    else
        sched_yield();
}

static void await_pieces(void)
{
    for (int64_t round = 0; atomic_load_explicit(&pool.left, memory_order_acquire) > 0; round++)
        wait_a_little(round);
}

void threads_await(const int32_t *turn, int32_t value)
{
    for (int64_t round = 0; __atomic_load_n(turn, __ATOMIC_ACQUIRE) != value; round++)
        wait_a_little(round);
}

void threads_pass(int32_t *turn)
{
    __atomic_fetch_add(turn, 1, __ATOMIC_RELEASE);
}

void threads_run(int64_t pieces, void (*body)(void *context, int64_t piece), void *context)
{
    const int n = pieces < threads_count() ? (int)pieces : threads_count();

    if (n <= 1 || my_index > 0 || pool.busy) { /* a piece that is itself cut runs its pieces in order */
        for (int64_t i = 0; i < pieces; i++)
            body(context, i);
        return;
    }
    CHECK(pieces < UINT32_MAX);
    pool.busy = true;
    if (pool.workers < threads_count() - 1)
        start_workers(threads_count());
    take_pieces(publish(pieces, body, context));
    await_pieces();
    pool.busy = false;
}

/* ---- scratch ------------------------------------------------------------------------------------------- */

enum { SLOTS = 5 };

static struct {
    void  *v;
    size_t bytes;
} scratch[THREADS_MAX][SLOTS];

static void scratch_grow(int thread, int slot, size_t bytes)
{
    const size_t rounded = (bytes + 4095) & ~(size_t)4095;

    if (scratch[thread][slot].bytes >= bytes)
        return;
    free(scratch[thread][slot].v);
    scratch[thread][slot].v = aligned_alloc(64, rounded);
    scratch[thread][slot].bytes = rounded;
    CHECK(scratch[thread][slot].v != NULL);
}

void *threads_scratch(int slot, size_t bytes)
{
    CHECK(slot >= 0 && slot < SLOTS);
    scratch_grow(my_index, slot, bytes);
    return scratch[my_index][slot].v;
}

void threads_scratch_level(void)
{
    CHECK(my_index == 0 && !pool.busy);
    for (int slot = 0; slot < SLOTS; slot++) {
        size_t most = 0;
        for (int i = 0; i < threads_count(); i++)
            most = scratch[i][slot].bytes > most ? scratch[i][slot].bytes : most;
        for (int i = 0; i < threads_count(); i++)
            scratch_grow(i, slot, most);
    }
}
