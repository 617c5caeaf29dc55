/* core: status, arenas, random numbers, files, JSON */
#include "tests/check.h"

#include "core/arena.h"
#include "core/file.h"
#include "core/json.h"
#include "core/rng.h"
#include "core/tensor.h"

#include <unistd.h>

static arena setup;

START_TEST(status_keeps_context)
{
    const status s = fail_in(fail(STATUS_SHAPE, "rank is %d, must be %d..%d", 9, 1, 5), "in %s", "q");

    ck_assert_int_eq(s, STATUS_SHAPE);
    ck_assert_str_eq(status_text(), "rank is 9, must be 1..5\nin q");
    fail(STATUS_IO, "%s", status_text()); /* arguments may be the old text */
    ck_assert_str_eq(status_text(), "rank is 9, must be 1..5\nin q");
    ck_assert_str_eq(status_cause(), "rank is 9, must be 1..5\nin q");
    fail(STATUS_DEVICE, "device cuda:0: no driver: code 35");
    ck_assert_str_eq(status_cause(), "no driver: code 35");
}
END_TEST

START_TEST(arena_limits)
{
    MUST(arena_open(&setup, "setup", 1 << 20));
    const size_t mark = arena_mark(&setup);
    char        *a = arena_take(&setup, 100, 1), *b = arena_take(&setup, 1, 1);
    ck_assert_int_eq((b - a) % 64, 0);
    ck_assert_ptr_null(arena_take(&setup, 1 << 20, 1));
    ck_assert_ptr_nonnull(strstr(status_text(), "arena setup"));
    ck_assert_ptr_null(arena_take(&setup, SIZE_MAX / 2, 8));
    arena_rewind(&setup, mark);
    ck_assert_ptr_eq(arena_take(&setup, 1, 1), a);
    arena_close(&setup);
}
END_TEST

START_TEST(philox_known_answers)
{
    /* known-answer vectors of the Random123 library, philox4x32-10 */
    const rng_block zero = rng_philox((rng_key){{0, 0}}, 0, 0, 0, 0);
    const rng_block ones = rng_philox((rng_key){{~0u, ~0u}}, ~0u, ~0u, ~0u, ~0u);

    ck_assert_uint_eq(zero.r[0], 0x6627e8d5u);
    ck_assert_uint_eq(zero.r[1], 0xe169c58du);
    ck_assert_uint_eq(zero.r[2], 0xbc57ac4cu);
    ck_assert_uint_eq(zero.r[3], 0x9b00dbd8u);
    ck_assert_uint_eq(ones.r[0], 0x408f276du);
}
END_TEST

START_TEST(permutation_is_one)
{
    enum { N = 1000 };
    static char seen[N];
    int         moved = 0;

    for (int i = 0; i < N; i++) {
        const int64_t j = rng_permute(rng_key_for(3, "shuffle"), 1, N, i);
        ck_assert(j >= 0 && j < N && !seen[j]);
        seen[j] = 1;
        moved += j != i;
    }
    ck_assert_int_gt(moved, N / 2);
    ck_assert_int_eq(rng_permute(rng_key_for(3, "shuffle"), 1, 1, 0), 0);
}
END_TEST

START_TEST(files_are_replaced_whole)
{
    char folder[] = "/tmp/cambium-test-XXXXXX", path[64], tmp[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a", folder);
    snprintf(tmp, sizeof tmp, "%s/a.tmp", folder);
    MUST(file_replace(path, "one", 3));
    MUST(file_replace(path, "second", 6));

    file_map m;
    MUST(file_map_open(&m, path));
    ck_assert_uint_eq(m.bytes, 6);
    ck_assert_mem_eq(m.v, "second", 6);
    file_map_close(&m);
    ck_assert(!path_exists(tmp));

    file_writer w;
    MUST(file_writer_open(&w, path));
    file_write(&w, "x", 1);
    MUST(file_writer_close(&w, false));
    ck_assert(!path_exists(tmp));
    MUST_FAIL(file_map_open(&m, folder), "is a folder, must be a file");
    MUST(folder_remove_tree(folder));
    ck_assert(!path_exists(folder));
}
END_TEST

static status parse(const char *text)
{
    cJSON       *item;
    const status s = json_parse(text, strlen(text), "t", &item);
    cJSON_Delete(item);
    return s;
}

START_TEST(json_is_strict)
{
    MUST(parse(" {\"a\": [1, -2.5e3, true, null, \"\\u00e9\\ud83d\\ude00\"]} "));
    MUST_FAIL(parse(""), "a value is missing");
    MUST_FAIL(parse("{\"a\": 1, \"a\": 2}"), "occurs twice");
    MUST_FAIL(parse("[1, 2] x"), "something follows");
    MUST_FAIL(parse("[1, 2,]"), "1:7");
    MUST_FAIL(parse("[01]"), "must follow");
    MUST_FAIL(parse("[\"\\ud800\"]"), "surrogate");
    MUST_FAIL(parse("[\"\xc0\x80\"]"), "UTF-8");
    MUST_FAIL(parse("[\"a\nb\"]"), "control character");
    MUST_FAIL(parse("['a']"), "unexpected character");

    char deep[200];
    memset(deep, '[', sizeof deep);
    deep[sizeof deep - 1] = 0;
    MUST_FAIL(parse(deep), "deeper than 64");
}
END_TEST

START_TEST(json_texts_keep_nul)
{
    cJSON      *item;
    const char *text;
    size_t      length;

    MUST(arena_open(&setup, "setup", 1 << 20));
    MUST(json_parse("\"a\\u0000b\\\\u0000\"", 17, "t", &item));
    MUST(json_text(&setup, item, &text, &length));
    ck_assert_uint_eq(length, 9);
    ck_assert_mem_eq(text, "a\0b\\u0000", 9);
    ck_assert_str_eq(json_quote(&setup, text, 3), "\"a\\u0000b\"");
    cJSON_Delete(item);
    arena_close(&setup);
}
END_TEST

START_TEST(types_know_their_bytes)
{
    ck_assert_int_eq(dtype_row_bytes(TYPE_Q4_1, 64), 40);
    ck_assert_int_eq(dtype_row_bytes(TYPE_Q4_1, 65), -1);
    ck_assert_int_eq(dtype_row_bytes(TYPE_F32, 3), 12);
    ck_assert_int_eq(dtype_row_bytes(TYPE_F64, INT64_MAX / 2), -1);
    dtype t;
    ck_assert(dtype_find("q6_k", &t) && t == TYPE_Q6_K);
    ck_assert_str_eq(shape_text(shape_2(2, 3)), "[2, 3]");
}
END_TEST

TESTS(core, status_keeps_context, arena_limits, philox_known_answers, permutation_is_one,
      files_are_replaced_whole, json_is_strict, json_texts_keep_nul, types_know_their_bytes)
