/* the run folder, TensorBoard events, stop signals and memory in use */
#include "tests/check.h"

#include "core/file.h"
#include "core/memory_use.h"
#include "recipes/run_folder.h"
#include "recipes/signals.h"
#include "tests/helpers.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const run_value line_1[] = {
    {"loss", 2.3456789012345, false}, {"lr", 1e-3, false}, {"tokens", 3072, true}};
static const run_value line_2[] = {{"loss", NAN, false}, {"tokens", 9007199254740991.0, true}};

static void must_hold(const char *folder, const char *name, const char *want)
{
    char path[128], *text;
    size_t n;
    arena a;

    MUST(arena_open(&a, "test", 1 << 20));
    snprintf(path, sizeof path, "%s/%s", folder, name);
    MUST(file_read(&a, path, 1 << 16, &text, &n));
    ck_assert_str_eq(text, want);
    arena_close(&a);
}

#define LINE_1 "{\"step\": 1, \"loss\": 2.3456789, \"lr\": 0.001, \"tokens\": 3072}\n"
#define LINE_2 "{\"step\": 2, \"loss\": null, \"tokens\": 9007199254740991}\n"

START_TEST(test_logs_and_resume)
{
    char folder[64], out[128], path[256];
    run_folder r;
    int64_t metrics, timing;

    snprintf(out, sizeof out, "%s/runs/a", test_folder(folder));
    MUST(run_folder_open(&r, out, false));
    MUST(run_folder_start(&r, 0, 0, 0));
    MUST(run_folder_metrics(&r, 1, line_1, 3));
    MUST(run_folder_timing(&r, 1, &(run_value){"seconds", 0.5, false}, 1));
    MUST(run_folder_lengths(&r, &metrics, &timing));
    ck_assert_int_eq(metrics, (int)strlen(LINE_1));
    ck_assert_int_eq(timing, (int)strlen("{\"step\": 1, \"seconds\": 0.5}\n"));
    MUST(run_folder_metrics(&r, 2, line_2, 2));
    must_hold(out, "metrics.jsonl", LINE_1 LINE_2);
    run_folder_close(&r);
    run_folder_close(&r);

    MUST_FAIL(run_folder_open(&r, out, false), "holds a run already (metrics.jsonl); go on with --"
                                               "resume, or choose another folder with out=");
    MUST(run_folder_open(&r, out, true));
    MUST(run_folder_start(&r, 2, metrics, timing));
    must_hold(out, "metrics.jsonl", LINE_1);
    MUST(run_folder_metrics(&r, 2, line_2, 2));
    must_hold(out, "metrics.jsonl", LINE_1 LINE_2);
    run_folder_close(&r);
    MUST(run_folder_open(&r, out, true));
    MUST_FAIL(run_folder_start(&r, 2, 10000, timing), "bytes, the checkpoint wrote 10000");
    run_folder_close(&r);

    snprintf(path, sizeof path, "%s/other/checkpoints", folder);
    MUST(folder_make(path));
    *strrchr(path, '/') = '\0';
    MUST_FAIL(run_folder_open(&r, path, false), "holds a run already (checkpoints)");
    snprintf(path, sizeof path, "%s/runs/a/metrics.jsonl", folder);
    MUST_FAIL(run_folder_open(&r, path, false), "must be a folder");
    MUST(folder_remove_tree(folder));
}
END_TEST

START_TEST(test_lock)
{
    char folder[64], want[64];
    run_folder r, second;

    MUST(run_folder_open(&r, test_folder(folder), false));
    const pid_t child = fork();
    if (child == 0) {
        snprintf(want, sizeof want, "process %ld writes there", (long)getppid());
        _exit(run_folder_open(&second, folder, true) == STATUS_OK            ? 1
              : strstr(status_text(), want) && strstr(status_text(), folder) ? 0
                                                                             : 2);
    }
    int how;
    ck_assert_int_eq(waitpid(child, &how, 0), child);
    ck_assert_msg(WIFEXITED(how) && WEXITSTATUS(how) == 0, "the second was let in: %d", how);
    run_folder_close(&r);
    MUST(run_folder_open(&r, folder, false)); /* a lock file alone is no run */
    run_folder_close(&r);
    MUST(folder_remove_tree(folder));
}
END_TEST

START_TEST(test_torn_line)
{
    char folder[64];
    run_folder r;
    struct rlimit limit;

    signals_install();
    MUST(run_folder_open(&r, test_folder(folder), false));
    MUST(run_folder_start(&r, 0, 0, 0));
    MUST(run_folder_metrics(&r, 1, line_1, 3));
    getrlimit(RLIMIT_FSIZE, &limit);
    const rlim_t whole = limit.rlim_cur;
    limit.rlim_cur = strlen(LINE_1) + 10; /* the next write stops after ten bytes */
    setrlimit(RLIMIT_FSIZE, &limit);
    MUST_FAIL(run_folder_metrics(&r, 2, line_2, 2), "metrics.jsonl: cannot write");
    must_hold(folder, "metrics.jsonl", LINE_1);
    limit.rlim_cur = whole;
    setrlimit(RLIMIT_FSIZE, &limit);
    MUST(run_folder_metrics(&r, 2, line_2, 2));
    must_hold(folder, "metrics.jsonl", LINE_1 LINE_2);
    run_folder_close(&r);
    MUST(folder_remove_tree(folder));
}
END_TEST

/* ---- TensorBoard: decoded here from the format's description ---- */

static uint32_t unmask(uint32_t masked)
{
    const uint32_t x = masked - 0xa282ead8u;

    return x >> 17 | x << 15;
}

static uint64_t little(const uint8_t *v, int n)
{
    uint64_t x = 0;

    while (n-- > 0)
        x = x << 8 | v[n];
    return x;
}

typedef struct seen {
    int versions, starts, scalars;
    uint64_t start_step, last_step;
    char last_tag[64];
    float last_value;
} seen;

static uint64_t varint(const uint8_t **v)
{
    uint64_t x = 0;

    for (int shift = 0;; shift += 7) {
        const uint8_t byte = *(*v)++;
        x |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return x;
    }
}

/* Walks the fields of a message; level 0: Event, 1: Summary, 2: Value. */
static void decode(const uint8_t *v, const uint8_t *end, int level, seen *s)
{
    while (v < end) {
        const uint64_t field = varint(&v);
        const int number = (int)(field >> 3), wire = (int)(field & 7);
        const uint64_t n = wire == 0 ? varint(&v) : wire == 2 ? varint(&v) : wire == 1 ? 8 : 4;

        if (wire == 0) {
            if (level == 0 && number == 2)
                s->last_step = n;
            continue;
        }
        ck_assert(n <= (uint64_t)(end - v));
        if (level == 0 && number == 3)
            s->versions += n == 13 && memcmp(v, "brain.Event:2", 13) == 0;
        if (level == 0 && number == 7 && n == 2 && v[0] == 8 && v[1] == 1) {
            s->starts++;
            s->start_step = s->last_step;
        }
        if ((level == 0 && number == 5) || (level == 1 && number == 1))
            decode(v, v + n, level + 1, s);
        if (level == 2 && number == 1)
            snprintf(s->last_tag, sizeof s->last_tag, "%.*s", (int)n, (const char *)v);
        if (level == 2 && number == 2) {
            memcpy(&s->last_value, v, 4);
            s->scalars++;
        }
        v += n;
    }
    ck_assert(v == end);
}

static seen read_events(const char *folder)
{
    seen s = {0};
    char path[400];
    DIR *dir = opendir(folder);
    struct dirent *entry;
    file_map m;

    while ((entry = readdir(dir)) != NULL) {
        if (!strstr(entry->d_name, "tfevents"))
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        MUST(file_map_open(&m, path));
        for (size_t at = 0; at < m.bytes;) {
            const uint64_t n = little(m.v + at, 8);
            ck_assert(unmask((uint32_t)little(m.v + at + 8, 4)) == crc32c(m.v + at, 8));
            ck_assert_uint_le(at + 16 + n, m.bytes);
            ck_assert(unmask((uint32_t)little(m.v + at + 12 + n, 4)) == crc32c(m.v + at + 12, n));
            decode(m.v + at + 12, m.v + at + 12 + n, 0, &s);
            at += 16 + n;
        }
        file_map_close(&m);
    }
    closedir(dir);
    return s;
}

START_TEST(test_tensorboard)
{
    char folder[64];
    tensorboard t;

    ck_assert_uint_eq(crc32c("123456789", 9), 0xe3069283u); /* RFC 3720, appendix B.4 */
    MUST(tensorboard_open(&t, test_folder(folder), 300));
    MUST(tensorboard_scalar(&t, 1.5e9, 300, "loss", 0.25f));
    MUST(tensorboard_scalar(&t, 1.5e9, INT64_C(1) << 40, "eval/loss", -3));
    tensorboard_close(&t);
    tensorboard_close(&t);
    const seen s = read_events(folder);
    ck_assert_int_eq(s.versions, 1);
    ck_assert_int_eq(s.starts, 1);
    ck_assert_int_eq(s.scalars, 2);
    ck_assert_uint_eq(s.start_step, 300);
    ck_assert_uint_eq(s.last_step, UINT64_C(1) << 40);
    ck_assert_str_eq(s.last_tag, "eval/loss");
    ck_assert(s.last_value == -3);
    MUST_FAIL(tensorboard_open(&t, "/nowhere", 0), "/nowhere/events.out.tfevents");
    MUST(folder_remove_tree(folder));
}
END_TEST

START_TEST(test_signals)
{
    signals_install();
    ck_assert(!signals_stop_requested());
    raise(SIGPIPE);
    raise(SIGXFSZ);
    ck_assert(!signals_stop_requested());
    raise(SIGTERM);
    raise(SIGTERM);
    ck_assert(signals_stop_requested());
    ck_assert_str_eq(signals_name(), "SIGTERM");
    signals_forget();
    raise(SIGINT);
    ck_assert(signals_which() == SIGINT);

    const pid_t child = fork();
    if (child == 0) {
        raise(SIGINT); /* the second one */
        _exit(0);
    }
    int how;
    ck_assert_int_eq(waitpid(child, &how, 0), child);
    ck_assert(WIFSIGNALED(how) && WTERMSIG(how) == SIGINT);
}
END_TEST

START_TEST(test_memory_use)
{
    const size_t bytes = 64 << 20;
    int64_t before, now, peak;

    memory_use(&before, NULL);
    ck_assert_int_gt(before, 0);
    char *v = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(v != MAP_FAILED);
    memset(v, 1, bytes);
    memory_use(&now, NULL);
    ck_assert_int_ge(now - before, (int64_t)bytes - (1 << 20));
    munmap(v, bytes);
    memory_use(&now, &peak);
    ck_assert_int_le(now - before, 8 << 20);
    ck_assert_int_ge(peak - before, (int64_t)bytes - (1 << 20));
}
END_TEST

TESTS(run_folder, test_logs_and_resume, test_lock, test_torn_line, test_tensorboard, test_signals,
      test_memory_use)
