/* images: reading PNG, PPM and PGM, resizing, values, and the source that gives them */
#include "data/image.h"
#include "tests/helpers.h"
#include "tests/with_png.h"

#include "core/file.h"

#include <math.h>

static arena a;
static char  folder[64];

static void begin(void)
{
    MUST(arena_open(&a, "setup", (size_t)1 << 30));
    test_folder(folder);
}

static void end(void)
{
    MUST(folder_remove_tree(folder));
    arena_close(&a);
}

static const char *write_bytes(const char *name, const void *v, size_t n)
{
    char *path = path_join(&a, folder, name);

    MUST(file_replace(path, v, n));
    return path;
}

static const char *write_text(const char *name, const char *text)
{
    return write_bytes(name, text, strlen(text));
}

static void must_be(const image *x, int32_t width, int32_t height, const uint8_t *pixels)
{
    ck_assert_int_eq(x->width, width);
    ck_assert_int_eq(x->height, height);
    for (int32_t i = 0; i < width * height * 3; i++)
        ck_assert_msg(x->pixels[i] == pixels[i], "value %d is %d, must be %d", i, x->pixels[i], pixels[i]);
}

/* ---- PGM and PPM --------------------------------------------------------------------------------------- */

START_TEST(netpbm)
{
    static const uint8_t two[] = {1, 2, 3, 255, 0, 128};
    static const uint8_t greys[] = {0, 0, 0, 85, 85, 85, 255, 255, 255, 170, 170, 170};
    image                x;

    begin();
    MUST(image_read(&a, write_bytes("a", "P6 2 1 255\n\1\2\3\xff\0\x80", 17), 0, &x));
    must_be(&x, 2, 1, two);
    MUST(image_read(&a, write_text("a", "P3 # a comment\n#another\n2\t1\n255\n1 2 3\n255 0 128"), 0, &x));
    must_be(&x, 2, 1, two);
    MUST(image_read(&a, write_text("a", "P2\n2 2 3\n0 1\n3 # white\n2\n"), 0, &x));
    must_be(&x, 2, 2, greys);
    MUST(image_read(&a, write_bytes("a", "P5\n2 2\n3\n\0\1\3\2\n", 14), 0, &x));
    must_be(&x, 2, 2, greys);
    MUST(image_read(&a, write_bytes("a", "P5 2 2 765 \0\0\0\xff\2\xfd\1\xfe", 19), 0, &x));
    must_be(&x, 2, 2, greys);
    end();
}
END_TEST

START_TEST(netpbm_refused)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "a: is neither PNG nor PPM"},
        {"P", "a: is neither PNG nor PPM"},
        {"GIF89a", "a: is neither PNG nor PPM"},
        {"P4 1 1 x", "a: is a picture of kind P4"},
        {"P6 2", "a: the height must be a number, at byte 4"},
        {"P6 x", "a: the width must be a number"},
        {"P6 0 1 255 ", "a: the width is 0 or more, must be 1.."},
        {"P6 1 1 65536 xxx", "a: the largest value is 65536 or more"},
        {"P6 1 1 255", "a: space must follow"},
        {"P6 1 1 255xabc", "a: space must follow"},
        {"P6 2147483648 2147483648 255\nabc", "a: is an image of 2147483648 x 2147483648 pixels"},
        {"P6 2147483648 1 255\nabc", "a: is an image of 2147483648 x 1 pixels"},
        {"P5 99999999999999999999 1 255\nabc", "a: the width is"},
        {"P6 65535 65535 255\nabc", "pixels at most 67108864"},
        {"P6 8192 8192 255\nabc", "a: an image of 8192 x 8192 pixels needs 201326592 bytes at least, the file has 3"},
        {"P3 8192 8192 255\n1 1 1", "needs 402653183 bytes at least"},
        {"P6 1 1 255\nab", "needs 3 bytes at least, the file has 2"},
        {"P6 1 1 255\nabcd", "a: 1 bytes lie behind the image"},
        {"P5 1 1 96\na", "a: a value is 97, must be 0..96"},
        {"P2 1 1 7\n8", "a: a value is 8 or more, must be 0..7"},
        {"P2 2 1 7\n7  ", "a: a value must be a number"},
    };
    image x;

    begin();
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        MUST_FAIL(image_read(&a, write_text("a", cases[i].text), 0, &x), cases[i].says);
    MUST_FAIL(image_read(&a, folder, 0, &x), "is a folder");
    end();
}
END_TEST

/* ---- PNG ---------------------------------------------------------------------------------------------- */

static status read_png(const png_test *p, image *x)
{
    static uint8_t v[PNG_TEST_MAX];

    return image_read(&a, write_bytes("a.png", v, png_test_write(p, v)), 0, x);
}

/* False in a build without libpng, which must say so. */
static bool has_png(void)
{
    image x;

    if (image_reads_png())
        return true;
    MUST_FAIL(read_png(&(png_test){1, 1, 8, 0, .rows = "\0a", .n_rows = 2}, &x), "a.png: this build has no libpng, "
              "which reads PNG; install libpng-dev");
    end();
    return false;
}

START_TEST(png_kinds)
{
    static const uint8_t palette[] = {255, 0, 0, 0, 255, 0, 1, 2, 3};
    static const uint8_t bits[] = {255, 255, 255, 0, 0, 0, 255, 255, 255};
    static const uint8_t named[] = {0, 255, 0, 1, 2, 3, 255, 0, 0, 0, 255, 0};
    static const uint8_t two[] = {1, 2, 3, 200, 100, 0}, wide[] = {1, 1, 1, 255, 255, 255};
    static const uint8_t nine[] = {11, 11, 11, 12, 12, 12, 13, 13, 13, 21, 21, 21, 22, 22,
                                   22, 23, 23, 23, 31, 31, 31, 32, 32, 32, 33, 33, 33};
    image                x;

    begin();
    if (!has_png())
        return;
    MUST(read_png(&(png_test){3, 1, 1, 0, .rows = "\0\xa0", .n_rows = 2}, &x));
    must_be(&x, 3, 1, bits);
    /* two bits a place; how clear a colour is does not count */
    MUST(read_png(&(png_test){2, 2, 2, 3, .palette = palette, .n_palette = 3, .clear = "\0\x80", .n_clear = 2,
                              .rows = "\0\x60\0\x10", .n_rows = 4}, &x));
    must_be(&x, 2, 2, named);
    MUST(read_png(&(png_test){2, 1, 8, 2, .rows = "\0\1\2\3\xc8\x64\0", .n_rows = 7}, &x));
    must_be(&x, 2, 1, two);
    MUST(read_png(&(png_test){2, 1, 8, 6, .rows = "\0\1\2\3\0\xc8\x64\0\x80", .n_rows = 9}, &x));
    must_be(&x, 2, 1, two);
    /* 16 bits: 129 / 257 is 0.502, rounded 1; and 65535 */
    MUST(read_png(&(png_test){2, 1, 16, 4, .rows = "\0\0\x81\0\0\xff\xff\0\0", .n_rows = 9}, &x));
    must_be(&x, 2, 1, wide);
    /* the seven passes of an interlaced image of 3 x 3 (two are empty) */
    MUST(read_png(&(png_test){3, 3, 8, 0, 1, .rows = "\0\x0b\0\x0d\0\x1f\x21\0\x0c\0\x20\0\x15\x16\x17",
                              .n_rows = 15}, &x));
    must_be(&x, 3, 3, nine);
    end();
}
END_TEST

START_TEST(png_refused)
{
    static uint8_t v[PNG_TEST_MAX];
    image          x;

    begin();
    if (!has_png())
        return;
    const png_test ok = {2, 1, 8, 2, .rows = "\0\1\2\3\xc8\x64\0", .n_rows = 7};
    png_test       p = ok;
    p.width = 1u << 31;
    MUST_FAIL(read_png(&p, &x), "a.png: PNG unsigned integer out of range");
    p.width = p.height = 0x7fffffff;
    MUST_FAIL(read_png(&p, &x), "a.png: is an image of 2147483647 x 2147483647 pixels");
    p.width = 65535;
    p.height = 1024;
    MUST_FAIL(read_png(&p, &x), "a.png: an image of 65535 x 1024 pixels needs 195080 bytes at least, the file has");
    p.width = 4;
    p.height = 1;
    MUST_FAIL(read_png(&p, &x), "a.png: ");
    p.width = 0;
    MUST_FAIL(read_png(&p, &x), "a.png: Invalid IHDR");
    const size_t n = png_test_write(&ok, v);
    for (size_t cut = 4; cut < n; cut++)
        MUST_FAIL(image_read(&a, write_bytes("a.png", v, cut), 0, &x), "a.png: ");
    for (size_t at = 16; at < n - 12; at++) { /* every byte of header and pixels counts */
        v[at] ^= 16;
        MUST_FAIL(image_read(&a, write_bytes("a.png", v, n), 0, &x), "a.png: ");
        v[at] ^= 16;
    }
    MUST(image_read(&a, write_bytes("a.png", v, n), 0, &x));
    end();
}
END_TEST

/* ---- resizing and values ------------------------------------------------------------------------------ */

static uint64_t fnv(const uint8_t *v, int64_t n)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (int64_t i = 0; i < n; i++)
        h = (h ^ v[i]) * 0x100000001b3u;
    return h;
}

/* Against Pillow 12.0: Image.resize((side, side), BILINEAR). */
START_TEST(resizing)
{
    static const struct {
        int32_t  width, height, side;
        uint64_t bytes;
    } cases[] = {
        {5, 4, 3, 0x7ccb707b4932c527u},      {5, 4, 7, 0x1edff7717932c36bu},    {64, 48, 32, 0x9ed7b0a0ee032087u},
        {31, 100, 17, 0x074f989b3ae341a0u},  {300, 7, 224, 0x1a1c61149d11b531u}, {1, 1, 4, 0x1bb7fbe031fa8135u},
        {9, 9, 1, 0x3f38a51ae9bf9797u},      {33, 32, 32, 0x935297f14be0cc1du},
    };
    static const uint8_t first[] = {45, 98, 151, 118, 154, 165, 162, 182, 133};

    begin();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const int32_t W = cases[i].width, H = cases[i].height, S = cases[i].side;
        image         from = {arena_take(&a, (size_t)(W * H), 3), H, W};
        image         to = {arena_take(&a, (size_t)(S * S), 3), S, S};

        for (int32_t y = 0; y < H; y++)
            for (int32_t x = 0; x < W; x++)
                for (int32_t c = 0; c < 3; c++)
                    from.pixels[(y * W + x) * 3 + c] = (uint8_t)(x * 37 + y * 91 + c * 53 + x * y * 7 + x * x * 3);
        MUST(image_resize(&a, &from, &to));
        if (i == 0)
            ck_assert_mem_eq(to.pixels, first, sizeof first);
        ck_assert_msg(fnv(to.pixels, (int64_t)S * S * 3) == cases[i].bytes, "%d x %d to %d", W, H, S);
    }
    end();
}
END_TEST

START_TEST(values)
{
    static const uint8_t pixels[] = {10, 200, 30, 255, 255, 255, 1, 2, 3, 0, 0, 0};
    const image_scale    scale = {{0.5f, 0.25f, 0}, {0.5f, 1, 2}};
    const record         r = {.pixels = pixels, .height = 1, .width = 4, .scale = &scale};
    const uint8_t        greys[] = {124, 255, 2, 0}; /* Pillow's convert("L") */
    const image_scale   *read;
    float                v[12];

    begin();
    image_values(&r, 3, v);
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 4; i++) {
            const double want = (pixels[i * 3 + c] / 255.0 - (double)scale.mean[c]) / (double)scale.std[c];
            ck_assert(fabs((double)v[c * 4 + i] - want) < 3 * 0x1p-24); /* three roundings of at most 1 */
        }
    image_values(&r, 1, v);
    for (int i = 0; i < 4; i++)
        ck_assert(fabs((double)v[i] - (greys[i] / 255.0 - 0.5) / 0.5) < 3 * 0x1p-24);

    static const char *const one[] = {"0.5"}, *const three[] = {"1", "2e-1", "3"}, *const bad[] = {"0.5x"},
                      *const zero[] = {"0"};
    MUST(image_scale_read(&a, "images", &(key_texts){1, one}, &(key_texts){3, three}, &read));
    ck_assert(read->mean[2] == 0.5f && read->std[1] == 0.2f && read->std[2] == 3);
    MUST(image_scale_read(&a, "images", &(key_texts){0}, &(key_texts){3, three}, &read));
    ck_assert(read->mean[1] == 0.5f && read->std[2] == 3); /* the other's preset */
    MUST_FAIL(image_scale_read(&a, "images", &(key_texts){2, three}, &(key_texts){1, one}, &read),
              "images: mean has 2 numbers, must have 1 or 3");
    MUST_FAIL(image_scale_read(&a, "images", &(key_texts){1, bad}, &(key_texts){1, one}, &read), "mean: \"0.5x\"");
    MUST_FAIL(image_scale_read(&a, "images", &(key_texts){1, one}, &(key_texts){1, zero}, &read), "std is 0");
    end();
}
END_TEST

/* ---- the source --------------------------------------------------------------------------------------- */

static status load(images_options o, records *r)
{
    static const char *const half[] = {"0.5"};

    o.mean = o.std = (key_texts){1, half};
    return source_load(&a, "images", &o, r);
}

static void make_folder(const char *name)
{
    MUST(folder_make(path_join(&a, folder, name)));
}

START_TEST(folders)
{
    static const char *const one[] = {"dog"}, *const missing[] = {"cat", "cow"};
    const images_options     o = {.path = folder};
    records                  r;

    begin();
    MUST_FAIL(load(o, &r), "holds no folder of a class");
    make_folder("dog");
    make_folder("cat");
    make_folder(".hidden");
    write_bytes("dog/2.pgm", "P5 1 1 255 2", 12);
    MUST_FAIL(load(o, &r), "cat: holds no image");
    write_bytes("cat/1.pgm", "P5 2 1 255 12", 13);
    write_bytes("dog/10.pgm", "P5 1 1 255 1", 12);
    write_bytes("cat/.hidden", "x", 1);
    MUST(load(o, &r));
    ck_assert_int_eq(r.n, 3);
    ck_assert_int_eq(r.n_labels, 2);
    ck_assert_str_eq(r.labels[0], "cat");
    ck_assert_str_eq(record_field(&r.v[1], "file_name")->text, "dog/10.pgm");
    ck_assert_str_eq(record_field(&r.v[1], "label")->text, "dog");
    ck_assert_int_eq(r.v[1].pixels[2], '1');
    ck_assert_int_eq(r.v[1].label, 1);
    ck_assert_int_eq(r.v[0].label, 0);
    ck_assert_int_eq(r.v[0].width, 2);
    ck_assert(r.v[0].scale->std[2] == 0.5f);

    MUST(load((images_options){.path = folder, .size = 4, .classes = {1, one}}, &r));
    ck_assert_int_eq(r.n, 2);
    ck_assert_int_eq(r.v[0].label, 0);
    ck_assert_int_eq(r.v[1].width, 4);
    ck_assert_int_eq(r.v[1].pixels[47], '2');

    MUST_FAIL(load((images_options){.path = folder, .classes = {2, missing}}, &r), "cow: must be a folder");
    write_bytes("dog/3.jpg", "\xff\xd8", 2);
    MUST_FAIL(load(o, &r), "dog/3.jpg: is neither PNG nor PPM");
    write_bytes("dog/\xff", "x", 1);
    MUST_FAIL(load(o, &r), "dog: a name in it is not valid UTF-8");
    write_bytes("notes", "x", 1);
    MUST_FAIL(load(o, &r), "notes: must be a folder with the images of a class");
    MUST_FAIL(load((images_options){.path = "/none"}, &r), "/none: cannot open");
    end();
}
END_TEST

START_TEST(lists)
{
    static const char *const order[] = {"dog", "cat"};
    records                  r;

    begin();
    write_bytes("1.pgm", "P5 1 1 255 1", 12);
    write_bytes("2.pgm", "P5 1 1 255 2", 12);
    const char *path = write_text("list.csv", "label,by,file_name\ncat,me,2.pgm\ndog,me,1.pgm\n");
    MUST(load((images_options){.path = path}, &r));
    ck_assert_int_eq(r.n, 2);
    ck_assert_int_eq(r.v[0].pixels[0], '2');
    ck_assert_int_eq(r.v[0].label, 0);
    ck_assert_int_eq(r.v[1].line, 3);
    MUST(load((images_options){.path = path, .classes = {2, order}}, &r));
    ck_assert_int_eq(r.v[0].label, 1);
    MUST_FAIL(load((images_options){.path = path, .classes = {1, order}}, &r), "list.csv:2: label is \"cat\"");
    write_text("list.csv", "label,file_name\ncat,3.pgm\n");
    MUST_FAIL(load((images_options){.path = path}, &r), "list.csv:2");
    write_text("list.csv", "file_name\n1.pgm\n");
    MUST_FAIL(load((images_options){.path = path}, &r), "list.csv: has no column label");
    write_text("list.csv", "label,file_name\n");
    MUST_FAIL(load((images_options){.path = path}, &r), "list.csv: names no image");
    write_text("list.csv", "");
    MUST_FAIL(load((images_options){.path = path}, &r), "list.csv: has no column file_name");
    end();
}
END_TEST

TESTS(images, netpbm, netpbm_refused, png_kinds, png_refused, resizing, values, folders, lists)
