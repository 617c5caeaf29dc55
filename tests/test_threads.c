/* test_threads: every piece of a job is done once, whoever does it, also while workers fall asleep
 * tests/run: no device */
#include "core/threads.h"

#include "tests/check.h"

#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PIECES = 1000 };

typedef struct tally {
    _Atomic int done[PIECES];
} tally;

static void count(void *context, int64_t piece)
{
    tally *t = context;

    atomic_fetch_add(&t->done[piece], 1);
}

static void must_be_done(const tally *t, int pieces, int times)
{
    for (int i = 0; i < PIECES; i++)
        ck_assert_msg(t->done[i] == (i < pieces ? times : 0), "piece %d was done %d times, must be %d", i,
                      t->done[i], i < pieces ? times : 0);
}

START_TEST(every_piece_once)
{
    for (int threads = 1; threads <= 5; threads++) {
        threads_set(threads);
        for (int pieces = 0; pieces <= PIECES; pieces += pieces < 8 ? 1 : 331) {
            tally t = {{0}};
            for (int i = 0; i < 50; i++)
                threads_run(pieces, count, &t);
            must_be_done(&t, pieces, 50);
        }
    }
}
END_TEST

/* Jobs of a few pieces, one after another as fast as they go: late workers must not touch later ones. */
START_TEST(many_small_jobs)
{
    threads_set(4);
    tally t = {{0}};
    for (int i = 0; i < 20000; i++)
        threads_run(1 + i % 7, count, &t);
    long sum = 0, want = 0;
    for (int i = 0; i < PIECES; i++)
        sum += t.done[i];
    for (int i = 0; i < 20000; i++)
        want += 1 + i % 7;
    ck_assert_int_eq(sum, want);
}
END_TEST

START_TEST(sleepers_wake)
{
    threads_set(3);
    for (int i = 0; i < 6; i++) {
        tally t = {{0}};
        threads_run(PIECES, count, &t);
        must_be_done(&t, PIECES, 1);
        const struct timespec nap = {0, 15000000}; /* longer than workers stay awake */
        nanosleep(&nap, NULL);
    }
}
END_TEST

static void nested(void *context, int64_t piece)
{
    tally *t = context;

    threads_run(3, count, t);
    (void)piece;
}

START_TEST(a_piece_may_have_pieces)
{
    threads_set(4);
    tally t = {{0}};
    threads_run(100, nested, &t);
    must_be_done(&t, 3, 100);
}
END_TEST

static _Atomic(void *) seen[64];

static void remember(void *context, int64_t piece)
{
    const struct timespec nap = {0, 200000};
    char *v = threads_scratch(0, 1000);

    (void)context;
    v[999] = (char)piece;
    nanosleep(&nap, NULL);
    ck_assert(v[999] == (char)piece); /* nobody else has it */
    seen[piece] = v;
}

START_TEST(scratch_is_ones_own)
{
    threads_set(4);
    threads_run(64, remember, NULL);
    threads_scratch_level();
    void *const before = threads_scratch(0, 1000);
    threads_scratch_level();
    ck_assert_ptr_eq(threads_scratch(0, 1000), before);
}
END_TEST

/* A child of fork has no workers and makes its own. */
START_TEST(forked_children_work)
{
#if defined(__SANITIZE_THREAD__)
    SKIP("the thread sanitizer does not allow threads in a child of fork");
#endif
    threads_set(3);
    tally t = {{0}};
    threads_run(PIECES, count, &t);
    const pid_t child = fork();
    if (child == 0) {
        threads_run(PIECES, count, &t);
        for (int i = 0; i < PIECES; i++)
            if (t.done[i] != 2)
                _exit(1);
        _exit(0);
    }
    int code = 1;
    ck_assert_int_eq(waitpid(child, &code, 0), child);
    ck_assert_int_eq(code, 0);
}
END_TEST

TESTS(threads, every_piece_once, many_small_jobs, sleepers_wake, a_piece_may_have_pieces,
      scratch_is_ones_own, forked_children_work)
