/* hdf5_source: arrays of HDF5 files as records */
#include "data/source.h"
#include "tests/helpers.h"

#include "core/file.h"

#include <hdf5.h>

static arena       a;
static char        folder[64];
static const char *path;

static void begin(void)
{
    MUST(arena_open(&a, "setup", (size_t)1 << 30));
    test_folder(folder);
    path = path_join(&a, folder, "a.h5");
    ck_assert_int_ge(H5open(), 0);
}

static void end(void)
{
    MUST(folder_remove_tree(folder));
    arena_close(&a);
}

/* ---- writing as others do ------------------------------------------------------------------------------ */

static hid_t create(void)
{
    const hid_t f = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

    ck_assert_int_ge(f, 0);
    return f;
}

/* v NULL: nothing is written; chunk: values of the first size in a chunk, 0: contiguous */
static void put(hid_t f, const char *name, hid_t type, int n, const hsize_t *sizes, hid_t from, const void *v,
                hsize_t chunk)
{
    const hid_t space = H5Screate_simple(n, sizes, NULL), how = H5Pcreate(H5P_DATASET_CREATE),
                links = H5Pcreate(H5P_LINK_CREATE);
    hsize_t     chunks[5];
    const bool  texts = H5Tget_class(type) == H5T_STRING; /* filters take no texts of any length */

    H5Pset_create_intermediate_group(links, 1);
    if (chunk) {
        for (int i = 0; i < n; i++)
            chunks[i] = i ? sizes[i] : chunk;
        ck_assert_int_ge(H5Pset_chunk(how, n, chunks), 0);
        ck_assert(texts || H5Pset_shuffle(how) >= 0);
        ck_assert(texts || H5Pset_deflate(how, 6) >= 0);
    }
    const hid_t set = H5Dcreate2(f, name, type, space, links, how, H5P_DEFAULT);
    ck_assert_int_ge(set, 0);
    if (v)
        ck_assert_int_ge(H5Dwrite(set, from, H5S_ALL, H5S_ALL, H5P_DEFAULT, v), 0);
    H5Dclose(set);
    H5Pclose(links);
    H5Pclose(how);
    H5Sclose(space);
}

static void put_texts(hid_t f, const char *name, hsize_t n, size_t size, H5T_str_t pad, const void *v, hsize_t chunk)
{
    const hid_t type = H5Tcopy(H5T_C_S1);

    H5Tset_size(type, size);
    H5Tset_strpad(type, pad);
    put(f, name, type, 1, &n, type, v, chunk);
    H5Tclose(type);
}

#define SIZES(...) (const hsize_t[]){__VA_ARGS__}

static status load(hdf5_options o, records *r)
{
    static const char *const half[] = {"0.5"};

    o.path = path;
    o.dataset = o.dataset ? o.dataset : "x";
    o.length = o.length ? o.length : 512;
    o.mean = o.std = (key_texts){1, half};
    return source_load(&a, "hdf5", &o, r);
}

/* ---- texts --------------------------------------------------------------------------------------------- */

START_TEST(texts)
{
    static const char *const free_texts[] = {"one", "", "thr\xc3\xa9\xc3\xa9"}, *const names[] = {"b", "a", "b"};
    static const int8_t      numbers[] = {2, 0, 2};
    records                  r;

    begin();
    const hid_t f = create();
    put_texts(f, "x", 3, H5T_VARIABLE, H5T_STR_NULLTERM, free_texts, 0);
    put_texts(f, "fixed/null", 3, 4, H5T_STR_NULLPAD, "onexab\0\0\0\0\0", 0);
    put_texts(f, "fixed/space", 2, 4, H5T_STR_SPACEPAD, "a b one ", 1);
    put_texts(f, "names", 3, H5T_VARIABLE, H5T_STR_NULLTERM, names, 2);
    put(f, "numbers", H5T_STD_I8BE, 1, SIZES(3), H5T_NATIVE_INT8, numbers, 2);
    H5Fclose(f);
    MUST(load((hdf5_options){.labels = "names"}, &r));
    ck_assert_int_eq(r.n, 3);
    ck_assert_str_eq(record_field(&r.v[2], "text")->text, free_texts[2]);
    ck_assert_int_eq((int)record_field(&r.v[2], "text")->length, 7);
    ck_assert_str_eq(record_field(&r.v[1], "text")->text, "");
    ck_assert_int_eq(r.v[0].label, 1); /* sorted: a, b */
    ck_assert_str_eq(r.labels[r.v[1].label], "a");
    ck_assert_int_eq(r.v[2].line, 3);
    MUST(load((hdf5_options){.dataset = "fixed/null", .labels = "numbers"}, &r));
    ck_assert_str_eq(r.v[0].fields[0].text, "onex");
    ck_assert_str_eq(r.v[1].fields[0].text, "ab");
    ck_assert_str_eq(r.v[2].fields[0].text, "");
    ck_assert_int_eq(r.v[0].label, 2);
    ck_assert_int_eq(r.n_labels, 3);
    ck_assert_str_eq(r.labels[2], "2");
    MUST(load((hdf5_options){.dataset = "fixed/space"}, &r));
    ck_assert_int_eq(r.n, 2);
    ck_assert_str_eq(r.v[0].fields[0].text, "a b");
    ck_assert_str_eq(r.v[1].fields[0].text, "one");
    end();
}
END_TEST

/* ---- images -------------------------------------------------------------------------------------------- */

START_TEST(images)
{
    static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    static const uint8_t turned[] = {1, 3, 5, 2, 4, 6, 7, 9, 11, 8, 10, 12};
    static const double  reals[] = {0, 0.5, 1, 1.0 / 255, 0.25, 0.75, 0, 0, 0, 0, 0, 1};
    records              r;

    begin();
    const hid_t f = create();
    put(f, "x", H5T_STD_U8LE, 4, SIZES(2, 1, 2, 3), H5T_NATIVE_UINT8, bytes, 1);
    put(f, "first", H5T_STD_U8LE, 4, SIZES(2, 3, 1, 2), H5T_NATIVE_UINT8, bytes, 0);
    put(f, "grey", H5T_STD_U8LE, 3, SIZES(3, 2, 2), H5T_NATIVE_UINT8, bytes, 0);
    put(f, "reals", H5T_IEEE_F64BE, 4, SIZES(3, 2, 2, 1), H5T_NATIVE_DOUBLE, reals, 2);
    H5Fclose(f);
    MUST(load((hdf5_options){0}, &r));
    ck_assert_int_eq(r.n, 2);
    ck_assert_int_eq(r.v[0].width, 2);
    ck_assert_int_eq(r.v[0].height, 1);
    ck_assert_mem_eq(r.v[0].pixels, bytes, 6);
    ck_assert_mem_eq(r.v[1].pixels, bytes + 6, 6);
    ck_assert(r.v[1].scale->mean[2] == 0.5f);
    MUST(load((hdf5_options){.dataset = "first"}, &r));
    ck_assert_mem_eq(r.v[0].pixels, turned, 6);
    ck_assert_mem_eq(r.v[1].pixels, turned + 6, 6);
    MUST(load((hdf5_options){.dataset = "grey"}, &r));
    ck_assert_int_eq(r.n, 3);
    for (int i = 0; i < 12; i++)
        ck_assert_int_eq(r.v[1].pixels[i], bytes[4 + i / 3]);
    MUST(load((hdf5_options){.dataset = "reals", .size = 1}, &r));
    ck_assert_int_eq(r.n, 3);
    ck_assert_int_eq(r.v[0].width, 1);
    ck_assert_int_eq(r.v[2].pixels[0], 64); /* the mean of 0, 0, 0, 255 */
    MUST(load((hdf5_options){.dataset = "reals"}, &r));
    ck_assert_int_eq(r.v[0].pixels[3], 128);
    ck_assert_int_eq(r.v[0].pixels[9], 1);
    end();
}
END_TEST

/* ---- token ids ----------------------------------------------------------------------------------------- */

START_TEST(token_ids)
{
    static const int64_t  ids[] = {5, 6, 7, 8, 9, 10}, labels[] = {-100, 6, 7, -100, -100, 10};
    static const uint16_t classes[] = {1, 0};
    records               r;

    begin();
    const hid_t f = create();
    put(f, "x", H5T_STD_I64LE, 2, SIZES(2, 3), H5T_NATIVE_INT64, ids, 1);
    put(f, "labels", H5T_STD_I16LE, 2, SIZES(2, 3), H5T_NATIVE_INT64, labels, 0);
    put(f, "classes", H5T_STD_U16LE, 1, SIZES(2), H5T_NATIVE_UINT16, classes, 0);
    put(f, "stream", H5T_STD_U8LE, 1, SIZES(5), H5T_NATIVE_INT64, ids, 0);
    put(f, "stream_labels", H5T_STD_I8LE, 1, SIZES(5), H5T_NATIVE_INT64, labels, 0);
    H5Fclose(f);
    MUST(load((hdf5_options){0}, &r));
    ck_assert_int_eq(r.n, 2);
    ck_assert_int_eq(r.v[1].n_ids, 3);
    ck_assert_int_eq(r.v[1].ids[2], 10);
    ck_assert_int_eq(r.v[1].labels[2], 10);
    ck_assert_int_eq(r.v[1].label, -1);
    MUST(load((hdf5_options){.labels = "labels"}, &r));
    ck_assert_int_eq(r.v[0].labels[0], -100);
    ck_assert_int_eq(r.v[1].labels[2], 10);
    MUST(load((hdf5_options){.labels = "classes"}, &r));
    ck_assert_int_eq(r.v[0].label, 1);
    ck_assert_int_eq(r.v[0].labels[1], -100);
    MUST(load((hdf5_options){.dataset = "stream", .length = 3, .labels = "stream_labels"}, &r));
    ck_assert_int_eq(r.n, 2);
    ck_assert_int_eq(r.v[1].n_ids, 2);
    ck_assert_int_eq(r.v[1].ids[1], 9);
    ck_assert_int_eq(r.v[1].labels[0], -100);
    MUST(load((hdf5_options){.dataset = "stream", .length = 2}, &r));
    ck_assert_int_eq(r.n, 2); /* the fifth token alone predicts nothing */
    MUST(load((hdf5_options){.dataset = "stream"}, &r));
    ck_assert_int_eq(r.n, 1);
    ck_assert_int_eq(r.v[0].n_ids, 5);
    end();
}
END_TEST

/* A text that says that it is longer than the file, contiguous or in a chunk. */
START_TEST(long_texts)
{
    static const char *const texts[] = {"seven..", "thirteen....."};
    static const uint8_t     mine[] = {7, 0, 0, 0};
    char                    *v;
    size_t                   n;
    records                  r;

    begin();
    for (int chunk = 0; chunk < 2; chunk++) {
        const hid_t f = create();
        put_texts(f, "x", 2, H5T_VARIABLE, H5T_STR_NULLTERM, texts, (hsize_t)chunk);
        H5Fclose(f);
        MUST(load((hdf5_options){0}, &r));
        MUST(file_read(&a, path, 1 << 16, &v, &n));
        size_t at = 0;
        for (size_t i = 0; i + 16 <= n; i++) /* an element: its length, a place in the file, and its number there */
            if (memcmp(v + i, mine, 4) == 0 && v[i + 5] && v[i + 12] && memcmp(v + i + 13, "\0\0\0", 3) == 0)
                at = i;
        ck_assert_uint_gt(at, 0);
        memcpy(v + at, "\xff\xff\xff\xff", 4);
        MUST(file_replace(path, v, n));
        MUST_FAIL(load((hdf5_options){0}, &r), "a.h5: the texts of x would have 4294967");
    }
    end();
}
END_TEST

/* ---- what is refused ----------------------------------------------------------------------------------- */

/* Arrays whose bytes are in other files. */
static void put_outside(hid_t f)
{
    const hid_t space = H5Screate_simple(1, SIZES(4), NULL);
    const hid_t external = H5Pcreate(H5P_DATASET_CREATE), view = H5Pcreate(H5P_DATASET_CREATE);

    ck_assert_int_ge(H5Pset_external(external, "/etc/passwd", 0, 4), 0);
    ck_assert_int_ge(H5Pset_virtual(view, space, "/tmp/other.h5", "/x", space), 0);
    ck_assert_int_ge(H5Dclose(H5Dcreate2(f, "external", H5T_STD_U8LE, space, H5P_DEFAULT, external, H5P_DEFAULT)), 0);
    ck_assert_int_ge(H5Dclose(H5Dcreate2(f, "view", H5T_STD_U8LE, space, H5P_DEFAULT, view, H5P_DEFAULT)), 0);
    H5Pclose(view);
    H5Pclose(external);
    H5Sclose(space);
}

START_TEST(refused)
{
    static const int32_t negative[] = {1, -1, 2, 70000};
    static const double  wide[] = {0, 1.5, 0, 0};
    static const uint8_t forty[40];
    records              r;

    begin();
    MUST_FAIL(load((hdf5_options){0}, &r), "a.h5: cannot open: No such file");
    MUST(file_replace(path, "no HDF5", 7));
    MUST_FAIL(load((hdf5_options){0}, &r), "a.h5: cannot open");
    const hid_t f = create();
    put(f, "x", H5T_STD_I32LE, 1, SIZES(4), H5T_NATIVE_INT32, negative, 0);
    put(f, "square", H5T_STD_I32LE, 2, SIZES(2, 2), H5T_NATIVE_INT32, negative, 0);
    put(f, "cube", H5T_STD_I32LE, 3, SIZES(2, 2, 1), H5T_NATIVE_INT32, negative, 0);
    put(f, "reals", H5T_IEEE_F64LE, 3, SIZES(1, 2, 2), H5T_NATIVE_DOUBLE, wide, 0);
    put(f, "flat", H5T_IEEE_F64LE, 1, SIZES(4), H5T_NATIVE_DOUBLE, wide, 0);
    put(f, "five", H5T_STD_U8LE, 4, SIZES(2, 5, 1, 4), H5T_NATIVE_UINT8, forty, 0);
    put(f, "ok", H5T_STD_U8LE, 3, SIZES(4, 1, 1), H5T_NATIVE_UINT8, "abcd", 0);
    put(f, "few", H5T_STD_I32LE, 1, SIZES(3), H5T_NATIVE_INT32, negative, 0);
    put(f, "huge", H5T_STD_U8LE, 3, SIZES(1 << 20, 1 << 10, 1 << 10), H5T_NATIVE_UINT8, NULL, 0);
    put(f, "gaps", H5T_STD_U8LE, 3, SIZES(1 << 20, 1 << 10, 1 << 10), H5T_NATIVE_UINT8, NULL, 1);
    put(f, "unwritten", H5T_STD_I32LE, 1, SIZES(4), H5T_NATIVE_INT32, NULL, 0);
    put(f, "wide", H5T_STD_U8LE, 3, SIZES(1, 1ull << 31, 1), H5T_NATIVE_UINT8, NULL, 0);
    put(f, "chunk", H5T_STD_U8LE, 2, SIZES(1 << 15, 1 << 15), H5T_NATIVE_UINT8, NULL, 1 << 15);
    put(f, "none", H5T_STD_U8LE, 1, SIZES(0), H5T_NATIVE_UINT8, NULL, 0);
    put(f, "bits", H5T_STD_B8LE, 1, SIZES(4), H5T_NATIVE_B8, "abcd", 0);
    put_texts(f, "bad", 1, 2, H5T_STR_NULLPAD, "\xff" "a", 0);
    put_texts(f, "names", 4, 1, H5T_STR_NULLPAD, "abcd", 0);
    ck_assert_int_ge(H5Lcreate_soft("/ok", f, "soft", H5P_DEFAULT, H5P_DEFAULT), 0);
    ck_assert_int_ge(H5Lcreate_external("/etc/passwd", "/x", f, "outside", H5P_DEFAULT, H5P_DEFAULT), 0);
    put_outside(f);
    ck_assert_int_ge(H5Gclose(H5Gcreate2(f, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)), 0);
    H5Fclose(f);

    MUST_FAIL(load((hdf5_options){.dataset = "y"}, &r), "a.h5: there is no y");
    MUST_FAIL(load((hdf5_options){.dataset = "group/y"}, &r), "a.h5: there is no group/y");
    MUST_FAIL(load((hdf5_options){.dataset = "/x"}, &r), "a.h5: \"/x\" is no name of an array");
    MUST_FAIL(load((hdf5_options){.dataset = "group"}, &r), "a.h5: cannot read group");
    MUST_FAIL(load((hdf5_options){.dataset = "x/y"}, &r), "a.h5: cannot read x/y");
    MUST_FAIL(load((hdf5_options){.dataset = "soft"}, &r), "a.h5: soft is a link");
    MUST_FAIL(load((hdf5_options){.dataset = "outside/x"}, &r), "a.h5: outside is a link");
    MUST_FAIL(load((hdf5_options){.dataset = "external"}, &r), "a.h5: external lies in other files");
    MUST_FAIL(load((hdf5_options){.dataset = "view"}, &r), "a.h5: view lies in other files");
    MUST_FAIL(load((hdf5_options){0}, &r), "a.h5: value 1 of x is -1, must be a whole number 0..");
    MUST_FAIL(load((hdf5_options){.dataset = "square"}, &r), "value 1 of square is -1");
    MUST_FAIL(load((hdf5_options){.dataset = "cube"}, &r), "cube has token ids of shape [2, 2, 1]");
    MUST_FAIL(load((hdf5_options){.dataset = "reals"}, &r),
              "value 1 of reals is 1.5, an image of reals must be 0..1");
    MUST_FAIL(load((hdf5_options){.dataset = "flat"}, &r), "flat has the shape [4]; images are");
    MUST_FAIL(load((hdf5_options){.dataset = "five"}, &r), "five has the shape [2, 5, 1, 4]");
    MUST_FAIL(load((hdf5_options){.dataset = "ok", .labels = "few"}, &r),
              "few has the shape [3], and ok has [4, 1, 1]");
    MUST_FAIL(load((hdf5_options){.dataset = "ok", .labels = "x"}, &r), "value 1 of x is -1");
    MUST_FAIL(load((hdf5_options){.dataset = "ok", .labels = "flat"}, &r), "flat must hold whole numbers");
    MUST_FAIL(load((hdf5_options){.dataset = "huge"}, &r), "huge would have 1099511627776 bytes, the file can hold");
    MUST_FAIL(load((hdf5_options){.dataset = "gaps"}, &r), "gaps would have 1099511627776 bytes, the file can hold");
    MUST_FAIL(load((hdf5_options){.dataset = "unwritten"}, &r), "unwritten would have 16 bytes, the file can hold 0");
    MUST_FAIL(load((hdf5_options){.dataset = "wide"}, &r), "size 1 of wide is 2147483648, must be 1..2147483647");
    MUST_FAIL(load((hdf5_options){.dataset = "chunk"}, &r), "chunk has chunks of 1073741824 bytes");
    MUST_FAIL(load((hdf5_options){.dataset = "none"}, &r), "size 0 of none is 0");
    MUST_FAIL(load((hdf5_options){.dataset = "bits"}, &r), "bits must hold texts, whole numbers, or reals");
    MUST_FAIL(load((hdf5_options){.dataset = "bad"}, &r), "a.h5: value 0 of bad is not valid UTF-8 at byte 0");
    MUST(load((hdf5_options){.dataset = "ok", .labels = "names"}, &r));
    ck_assert_int_eq(r.v[3].label, 3);
    end();
}
END_TEST

TESTS(hdf5_source, texts, images, token_ids, long_texts, refused)
