/* convert: adapters as HDF5 and back, and HDF5 files that are not what they say */
#include "tests/with_convert.h"

#include "core/file.h"
#include "core/hdf5_file.h"
#include "core/rng.h"
#include "core/safetensors.h"

#include <hdf5.h>

static status try_adapter(const char *from, const char *to)
{
    return try_convert(from, to, NULL, NULL, 5000);
}

static const char config[] = "{\n  \"peft_type\": \"LORA\",\n \"r\": 2.0,\t\"b\u00FCcher\": [\"\\u00e9\\n\"]\n}\n";

/* An adapter with tensors of every type and metadata; `odd` is one more. */
static const char *test_adapter(const char *name, const safetensors_item *odd)
{
    static float   v[12] = {1, -2, 3e-8f, 4};
    static int64_t ids[3] = {7, -1, (int64_t)1 << 40};
    const safetensors_pair metadata[] = {{.key = "format", .value = "pt"}, {.key = "cambium.k\u00E9y",
        .value = "a\nb"}};
    safetensors_item items[8] = {{"base_model.model.a.lora_A.weight", {.s = shape_2(3, 4), .type = TYPE_F32, .v = v}},
                                 {"base_model.model.a.lora_B.weight", {.s = shape_2(4, 6), .type = TYPE_BF16,
                                     .v = v}},
                                 {"half", {.s = shape_1(8), .type = TYPE_F16, .v = v}},
                                 {"wide", {.s = shape_1(5), .type = TYPE_F64, .v = v}},
                                 {"ids", {.s = shape_1(3), .type = TYPE_I64, .v = ids}},
                                 {"more.ids", {.s = shape_2(1, 3), .type = TYPE_I32, .v = ids}},
                                 {"bytes", {.s = shape_1(7), .type = TYPE_U8, .v = ids}}};
    const char *path = here(name);

    if (odd)
        items[7] = *odd;
    MUST(folder_make(path));
    MUST(file_replace(path_join(&setup, path, "adapter_config.json"), config, strlen(config)));
    MUST(safetensors_write(path_join(&setup, path, "adapter_model.safetensors"), items, 7 + (odd != NULL), metadata,
                           2));
    return path;
}

static void same_file(const char *a, const char *b, const char *name)
{
    char  *x, *y;
    size_t n, k;

    MUST(file_read(&setup, path_join(&setup, a, name), 1 << 20, &x, &n));
    MUST(file_read(&setup, path_join(&setup, b, name), 1 << 20, &y, &k));
    ck_assert_msg(n == k && memcmp(x, y, n) == 0, "%s", name);
}

START_TEST(adapters_come_back)
{
    h5_file f;
    bool    found;
    dtype   type;
    shape   s;

    convert_begin();
    const char *from = test_adapter("from", NULL), *file = here("x.h5"), *back = here("back");
    MUST(try_adapter(from, file));
    ck_assert(!path_exists(here("x.h5.tmp")));
    MUST(h5_open(&f, file));
    MUST(h5_find(&f, "base_model.model.a.lora_B.weight", &found, &type, &s));
    ck_assert(found && type == TYPE_BF16 && shape_equal(s, shape_2(4, 6)));
    MUST(h5_find(&f, "half", &found, &type, &s));
    ck_assert(found && type == TYPE_F16);
    h5_close(&f);
    MUST(try_adapter(file, back));
    same_file(from, back, "adapter_config.json");
    same_file(from, back, "adapter_model.safetensors");
    MUST(try_adapter(back, here("again.hdf5")));
    char  *x, *y;
    size_t n, k;
    MUST(file_read(&setup, file, 1 << 20, &x, &n));
    MUST(file_read(&setup, here("again.hdf5"), 1 << 20, &y, &k));
    ck_assert(n == k && memcmp(x, y, n) == 0);
    convert_end();
}
END_TEST

START_TEST(what_has_no_place_is_refused)
{
    static float           v[1];
    const safetensors_item scalar = {"scalar", {.s = (shape){0}, .type = TYPE_F32, .v = v}}, slash = {"a/b",
        {.s = shape_1(1), .type = TYPE_F32, .v = v}};
    const safetensors_item empty = {"empty", {.s = shape_2(0, 3), .type = TYPE_F32, .v = v}};

    convert_begin();
    const char *from = test_adapter("from", NULL), *out = here("x.h5");
    MUST_FAIL(try_adapter(test_adapter("scalar", &scalar), out), "scalar");
    MUST_FAIL(try_adapter(test_adapter("slash", &slash), out), "tensor a/b");
    MUST_FAIL(try_adapter(test_adapter("empty", &empty), out), "it is empty");
    ck_assert(!path_exists(out) && !path_exists(here("x.h5.tmp")));
    MUST(try_adapter(from, out));
    MUST_FAIL(try_adapter(from, out), "exists already");
    MUST_FAIL(try_adapter(out, here("y.h5")), "becomes a folder");
    MUST_FAIL(try_adapter(out, here("y.gguf")), "becomes a folder");
    MUST_FAIL(try_adapter(SOURCE_FOLDER "/tests/golden/trunks/qwen3", here("y.h5")), "has no adapter_config.json");
    MUST(file_replace(path_join(&setup, from, "adapter_config.json"), "{}", 2));
    MUST_FAIL(try_adapter(from, here("y.h5")), "peft_type");
    convert_end();
}
END_TEST

/* ---- files of others ------------------------------------------------------------------------------ */

/* An array of the root, 4 floats, with a type and settings of the test's choice. */
static void put(hid_t f, const char *name, hid_t type, hid_t how, hid_t space)
{
    static const double v[64] = {1, 2, 3};
    const hid_t         set = H5Dcreate2(f, name, type, space, H5P_DEFAULT, how, H5P_DEFAULT);

    ck_assert(set >= 0);
    if (H5Tget_class(type) == H5T_FLOAT)
        ck_assert(H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, v) >= 0);
    H5Dclose(set);
}

static hid_t begin_file(const char *path, const char *text)
{
    h5_file f;

    MUST(h5_create(&f, path));
    if (text)
        MUST(h5_put_text(&f, "adapter_config.json", text));
    MUST(h5_finish(&f));
    return H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
}

static void is_refused(const char *path, hid_t f, const char *why)
{
    ck_assert(H5Fclose(f) >= 0);
    status_clear();
    ck_assert_msg(try_adapter(path, here("out")) != STATUS_OK && strstr(status_text(), why), "\"%s\", not \"%s\"",
                  status_text(), why);
    ck_assert(!path_exists(here("out")) && !path_exists(here("out.tmp")));
}

START_TEST(hostile_files_are_refused)
{
    const hsize_t four = 4, many = (hsize_t)1 << 40;
    const hid_t   none = H5P_DEFAULT;

    convert_begin();
    const char *path = here("x.h5");
    MUST(file_replace(path, "\x89HDF\r\n\x1a\nnothing", 15));
    MUST_FAIL(try_adapter(path, here("out")), "cannot open");
    hid_t f = begin_file(path, NULL);
    const hid_t space = H5Screate_simple(1, &four, NULL), vast = H5Screate_simple(1, &many, NULL);
    const hid_t scalar = H5Screate(H5S_SCALAR), chunked = H5Pcreate(H5P_DATASET_CREATE),
                elsewhere = H5Pcreate(H5P_DATASET_CREATE), late = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(chunked, 1, &four);
    H5Pset_external(elsewhere, "/etc/passwd", 0, H5F_UNLIMITED);
    H5Pset_alloc_time(late, H5D_ALLOC_TIME_LATE);
    put(f, "a", H5T_IEEE_F32LE, none, space);
    is_refused(path, f, "has no attribute adapter_config.json");
    is_refused(path, begin_file(path, "{\"peft_type\": \"LORA\"}"), "holds no arrays");
    is_refused(path, begin_file(path, "{\"peft_type\": 3}"), "peft_type");
    is_refused(path, begin_file(path, "[]"), "peft_type");

    f = begin_file(path, config);
    put(f, "a", H5T_IEEE_F32LE, chunked, space);
    is_refused(path, f, "must be contiguous");
    f = begin_file(path, config);
    put(f, "a", H5T_STD_I32LE, elsewhere, space);
    is_refused(path, f, "stored elsewhere");
    f = begin_file(path, config);
    put(f, "a", H5T_STD_I32LE, late, vast); /* never written: promises 4 TB */
    is_refused(path, f, "which the file does not hold");
    f = begin_file(path, config);
    put(f, "a", H5T_IEEE_F32BE, none, space);
    is_refused(path, f, "has a type that is none of");
    f = begin_file(path, config);
    put(f, "a", H5T_IEEE_F32LE, none, scalar);
    is_refused(path, f, "at least one size");
    f = begin_file(path, config);
    H5Lcreate_external("/etc/passwd", "x", f, "a", none, none);
    is_refused(path, f, "a is a link");
    f = begin_file(path, config);
    H5Lcreate_soft("b", f, "a", none, none);
    is_refused(path, f, "a is a link");
    f = begin_file(path, config);
    H5Gclose(H5Gcreate2(f, "group", none, none, none));
    is_refused(path, f, "cannot read group");
    H5Pclose(chunked);
    H5Pclose(elsewhere);
    H5Pclose(late);
    convert_end();
}
END_TEST

/* A byte or two of a good file changed, or its end gone: it is refused or read as something else; nothing crashes. */
START_TEST(damaged_files_do_no_harm)
{
    const rng_key key = rng_key_for(1, "damage");
    char         *good;
    size_t        n;
    int           refused = 0;

    convert_begin();
    MUST(try_adapter(test_adapter("from", NULL), here("x.h5")));
    MUST(file_read(&setup, here("x.h5"), 1 << 20, &good, &n));
    for (uint32_t i = 0; i < 200; i++) {
        const size_t    mark = arena_mark(&setup);
        const rng_block r = rng_philox(key, i, 0, 0, 0);
        char           *bad = arena_copy(&setup, good, n);
        bad[r.r[0] % 4096 % n] ^= (char)(1 << r.r[1] % 8);
        if (i % 2)
            bad[r.r[2] % n] = (char)(r.r[1] >> 8);
        MUST(file_replace(here("bad.h5"), bad, i % 5 == 0 ? r.r[3] % n : n));
        status_clear();
        refused += try_adapter(here("bad.h5"), here("out")) != STATUS_OK;
        MUST(folder_remove_tree(here("out")));
        arena_rewind(&setup, mark);
    }
    ck_assert_int_gt(refused, 40); /* the fifth that was cut off, at least */
    convert_end();
}
END_TEST

/* Of damaged files the library itself loses some bytes, and their sizes reach its malloc, which must then fail as it does
 * without the sanitizer. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libhdf5";
}

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

TESTS(convert_hdf5, adapters_come_back, what_has_no_place_is_refused, hostile_files_are_refused,
      damaged_files_do_no_harm)
