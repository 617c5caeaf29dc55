/* resume: a run that is killed at any moment and goes on ends with the same bytes as one that was not
 * tests/run: alone */
#include "tests/helpers.h"

#include "core/file.h"
#include "core/rng.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char program[] = BUILD_FOLDER "/cambium";

typedef struct running {
    pid_t pid;
    char  out[128], log[160];
} running;

/* Settings of the runs of a test. */
static const char *const ordinary[] = {"train.eval_every=7", "train.select=last", "train.patience=0",
                                       "optim.lr=1e-2"};
/* The best evaluation is not the last, and the run ends before its 60 steps. */
static const char *const best[] = {"train.eval_every=2", "train.select=best", "train.patience=4",
                                   "optim.lr=0.3"};
static const char *const *settings = ordinary;

static void start(running *r, bool resume)
{
    char out[160];

    snprintf(out, sizeof out, "out=%s", r->out);
    r->pid = fork();
    ck_assert_int_ge(r->pid, 0);
    if (r->pid > 0)
        return;
    if (chdir(SOURCE_FOLDER) != 0 || !freopen(r->log, "a", stderr) || !freopen("/dev/null", "w", stdout))
        _exit(99);
    execl(program, program, "train", "recipes/tiny.yaml", out, "train.steps=60", "train.save_every=2",
          "modules.main.dropout=0.1", settings[0], settings[1], settings[2], settings[3],
          resume ? "--resume" : NULL, (char *)NULL);
    _exit(98);
}

/* The exit code, or 128 + signal. */
static int finish(running *r)
{
    int code;

    ck_assert_int_eq(waitpid(r->pid, &code, 0), r->pid);
    return WIFEXITED(code) ? WEXITSTATUS(code) : 128 + WTERMSIG(code);
}

static void wait_ms(unsigned ms)
{
    const struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static void name_run(running *r, const char *folder, const char *name)
{
    snprintf(r->out, sizeof r->out, "%s/%s", folder, name);
    snprintf(r->log, sizeof r->log, "%s/%s.log", folder, name);
}

static void same_file(const char *a, const char *b, const char *name)
{
    char     x[160], y[160];
    file_map m, n;

    snprintf(x, sizeof x, "%s/%s", a, name);
    snprintf(y, sizeof y, "%s/%s", b, name);
    MUST(file_map_open(&m, x));
    MUST(file_map_open(&n, y));
    ck_assert_msg(m.bytes == n.bytes && memcmp(m.v, n.v, m.bytes) == 0, "%s differs (%zu and %zu bytes)",
                  name, m.bytes, n.bytes);
    file_map_close(&m);
    file_map_close(&n);
}

static void same_run(const running *a, const running *b)
{
    same_file(a->out, b->out, "adapter/adapter_model.safetensors");
    same_file(a->out, b->out, "adapter/adapter_config.json");
    same_file(a->out, b->out, "metrics.jsonl");
}

static double reference(running *r, const char *folder)
{
    struct timespec from, to;

    name_run(r, folder, "whole");
    clock_gettime(CLOCK_MONOTONIC, &from);
    start(r, false);
    ck_assert_int_eq(finish(r), 0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    return (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
}

static void kill_and_compare(int rounds)
{
    char    folder[64];
    running whole, part;

    test_folder(folder);
    const double seconds = reference(&whole, folder);
    for (int i = 0; i < rounds; i++) {
        char      name[32];
        int       kills = 0, code = 1;
        rng_block r = rng_philox(rng_key_for((uint64_t)getpid(), "kill"), (uint32_t)i, 0, 0, 0);
        snprintf(name, sizeof name, "part%d", i);
        name_run(&part, folder, name);
        for (; kills < 4; kills++) {
            start(&part, kills > 0);
            wait_ms((unsigned)(seconds * 700) * (r.r[kills & 3] % 1000) / 1000 + 1);
            kill(part.pid, SIGKILL);
            code = finish(&part);
            if (code == 0)
                break;
        }
        if (code != 0) {
            start(&part, true);
            code = finish(&part);
        }
        ck_assert_msg(code == 0, "resuming ended with %d: see %s", code, part.log);
        same_run(&whole, &part);
        MUST(folder_remove_tree(part.out));
    }
    MUST(folder_remove_tree(folder));
}

START_TEST(killed_and_resumed_gives_the_same_bytes)
{
    if (access(program, X_OK) != 0)
        SKIP("%s is not built", program);
    kill_and_compare(getenv("CAMBIUM_SLOW") ? 50 : 5);
}
END_TEST

START_TEST(the_best_of_a_killed_run_is_the_same)
{
    if (access(program, X_OK) != 0)
        SKIP("%s is not built", program);
    settings = best;
    kill_and_compare(getenv("CAMBIUM_SLOW") ? 50 : 5);
}
END_TEST

START_TEST(sigterm_saves_and_exits_3)
{
    char    folder[64];
    running whole, part;

    if (access(program, X_OK) != 0)
        SKIP("%s is not built", program);
    test_folder(folder);
    const double seconds = reference(&whole, folder);
    name_run(&part, folder, "part");
    start(&part, false);
    wait_ms((unsigned)(seconds * 500));
    kill(part.pid, SIGTERM);
    const int code = finish(&part);
    ck_assert_msg(code == 3 || code == 0, "ended with %d", code);
    if (code == 3) {
        start(&part, true);
        ck_assert_int_eq(finish(&part), 0);
    }
    same_run(&whole, &part);
    MUST(folder_remove_tree(folder));
}
END_TEST

START_TEST(a_used_run_folder_is_refused)
{
    char    folder[64];
    running run;

    if (access(program, X_OK) != 0)
        SKIP("%s is not built", program);
    test_folder(folder);
    reference(&run, folder);
    start(&run, false);
    ck_assert_int_eq(finish(&run), 2);
    char    text[160];
    file_map m;
    snprintf(text, sizeof text, "%s", run.log);
    MUST(file_map_open(&m, text));
    ck_assert_ptr_nonnull(memmem(m.v, m.bytes, "--resume", 8));
    file_map_close(&m);
    MUST(folder_remove_tree(folder));
}
END_TEST

TESTS(resume, killed_and_resumed_gives_the_same_bytes, the_best_of_a_killed_run_is_the_same,
      sigterm_saves_and_exits_3, a_used_run_folder_is_refused)
