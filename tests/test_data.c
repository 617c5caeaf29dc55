/* data: sources, templates and examples */
#include "data/debian.h"
#include "data/example.h"
#include "data/source.h"
#include "data/template.h"
#include "tests/helpers.h"

#include "core/file.h"
#include "core/log.h"

#include <time.h>
#include <unistd.h>

static arena a, work;

static void open_arenas(void)
{
    log_set_level(LOG_QUIET);
    MUST(arena_open(&a, "setup", (size_t)4 << 30));
    MUST(arena_open(&work, "work", (size_t)1 << 30));
}

static void close_arenas(void)
{
    arena_close(&a);
    arena_close(&work);
}

/* Writes a file into the folder and gives its path, in the arena. */
static const char *write_file(const char *folder, const char *name, const char *text)
{
    char *path = path_join(&a, folder, name);

    MUST(file_replace(path, text, strlen(text)));
    return path;
}

static void must_field(const record *r, const char *name, const char *text)
{
    const field *f = record_field(r, name);

    ck_assert_msg(f != NULL, "there is no field %s", name);
    ck_assert_str_eq(f->text, text);
    ck_assert_uint_eq(f->length, strlen(text));
}

static debian_options debian_defaults(const char *task, const char *split)
{
    return (debian_options){
        .task = task, .split = split, .set = "B", .text = "full", .max_age = 30};
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* An encoder for tests: a byte is a token. */
static status encode_bytes(void *context, arena *to, const char *text, size_t n, int32_t **ids,
                           int64_t *count)
{
    (void)context;
    TRY_TAKE(*ids, to, n);
    for (size_t i = 0; i < n; i++)
        (*ids)[i] = (uint8_t)text[i];
    *count = (int64_t)n;
    return STATUS_OK;
}

static const text_encoder bytes = {.encode = encode_bytes, .begin = -1, .end = 256};
static const example_options plain = {.length = 512, .overlong = "cut", .loss_on = "target"};

START_TEST(jsonl)
{
    char        folder[64];
    records     r;
    examples    x;

    open_arenas();
    test_folder(folder);
    const char *path = write_file(folder, "a.jsonl",
                                  "{\"prompt\": \"2+2=\", \"target\": \"4\", \"label\": 3, \"x\": 1.5}\n\n"
                                  "{\"prompt\": \"\\u00e9\", \"target\": \"b\", \"task\": 2, \"x\": null}\r\n");
    MUST(source_load(&a, "jsonl", &(jsonl_options){.path = path}, &r));
    ck_assert_int_eq(r.n, 2);
    must_field(&r.v[0], "prompt", "2+2=");
    must_field(&r.v[0], "x", "1.5");
    ck_assert_int_eq(r.v[0].label, 3);
    ck_assert_int_eq(r.v[1].task, 2);
    ck_assert_int_eq(r.v[1].line, 3);
    ck_assert_ptr_null(record_field(&r.v[1], "x"));
    MUST(examples_make(&a, &work, &r, NULL, NULL, &bytes, &plain, &x));
    ck_assert_int_eq(x.n, 2);
    ck_assert_int_eq(x.v[0].n, 6);
    ck_assert_int_eq(x.n_targets, 4);
    ck_assert_int_eq(x.v[0].labels[3], -100);
    ck_assert_int_eq(x.v[0].labels[4], '4');
    ck_assert_int_eq(x.v[0].ids[5], 256);
    MUST(folder_remove_tree(folder));
    close_arenas();
}
END_TEST

/* The archive's real lists, when an earlier run fetched them; debian_corpus.md gives the ranges. */
START_TEST(real_lists)
{
    char        *cache;
    records      r;
    const double from = seconds();

    open_arenas();
    MUST(cache_folder(&a, &cache));
    if (!path_exists(path_join(&a, cache, "debian/targets")))
        SKIP("the archive's lists are not in the cache");

    debian_options o = debian_defaults("synopsis", "train");
    o.max_age = 100000;
    MUST(source_load(&a, "debian", &o, &r));
    printf("synopsis train %lld in %.3f s\n", (long long)r.n, seconds() - from);
    ck_assert_int_gt(r.n, 40000);
    ck_assert_int_lt(r.n, 80000);
    o.split = "test";
    MUST(source_load(&a, "debian", &o, &r));
    printf("synopsis test %lld\n", (long long)r.n);
    ck_assert_int_gt(r.n, 4500);
    ck_assert_int_lt(r.n, 10000);
    o = debian_defaults("section", "train");
    MUST(source_load(&a, "debian", &o, &r));
    printf("section train %lld\n", (long long)r.n);
    close_arenas();
}
END_TEST

TESTS(data, jsonl, real_lists)
