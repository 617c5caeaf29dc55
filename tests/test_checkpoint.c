/* checkpoints: whole or not at all, whatever happens while one is written or lies there */
#include "tests/check.h"

#include "core/file.h"
#include "core/hdf5_file.h"
#include "core/log.h"
#include "recipes/checkpoint.h"
#include "recipes/signals.h"
#include "tests/helpers.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { VALUES = 300 };

/* The values of step s are s + i / 1024, exact in f32 for the steps used here. */
static float value_of(int64_t step, int64_t i)
{
    return (float)step + (float)(i % 1024) / 1024;
}

static status write_state(const char *path, int64_t step, int64_t n)
{
    static float v[1 << 20];
    int64_t steps[3] = {step, step + 1, step + 2};
    h5_file f;

    CHECK(n <= (int64_t)COUNT_OF(v));
    for (int64_t i = 0; i < n; i++)
        v[i] = value_of(step, i);
    TRY(h5_create(&f, path));
    h5_put(&f, "optim.m", TYPE_F32, shape_2(n / 3, 3), v);
    h5_put(&f, "optim.steps", TYPE_I64, shape_1(3), steps);
    h5_put_int(&f, "step", step);
    h5_put_real(&f, "loss", 1.0 / 3);
    h5_put_text(&f, "optimizer", "adamw");
    return h5_finish(&f);
}

static status write_all(checkpoint *c, int64_t step, int64_t n)
{
    char path[PATH_MAX + 64], text[64];

    snprintf(path, sizeof path, "%s/adapter", c->path);
    TRY(folder_make(path));
    snprintf(path, sizeof path, "%s/adapter/adapter_config.json", c->path);
    snprintf(text, sizeof text, "{\"r\": %lld}", (long long)step);
    TRY(file_replace(path, text, strlen(text)));
    snprintf(path, sizeof path, "%s/state.h5", c->path);
    return write_state(path, step, n);
}

static status save_with_best(const char *run, int64_t step, int64_t n, int keep, int64_t best)
{
    const checkpoint_facts facts = {.base = "sha256:b",
                                    .recipe = "a \"quoted\" text",
                                    .metrics_bytes = 10 * step,
                                    .timing_bytes = 20 * step};
    checkpoint c;

    TRY(checkpoint_begin(&c, run, step));
    const status s = write_all(&c, step, n);
    if (s != STATUS_OK) {
        checkpoint_abort(&c);
        return s;
    }
    return checkpoint_commit(&c, &facts, keep, best);
}

static status save(const char *run, int64_t step, int64_t n, int keep)
{
    return save_with_best(run, step, n, keep, -1);
}

/* The newest good one must be there and hold what its step says. */
static int64_t load(const char *run, int64_t n)
{
    arena a;
    checkpoint_found found;
    h5_file f;
    char path[PATH_MAX + 64], text[32];
    int64_t step, steps[3];

    MUST(arena_open(&a, "test", 1 << 26));
    MUST(checkpoint_find_newest_good(&a, run, &found));
    ck_assert_msg(found.any, "no good checkpoint in %s", run);
    ck_assert_str_eq(found.facts.base, "sha256:b");
    ck_assert_str_eq(found.facts.recipe, "a \"quoted\" text");
    ck_assert_ptr_null(found.facts.data);
    ck_assert_int_eq(found.facts.metrics_bytes, 10 * found.step);
    ck_assert_int_eq(found.facts.timing_bytes, 20 * found.step);
    snprintf(path, sizeof path, "%s/state.h5", found.path);
    float *v = arena_take(&a, (size_t)n, sizeof *v);
    MUST(h5_open(&f, path));
    MUST(h5_get(&f, "optim.m", TYPE_F32, shape_2(n / 3, 3), v));
    MUST(h5_get(&f, "optim.steps", TYPE_I64, shape_1(3), steps));
    MUST(h5_get_int(&f, "step", &step));
    MUST(h5_get_text(&f, "optimizer", text, sizeof text));
    ck_assert_str_eq(text, "adamw");
    h5_close(&f);
    ck_assert_int_eq(step, found.step);
    ck_assert_int_eq(steps[2], step + 2);
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++)
        wrong += v[i] != value_of(step, i);
    ck_assert_int_eq(wrong, 0);
    arena_close(&a);
    return step;
}

static int count_entries(const char *run)
{
    char path[PATH_MAX];
    struct dirent *entry;
    int n = 0;

    snprintf(path, sizeof path, "%s/checkpoints", run);
    DIR *dir = opendir(path);
    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir)) != NULL)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return n;
}

START_TEST(test_save_keep_load)
{
    char run[64], path[128];
    arena a;
    checkpoint_found found;

    MUST(arena_open(&a, "test", 1 << 26));
    MUST(checkpoint_find_newest_good(&a, test_folder(run), &found));
    ck_assert(!found.any);
    for (int64_t step = 8; step <= 40; step += 8) {
        MUST(save(run, step, VALUES, 2));
        ck_assert_int_eq(load(run, VALUES), step);
        ck_assert_int_eq(count_entries(run), step == 8 ? 1 : 2);
    }
    MUST(save(run, 40, VALUES, 2)); /* the same step again */
    ck_assert_int_eq(load(run, VALUES), 40);
    ck_assert_int_eq(count_entries(run), 2);
    MUST(save(run, 36, VALUES, 2)); /* cut back: later ones go */
    ck_assert_int_eq(load(run, VALUES), 36);
    ck_assert_int_eq(count_entries(run), 2);

    snprintf(path, sizeof path, "%s/checkpoints/.step-000099.tmp", run); /* left by a kill */
    MUST(folder_make(path));
    ck_assert_int_eq(load(run, VALUES), 36);
    ck_assert_int_eq(count_entries(run), 2);
    MUST(folder_remove_tree(run));
    arena_close(&a);
}
END_TEST

START_TEST(test_the_best_is_kept)
{
    char             run[64], path[256];
    arena            a;
    checkpoint_found found;

    log_set_level(LOG_QUIET);
    MUST(arena_open(&a, "test", 1 << 26));
    test_folder(run);
    for (int64_t step = 0; step <= 7; step++)
        MUST(save_with_best(run, step, VALUES, 2, step < 2 ? step : 2));
    ck_assert_int_eq(count_entries(run), 3); /* 7, 6 and the best */
    MUST(checkpoint_open(&a, run, 2, &found));
    ck_assert(found.any && found.step == 2);
    MUST_FAIL(checkpoint_open(&a, run, 5, &found), "step-000005");
    ck_assert(!found.any);
    MUST(checkpoint_find_good(&a, run, 6, &found));
    ck_assert(found.any && found.step == 2 && found.n_bad == 0);
    snprintf(path, sizeof path, "%s/checkpoints/step-000006/state.h5", run);
    unlink(path);
    MUST(checkpoint_find_good(&a, run, 7, &found));
    ck_assert(found.any && found.step == 2 && found.n_bad == 1);
    MUST(checkpoint_find_good(&a, run, 2, &found));
    ck_assert(!found.any && found.n_bad == 0);
    MUST(save_with_best(run, 8, VALUES, 2, 8)); /* a better one: the old one goes */
    ck_assert_int_eq(count_entries(run), 2);
    MUST(folder_remove_tree(run));
    arena_close(&a);
}
END_TEST

START_TEST(test_equal_bytes)
{
    static const char *const files[] = {"state.h5", "MANIFEST.json"};
    char run[2][64], path[256];
    arena a;

    MUST(arena_open(&a, "test", 1 << 26));
    for (int i = 0; i < 2; i++) {
        char *dirt = malloc(100000); /* what the heap held before must not reach the file */
        memset(dirt, i ? 0xa5 : 0x5a, 100000);
        free(dirt);
        MUST(save(test_folder(run[i]), 5, VALUES, 2));
        if (i == 0)
            usleep(1100000); /* HDF5 would store times in seconds */
    }
    for (size_t k = 0; k < COUNT_OF(files); k++) {
        char *text[2];
        size_t n[2];
        for (int i = 0; i < 2; i++) {
            snprintf(path, sizeof path, "%s/checkpoints/step-000005/%s", run[i], files[k]);
            MUST(file_read(&a, path, 1 << 24, &text[i], &n[i]));
        }
        ck_assert_msg(n[0] == n[1] && memcmp(text[0], text[1], n[0]) == 0, "%s differs", files[k]);
    }
    MUST(folder_remove_tree(run[0]));
    MUST(folder_remove_tree(run[1]));
    arena_close(&a);
}
END_TEST

static const char *const all_files[] = {"adapter/adapter_config.json", "state.h5", "MANIFEST.json"};

static void must_not_load(const char *run, const char *file, size_t at)
{
    char path[128];
    arena a;
    checkpoint_found found;

    snprintf(path, sizeof path, "%s/checkpoints/step-000002", run);
    MUST(arena_open(&a, "test", 1 << 26));
    ck_assert_msg(checkpoint_verify(&a, path, &found) != STATUS_OK && !found.any,
                  "%s changed at byte %zu still loads", file, at);
    ck_assert_msg(strstr(status_text(), "checkpoints/step-000002") != NULL, "says only \"%s\"",
                  status_text());
    arena_close(&a);
}

START_TEST(test_flipped_bits)
{
    char run[64], path[256];
    arena a;

    log_set_level(LOG_QUIET);
    MUST(arena_open(&a, "test", 1 << 26));
    MUST(save(test_folder(run), 1, VALUES, 2));
    MUST(save(run, 2, VALUES, 2));
    for (size_t k = 0; k < COUNT_OF(all_files); k++) {
        char *text;
        size_t n;
        snprintf(path, sizeof path, "%s/checkpoints/step-000002/%s", run, all_files[k]);
        MUST(file_read(&a, path, 1 << 24, &text, &n));
        FILE *f = fopen(path, "r+b");
        ck_assert_ptr_nonnull(f);
        for (size_t i = 0; i < n; i++)
            for (int undo = 0; undo < 2; undo++) {
                fseek(f, (long)i, SEEK_SET);
                fputc(text[i] ^ (undo ? 0 : 1 << i % 8), f);
                fflush(f);
                if (!undo)
                    must_not_load(run, all_files[k], i);
            }
        fclose(f);
        ck_assert_int_eq(load(run, VALUES), 2);
        for (int longer = 0; longer < 2; longer++) { /* cut off, then one byte too many */
            f = fopen(path, "wb");
            fwrite(text, 1, longer ? n + 1 : n - 1, f); /* text ends with NUL */
            fclose(f);
            must_not_load(run, all_files[k], n);
        }
        unlink(path);
        must_not_load(run, all_files[k], n);
        ck_assert_int_eq(load(run, VALUES), 1); /* the one before is taken instead */
        f = fopen(path, "wb");
        fwrite(text, 1, n, f);
        fclose(f);
    }
    ck_assert_int_eq(load(run, VALUES), 2);
    snprintf(path, sizeof path, "mv %s/checkpoints/step-000002 %s/checkpoints/step-000003", run,
             run);
    ck_assert_int_eq(system(path), 0); /* a folder under another's name */
    ck_assert_int_eq(load(run, VALUES), 1);
    MUST(folder_remove_tree(run));
    arena_close(&a);
}
END_TEST

START_TEST(test_full_disk)
{
    char run[64];
    int failed = 0, saved = 0;
    int64_t last = 1;

    log_set_level(LOG_QUIET);
    test_folder(run);
    if (mount("tmpfs", run, "tmpfs", 0, "size=2m") != 0) {
        rmdir(run);
        SKIP("a small tmpfs cannot be mounted here: %s", strerror(errno));
    }
    MUST(save(run, 1, VALUES, 2));
    for (int64_t kb = 1; kb <= 2200; kb += kb < 100 ? 9 : 37) {
        const int64_t n = kb * 1024 / 12 * 3;
        const status s = save(run, last + 1, n, 2);
        if (s == STATUS_OK) {
            ck_assert_int_eq(load(run, n), ++last);
            MUST(save(run, ++last, VALUES, 2)); /* small again: two small ones and the next */
            MUST(save(run, ++last, VALUES, 2));
            saved++;
        } else {
            ck_assert_msg(strstr(status_text(), "No space left") != NULL, "says \"%s\"",
                          status_text());
            failed++;
        }
        ck_assert_int_eq(load(run, VALUES), last);
        ck_assert_int_le(count_entries(run), 2);
    }
    ck_assert_msg(failed > 5 && saved > 5, "%d failed, %d saved", failed, saved);
    ck_assert_int_eq(mount("tmpfs", run, "tmpfs", MS_REMOUNT | MS_RDONLY, "size=2m"), 0);
    MUST_FAIL(save(run, last + 1, VALUES, 2), "Read-only file system");
    ck_assert_int_eq(load(run, VALUES), last);
    ck_assert_int_eq(umount(run), 0);
    rmdir(run);
}
END_TEST

START_TEST(test_file_size_limit)
{
    char run[64];
    struct rlimit limit;

    log_set_level(LOG_QUIET);
    signals_install();
    MUST(save(test_folder(run), 1, VALUES, 2));
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 100000;
    setrlimit(RLIMIT_FSIZE, &limit);
    MUST_FAIL(save(run, 2, 300000, 2), "File too large");
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_FSIZE, &limit);
    ck_assert_int_eq(load(run, VALUES), 1);
    MUST(save(run, 2, VALUES, 2));
    ck_assert_int_eq(load(run, VALUES), 2);
    MUST(folder_remove_tree(run));
}
END_TEST

START_TEST(test_kill)
{
    const int kills = getenv("CAMBIUM_SLOW") ? 200 : 20;
    char run[64];
    int64_t last = 1;
    uint32_t seed = 1;

    log_set_level(LOG_QUIET);
    MUST(save(test_folder(run), 1, VALUES, 2));
    for (int i = 0; i < kills; i++) {
        const pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0)
            for (int64_t step = last + 1;; step++)
                if (save(run, step, VALUES, 2) != STATUS_OK)
                    _exit(1);
        seed = seed * 1664525u + 1013904223u;
        usleep(2000 + (seed >> 8) % 60000);
        int how;
        kill(child, SIGKILL);
        ck_assert_int_eq(waitpid(child, &how, 0), child);
        ck_assert_msg(WIFSIGNALED(how), "the saving process failed on its own");
        const int64_t found = load(run, VALUES);
        ck_assert_int_ge(found, last);
        last = found;
    }
    ck_assert_int_gt(last, 1);
    MUST(folder_remove_tree(run));
}
END_TEST

START_TEST(test_hdf5)
{
    char folder[64], path[128], text[8];
    h5_file f;
    bool found;
    dtype type;
    shape s;
    double d[6] = {1, 2, 3, 4, 5, 6}, back[6];
    uint8_t u[3] = {7, 0, 255};
    int32_t i[1] = {-5};
    int64_t whole;

    snprintf(path, sizeof path, "%s/a.h5", test_folder(folder));
    MUST(h5_create(&f, path));
    MUST(h5_put(&f, "d", TYPE_F64, shape_3(1, 2, 3), d));
    MUST(h5_put(&f, "u", TYPE_U8, shape_1(3), u));
    MUST(h5_put(&f, "i", TYPE_I32, shape_1(1), i));
    MUST(h5_put_text(&f, "t", "f\xc3\xbcnf"));
    MUST(h5_finish(&f));
    MUST(h5_open(&f, path));
    MUST(h5_find(&f, "d", &found, &type, &s));
    ck_assert(found && type == TYPE_F64 && shape_equal(s, shape_3(1, 2, 3)));
    MUST(h5_find(&f, "e", &found, &type, &s));
    ck_assert(!found);
    MUST(h5_get(&f, "d", TYPE_F64, shape_3(1, 2, 3), back));
    ck_assert(memcmp(d, back, sizeof d) == 0);
    MUST_FAIL(h5_get(&f, "d", TYPE_F64, shape_2(2, 3), back), "d is f64 [1, 2, 3], must be f64");
    MUST_FAIL(h5_get(&f, "u", TYPE_I32, shape_1(3), back), "u is u8 [3], must be i32 [3]");
    MUST_FAIL(h5_get(&f, "v", TYPE_U8, shape_1(3), back), "has no array v");
    MUST_FAIL(h5_get_int(&f, "t", &whole), "attribute t has another type");
    MUST_FAIL(h5_get_int(&f, "z", &whole), "has no attribute z");
    MUST_FAIL(h5_get_text(&f, "t", text, 5), "attribute t has 6 bytes, may have 5");
    MUST(h5_get_text(&f, "t", text, sizeof text));
    ck_assert_str_eq(text, "f\xc3\xbcnf");
    h5_close(&f);
    MUST(file_replace(path, "not HDF5", 8));
    MUST_FAIL(h5_open(&f, path), path);
    MUST_FAIL(h5_open(&f, folder), "must be a file");
    MUST_FAIL(h5_create(&f, "/nowhere/a.h5"), "/nowhere/a.h5: cannot write");
    MUST(folder_remove_tree(folder));
}
END_TEST

TESTS(checkpoint, test_save_keep_load, test_the_best_is_kept, test_equal_bytes, test_flipped_bits,
      test_full_disk, test_file_size_limit, test_kill, test_hdf5)
