/* fuzz_sources: the readers of data against inputs that are almost right (tests/fuzz). Ten seconds together, ten
 * minutes each with --slow; CAMBIUM_FUZZ_SECONDS sets another time. tests/run: no device, timeout 900 */
#include "data/source.h"
#include "tests/fuzz/fuzz.h"
#include "tests/helpers.h"
#include "tests/with_png.h"

#include "core/file.h"
#include "data/font.h"
#include "data/image.h"

#include <hdf5.h>

enum { READERS = 7 };

static double seconds(void)
{
    const char *given = getenv("CAMBIUM_FUZZ_SECONDS");

    return given ? atof(given) : getenv("CAMBIUM_SLOW") ? 600 : 10.0 / READERS;
}

/* Reads what the records point at: the sanitizers see what is not there. */
static status touch(const records *r)
{
    uint64_t sum = 0;

    for (int64_t i = 0; i < r->n; i++) {
        const record *x = &r->v[i];

        for (int k = 0; k < x->n_fields; k++)
            sum += strlen(x->fields[k].name) + strlen(x->fields[k].text) + x->fields[k].length;
        for (int k = 0; k < x->n_words; k++)
            sum += strlen(x->words[k].text) + (x->tags ? strlen(r->labels[x->tags[k]]) : 0);
        for (int64_t k = 0; x->pixels && k < (int64_t)x->height * x->width * 3; k++)
            sum += x->pixels[k];
        for (int k = 0; k < x->n_ids; k++)
            sum += (uint64_t)x->ids[k] + (uint64_t)x->labels[k];
        if (x->label >= 0 && r->n_labels > 0)
            sum += strlen(r->labels[x->label]);
    }
    ck_assert(sum != UINT64_MAX);
    return STATUS_OK;
}

static void add_seed(fuzz_pool *p, const char *name)
{
    char path[512];

    snprintf(path, sizeof path, "%s/tests/fuzz/seeds/%s", SOURCE_FOLDER, name);
    fuzz_add_file(p, path);
}

/* ---- texts ------------------------------------------------------------------------------------------- */

static status read_csv(arena *a, const char *path)
{
    records r;

    TRY(source_load(a, "csv", &(csv_options){.path = path, .delimiter = ",", .quotes = true}, &r));
    return touch(&r);
}

START_TEST(csv_files)
{
    static const char *const words[] = {",", "\"", "\"\"", "\n", "\r\n", "\r", "\xef\xbb\xbf", "\xc3\xa9", "\xff",
                                        "label", "1", ",\"", "\",", NULL};
    fuzz_pool *p = fuzz_open(&(fuzz_reader){"csv", "input.csv", read_csv, words, (size_t)64 << 20});

    add_seed(p, "table.csv");
    fuzz_run(p, seconds());
}
END_TEST

static status read_conll(arena *a, const char *path)
{
    static const char *const columns[] = {"1", "-1"};
    records                  r;

    TRY(source_load(a, "conll", &(conll_options){.path = path, .columns = {2, columns}}, &r));
    return touch(&r);
}

static status read_conllu(arena *a, const char *path)
{
    static const char *const columns[] = {"2", "4"};
    records                  r;

    TRY(source_load(a, "conll", &(conll_options){.path = path, .columns = {2, columns}, .conllu = true}, &r));
    return touch(&r);
}

static const char *const conll_words[] = {"\n", "\n\n", "\r\n", "\t", " ", "-DOCSTART-", "# ", "1-2\t", "1.1\t",
                                          "\xc3\xa9", "\xff", "B-PER", "O", NULL};

START_TEST(conll_files)
{
    fuzz_pool *p = fuzz_open(&(fuzz_reader){"conll", "input.conll", read_conll, conll_words, (size_t)64 << 20});

    add_seed(p, "sentences.conll");
    fuzz_run(p, seconds());
}
END_TEST

START_TEST(conllu_files)
{
    fuzz_pool *p = fuzz_open(&(fuzz_reader){"conllu", "input.conllu", read_conllu, conll_words, (size_t)64 << 20});

    add_seed(p, "sentences.conllu");
    fuzz_run(p, seconds());
}
END_TEST

/* ---- pictures ---------------------------------------------------------------------------------------- */

/* Resized, so that what was read is read in turn. */
static status read_picture(arena *a, const char *path)
{
    image x;

    return image_read(a, path, 5, &x);
}

START_TEST(netpbm_files)
{
    static const char *const words[] = {"P2 ", "P3 ", "P5 ", "P6 ", "#", "\n", " ", "255", "65535", "-1",
                                        "\xff\xff", NULL};
    fuzz_pool *p = fuzz_open(&(fuzz_reader){"netpbm", "input.ppm", read_picture, words, (size_t)16 << 20});

    add_seed(p, "grey.pgm");
    add_seed(p, "colours.ppm");
    fuzz_add(p, "P6 2 2 255\n0123456789ab", 23);
    fuzz_add(p, "P5 2 2 65535\n01234567", 21);
    fuzz_run(p, seconds());
}
END_TEST

/* Checksums are set right for three of four inputs: what is behind them is wanted. */
static status read_png(arena *a, const char *path)
{
    char  *v;
    size_t n;

    TRY(file_read(a, path, 1 << 17, &v, &n));
    if (n > 0 && v[n - 1] % 4 != 3) {
        png_test_sums((uint8_t *)v, n);
        MUST(file_replace(path, v, n));
    }
    return read_picture(a, path);
}

START_TEST(png_files)
{
    static const char *const words[] = {"IHDR", "PLTE", "tRNS", "IDAT", "IEND", "gAMA", "iCCP", "zTXt", "sBIT",
                                        "bKGD", "hIST", "pHYs", "\x89PNG\r\n\x1a\n", "\xff\xff\xff", NULL};
    static const png_test seeds[] = {
        {2, 2, 2, 3, .palette = "\xff\0\0\0\xff\0\1\2\3", .n_palette = 3, .clear = "\0\x80", .n_clear = 2,
         .rows = "\0\x60\0\x10", .n_rows = 4},
        {2, 1, 16, 6, .rows = "\0" "0123456789abcdef", .n_rows = 17},
        {3, 3, 8, 0, 1, .rows = "\0\x0b\0\x0d\0\x1f\x21\0\x0c\0\x20\0\x15\x16\x17", .n_rows = 15},
        {3, 2, 1, 0, .clear = "\0\1", .n_clear = 2, .rows = "\0\xa0\0\x40", .n_rows = 4},
    };
    static uint8_t v[PNG_TEST_MAX];

    if (!image_reads_png())
        SKIP("this build has no libpng");
    fuzz_pool *p = fuzz_open(&(fuzz_reader){"png", "input.png", read_png, words, (size_t)16 << 20});
    for (size_t i = 0; i < COUNT_OF(seeds); i++)
        fuzz_add(p, v, png_test_write(&seeds[i], v));
    fuzz_run(p, seconds());
}
END_TEST

/* ---- fonts ------------------------------------------------------------------------------------------- */

static status read_font(arena *a, const char *path)
{
    uint8_t    *ink;
    fonts       f;
    status      s = fonts_open(a, &(key_texts){1, &path}, &f);
    const pose poses[] = {{0}, {0.2, 0.3, -0.2, 0.5, -0.5}};

    ink = arena_take(a, 24, 24);
    for (uint32_t c = 32; s == STATUS_OK && c < 127; c++)
        for (int k = 0; k < 2 && s == STATUS_OK && font_has(&f.v[0], c); k++)
            s = font_draw(&f, &f.v[0], c, &poses[k], 24, ink);
    fonts_close(&f);
    return s;
}

START_TEST(font_files)
{
    static const char *const words[] = {"glyf", "loca", "head", "maxp", "cmap", "CFF ", "hmtx", "OTTO", "true",
                                        "\xff\xff", "\x80\0", "\x7f\xff", NULL};

    if (!fonts_available())
        SKIP("this build has no FreeType and fontconfig");
    fuzz_pool *p = fuzz_open(&(fuzz_reader){"font", "input.ttf", read_font, words, (size_t)16 << 20});
    add_seed(p, "boxes.ttf");
    add_seed(p, "boxes.otf");
    fuzz_run(p, seconds());
}
END_TEST

/* ---- HDF5 -------------------------------------------------------------------------------------------- */

/* The library itself loses memory where it gives up a damaged file. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libhdf5";
}

/* All arrays of a file; the message of the last one, x, counts. */
static status read_hdf5(arena *a, const char *path)
{
    static const char *const names[] = {"x", "group/texts", "images", "fixed"};
    static const char *const half[] = {"0.5"};
    hdf5_options             o = {.path = path, .length = 3, .size = 3, .mean = {1, half}, .std = {1, half}};
    records                  r;
    status                   s = STATUS_OK;

    for (size_t i = COUNT_OF(names); i-- > 0;) {
        o.dataset = names[i];
        o.labels = i == 2 ? "labels" : NULL;
        s = source_load(a, "hdf5", &o, &r);
        if (s == STATUS_OK)
            touch(&r);
    }
    return s;
}

static void put_set(hid_t f, const char *name, hid_t type, int n, const hsize_t *sizes, const void *v, bool packed)
{
    const hid_t space = H5Screate_simple(n, sizes, NULL), how = H5Pcreate(H5P_DATASET_CREATE);

    if (packed) {
        H5Pset_chunk(how, n, sizes);
        H5Pset_shuffle(how);
        H5Pset_deflate(how, 9);
        H5Pset_fletcher32(how);
    }
    const hid_t set = H5Dcreate2(f, name, type, space, H5P_DEFAULT, how, H5P_DEFAULT);
    ck_assert_int_ge(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, v), 0);
    H5Dclose(set);
    H5Pclose(how);
    H5Sclose(space);
}

static void write_hdf5(const char *path, bool packed, bool latest)
{
    static const int32_t     numbers[] = {1, 2, 3, 4, 5, 6, 7, 8};
    static const uint8_t     bytes[24] = {1, 2, 3};
    static const char *const texts[] = {"one", "three"};
    const hid_t              free_text = H5Tcopy(H5T_C_S1), four = H5Tcopy(H5T_C_S1);
    const hid_t              how = H5Pcreate(H5P_FILE_ACCESS);

    if (latest)
        H5Pset_libver_bounds(how, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
    H5Tset_size(free_text, H5T_VARIABLE);
    H5Tset_size(four, 4);
    const hid_t f = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, how);
    ck_assert_int_ge(f, 0);
    H5Gclose(H5Gcreate2(f, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    put_set(f, "x", H5T_NATIVE_INT32, 1, (const hsize_t[]){8}, numbers, packed);
    put_set(f, "labels", H5T_NATIVE_INT32, 1, (const hsize_t[]){2}, numbers, packed);
    put_set(f, "images", H5T_NATIVE_UINT8, 4, (const hsize_t[]){2, 2, 2, 3}, bytes, packed);
    put_set(f, "group/texts", free_text, 1, (const hsize_t[]){2}, texts, false); /* filters take no free texts */
    put_set(f, "fixed", four, 1, (const hsize_t[]){2}, "one\0four", packed);
    H5Fclose(f);
    H5Tclose(four);
    H5Tclose(free_text);
    H5Pclose(how);
}

START_TEST(hdf5_files)
{
    static const char *const words[] = {"TREE", "HEAP", "SNOD", "GCOL", "OHDR", "\x89HDF\r\n\x1a\n",
                                        "\xff\xff\xff\xff", "\x7f\xff", "x", NULL};
    char                     path[128];
    fuzz_pool *p = fuzz_open(&(fuzz_reader){"hdf5", "input.h5", read_hdf5, words, (size_t)64 << 20});

    snprintf(path, sizeof path, "%s/seed.h5", fuzz_folder(p));
    for (int i = 0; i < 4; i++) {
        write_hdf5(path, i & 1, i & 2);
        fuzz_add_file(p, path);
    }
    fuzz_run(p, seconds());
}
END_TEST

TESTS(fuzz_sources, csv_files, conll_files, conllu_files, netpbm_files, png_files, font_files, hdf5_files)
