/* glyphs: characters of fonts as images. tests/fuzz/seeds/boxes.ttf and .otf have A, a box of 4 x 7 tenths of a line,
 * b, a triangle of 6 x 10 that reaches from line to line, and a dash that is twice as wide as a line is high. */
#include "data/font.h"
#include "data/source.h"
#include "tests/helpers.h"

#include "core/file.h"

#include <math.h>

#define SEEDS SOURCE_FOLDER "/tests/fuzz/seeds/"
#define LIST(...) {sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), (const char *const[]){__VA_ARGS__}}

static arena a;

/* False in a build without the libraries, which must say so. */
static bool begin(void)
{
    fonts f;

    MUST(arena_open(&a, "setup", (size_t)1 << 30));
    if (fonts_available())
        return true;
    MUST_FAIL(fonts_open(&a, &(key_texts)LIST(SEEDS "boxes.ttf"), &f), "this build has no FreeType and fontconfig");
    MUST_FAIL(fonts_open(&a, &(key_texts){0}, &f), "install libfreetype-dev and libfontconfig-dev");
    fonts_close(&f);
    arena_close(&a);
    return false;
}

/* ---- drawing ------------------------------------------------------------------------------------------- */

/* Full ink in these rows and columns, none elsewhere. */
static void must_be_box(const uint8_t *ink, int side, int top, int bottom, int left, int right)
{
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            const int want = y >= top && y < bottom && x >= left && x < right ? 255 : 0;
            ck_assert_msg(ink[y * side + x] == want, "row %d, column %d is %d, must be %d", y, x, ink[y * side + x],
                          want);
        }
}

START_TEST(drawing)
{
    static const char *const files[] = {SEEDS "boxes.ttf", SEEDS "boxes.otf"};
    const double             right_angle = acos(0);
    uint8_t                  ink[400];
    fonts                    f;

    if (!begin())
        return;
    MUST(fonts_open(&a, &(key_texts){2, files}, &f));
    ck_assert_int_eq(f.n, 2);
    ck_assert_str_eq(f.v[0].name, "Boxes Flat");
    ck_assert_str_eq(f.v[1].name, "Boxes Regular");
    for (int i = 0; i < 2; i++) {
        int sum = 0;

        ck_assert(font_has(&f.v[i], 'A'));
        ck_assert(!font_has(&f.v[i], 'B'));
        ck_assert(!font_has(&f.v[i], ' '));
        MUST(font_draw(&f, &f.v[i], 'A', &(pose){0}, 10, ink));
        must_be_box(ink, 10, 1, 8, 3, 7);
        MUST(font_draw(&f, &f.v[i], 'A', &(pose){0}, 20, ink));
        must_be_box(ink, 20, 2, 16, 6, 14);
        MUST(font_draw(&f, &f.v[i], 'A', &(pose){.x = 1, .y = -1}, 10, ink));
        must_be_box(ink, 10, 3, 10, 6, 10);
        MUST(font_draw(&f, &f.v[i], 'A', &(pose){.x = -1, .y = 1}, 10, ink));
        must_be_box(ink, 10, 0, 7, 0, 4);
        MUST(font_draw(&f, &f.v[i], 'A', &(pose){.turn = right_angle, .y = 1}, 10, ink));
        for (int k = 0; k < 100; k++)
            sum += ink[k];
        ck_assert_int_le(abs(sum - 28 * 255), 22); /* 7 x 4, half a grey at each place of its edge */
        /* half as large, its lines in the image's middle */
        MUST(font_draw(&f, &f.v[i], 'A', &(pose){.smaller = 0.5}, 20, ink));
        must_be_box(ink, 20, 6, 13, 8, 12);
        /* a triangle has half the ink of its box, 6 x 10 places, also when it leans */
        for (int lean = 0; lean < 2; lean++) {
            MUST(font_draw(&f, &f.v[i], 'b', &(pose){.lean = lean * 0.25}, 10, ink));
            sum = 0;
            for (int k = 0; k < 100; k++)
                sum += ink[k];
            ck_assert_int_le(abs(sum - 30 * 255), 20);
        }
        /* the dash shrinks to the image's width, and half a place of height is left */
        MUST(font_draw(&f, &f.v[i], 0x2014, &(pose){0}, 10, ink));
        for (int k = 0; k < 100; k++)
            ck_assert_int_eq(ink[k] / 2, k < 90 ? 0 : 64);
        MUST_FAIL(font_draw(&f, &f.v[i], 'B', &(pose){0}, 10, ink), "FreeType cannot load a character");
    }
    fonts_close(&f);
    arena_close(&a);
}
END_TEST

START_TEST(files)
{
    static const char bitmaps[] =
        "STARTFONT 2.1\nFONT a\nSIZE 8 75 75\nFONTBOUNDINGBOX 8 8 0 0\nCHARS 1\nSTARTCHAR A\nENCODING 65\n"
        "SWIDTH 500 0\nDWIDTH 8 0\nBBX 8 2 0 0\nBITMAP\nFF\n81\nENDCHAR\nENDFONT\n";
    char  folder[64];
    fonts f;

    if (!begin())
        return;
    test_folder(folder);
    char *path = path_join(&a, folder, "a.font");
    const key_texts one = {1, (const char *const *)&path};

    MUST_FAIL(fonts_open(&a, &one, &f), "a.font: FreeType cannot open it: cannot open resource");
    fonts_close(&f);
    MUST(file_replace(path, bitmaps, sizeof bitmaps - 1));
    MUST_FAIL(fonts_open(&a, &one, &f), "a.font: is a font of bitmaps, must have outlines");
    fonts_close(&f);
    MUST(file_replace(path, "no font", 7));
    MUST_FAIL(fonts_open(&a, &one, &f), "a.font: FreeType cannot open it");
    fonts_close(&f);
    MUST_FAIL(fonts_open(&a, &(key_texts)LIST("No Such Family Is There"), &f),
              "\"No Such Family Is There\" selects no font");
    fonts_close(&f);
    MUST(fonts_open(&a, &(key_texts)LIST(SEEDS "boxes.ttf", SEEDS "boxes.otf", SEEDS "boxes.ttf"), &f));
    ck_assert_int_eq(f.n, 2); /* a name counts once */
    fonts_close(&f);
    MUST(folder_remove_tree(folder));
    arena_close(&a);
}
END_TEST

/* ---- the source ---------------------------------------------------------------------------------------- */

static status load(glyphs_options o, records *r)
{
    static const char *const boxes[] = {SEEDS "boxes.ttf", SEEDS "boxes.otf"}, *const half[] = {"0.5"};

    o.mean = o.std = (key_texts){1, half};
    o.classes = o.classes ? o.classes : "character";
    o.size = 10;
    if (o.fonts.n == 0)
        o.fonts = (key_texts){2, boxes};
    return source_load(&a, "glyphs", &o, r);
}

START_TEST(source)
{
    records r, s;

    if (!begin())
        return;
    MUST(load((glyphs_options){.characters = LIST("b", "A")}, &r));
    ck_assert_int_eq(r.n, 4);
    ck_assert_int_eq(r.n_labels, 2);
    ck_assert_str_eq(r.labels[0], "b");
    ck_assert_int_eq(r.v[2].label, 1);
    ck_assert_str_eq(record_field(&r.v[2], "character")->text, "A");
    ck_assert_str_eq(record_field(&r.v[2], "font")->text, "Boxes Flat");
    ck_assert_int_eq(r.v[2].width, 10);
    for (int c = 0; c < 3; c++) {
        ck_assert_int_eq(r.v[2].pixels[(1 * 10 + 3) * 3 + c], 0); /* black */
        ck_assert_int_eq(r.v[2].pixels[c], 255);
    }
    MUST(load((glyphs_options){.characters = LIST("A", "a-c"), .classes = "font", .per_class = 2}, &r));
    ck_assert_int_eq(r.n, 4); /* A and b are there, a and c are not */
    ck_assert_str_eq(r.labels[1], "Boxes Regular");
    ck_assert_str_eq(record_field(&r.v[3], "character")->text, "b");
    ck_assert_int_eq(r.v[3].label, 1);

    MUST(load((glyphs_options){.characters = LIST("A"), .per_class = 5, .vary = 1}, &r));
    MUST(load((glyphs_options){.characters = LIST("A"), .per_class = 5, .vary = 1}, &s));
    ck_assert_int_eq(r.n, 5);
    for (int i = 0; i < 5; i++) {
        ck_assert_mem_eq(r.v[i].pixels, s.v[i].pixels, 300);
        ck_assert(i == 0 || memcmp(r.v[i].pixels, r.v[i - 1].pixels, 300) != 0);
    }
    MUST(load((glyphs_options){.characters = LIST("A"), .per_class = 5, .vary = 1, .seed = 1}, &s));
    ck_assert(memcmp(r.v[4].pixels, s.v[4].pixels, 300) != 0);
    arena_close(&a);
}
END_TEST

START_TEST(refused)
{
    records r;

    if (!begin())
        return;
    MUST_FAIL(load((glyphs_options){.characters = LIST("A", "c")}, &r), "none of the 2 fonts has the character c");
    MUST_FAIL(load((glyphs_options){.characters = LIST("c", "d"), .classes = "font"}, &r),
              "the font Boxes Flat has none of the 2 characters");
    MUST_FAIL(load((glyphs_options){.characters = LIST("A"), .per_class = 3}, &r),
              "per_class is 3 and 2 fonts make A, so that images would be equal");
    MUST_FAIL(load((glyphs_options){.characters = LIST("A", "A-B")}, &r), "A is there twice");
    MUST_FAIL(load((glyphs_options){.characters = LIST("AB")}, &r), "\"AB\" must be one character, or a range");
    MUST_FAIL(load((glyphs_options){.characters = LIST("b-A")}, &r), "\"b-A\" must be one character");
    MUST_FAIL(load((glyphs_options){.characters = LIST("")}, &r), "\"\" must be one character");
    MUST_FAIL(load((glyphs_options){.characters = LIST("\x01-\xf4\x8f\xbf\xbf")}, &r), "more than 65536");
    MUST_FAIL(load((glyphs_options){.characters = LIST("A"), .fonts = LIST("/none.ttf")}, &r), "/none.ttf");
    arena_close(&a);
}
END_TEST

/* Those of this machine, and a pattern for one of them. */
START_TEST(installed)
{
    fonts   f, one;
    records r;

    if (!begin())
        return;
    if (fonts_open(&a, &(key_texts){0}, &f) != STATUS_OK) {
        fonts_close(&f);
        SKIP("no font with outlines is installed: %s", status_text());
    }
    ck_assert_int_gt(f.n, 0);
    for (int i = 1; i < f.n; i++)
        ck_assert_int_lt(strcmp(f.v[i - 1].name, f.v[i].name), 0);
    MUST(fonts_open(&a, &(key_texts)LIST(":outline=true"), &one));
    ck_assert_int_eq(one.n, f.n);
    fonts_close(&one);
    const char *with_a = NULL;
    for (int i = 0; i < f.n && !with_a; i++)
        with_a = font_has(&f.v[i], 'A') ? f.v[i].path : NULL;
    if (with_a) {
        MUST(load((glyphs_options){.characters = LIST("A"), .fonts = {1, &with_a}}, &r));
        ck_assert_int_ge(r.n, 1);
    }
    fonts_close(&f);
    arena_close(&a);
}
END_TEST

TESTS(glyphs, drawing, files, source, refused, installed)
