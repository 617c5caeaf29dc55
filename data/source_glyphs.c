/* source glyphs: characters of fonts, drawn in black on white */
#include "data/font.h"
#include "data/image.h"

#include "core/rng.h"
#include "core/utf8.h"

#include <string.h>

enum { CHARACTERS_MAX = 65536 };

/* What `vary: 1` changes at most: a third smaller, a third of a radian turned, a quarter leaned. */
static const double smaller_most = 1.0 / 3, turn_most = 1.0 / 3, lean_most = 0.25;

typedef struct letter {
    uint32_t    code;
    const char *name;
} letter;

typedef struct maker {
    const glyphs_options *o;
    const image_scale    *scale;
    fonts                 fonts;
    letter               *letters;
    int                   n_letters;
    int                  *with; /* of the class at hand: the fonts that have it, or the letters that it has */
    int                   n_with;
    uint8_t              *ink;
} maker;

/* ---- characters ---------------------------------------------------------------------------------------- */

static status add_letter(arena *a, maker *m, uint32_t code)
{
    char      text[4];
    const int n = utf8_put(code, text);
    letter   *l = &m->letters[m->n_letters];

    if (m->n_letters == CHARACTERS_MAX)
        return fail(STATUS_USAGE, "glyphs: characters are more than %d", CHARACTERS_MAX);
    *l = (letter){code, arena_string(a, text, (size_t)n)};
    m->n_letters++;
    return l->name ? STATUS_OK : STATUS_MEMORY;
}

/* A character, or a range such as a-z. */
static status read_letters(arena *a, maker *m, const char *text)
{
    const size_t n = strlen(text);
    uint32_t     first = 0, last = 0;
    const int    one = utf8_next(text, n, 0, &first);
    const int    two = one > 0 && text[one] == '-' ? utf8_next(text, n, (size_t)one + 1, &last) : 0;

    if (one == 0 || ((size_t)one != n && (two == 0 || (size_t)(one + 1 + two) != n || last < first)))
        return fail(STATUS_USAGE, "glyphs: characters: \"%.40s\" must be one character, or a range such as a-z",
                    text);
    last = two ? last : first;
    for (uint32_t code = first; code <= last; code++)
        if (code < 0xD800 || code > 0xDFFF)
            TRY(add_letter(a, m, code));
    return STATUS_OK;
}

static status find_letters(arena *a, maker *m)
{
    uint8_t *seen;

    TRY_TAKE(m->letters, a, CHARACTERS_MAX);
    for (int i = 0; i < m->o->characters.n; i++)
        TRY(read_letters(a, m, m->o->characters.v[i]));
    TRY_TAKE(seen, a, 0x110000);
    memset(seen, 0, 0x110000);
    for (int i = 0; i < m->n_letters; i++)
        if (seen[m->letters[i].code]++)
            return fail(STATUS_USAGE, "glyphs: characters: %s is there twice", m->letters[i].name);
    return STATUS_OK;
}

/* ---- images -------------------------------------------------------------------------------------------- */

static bool by_font(const maker *m)
{
    return strcmp(m->o->classes, "font") == 0;
}

static void find_with(maker *m, int class)
{
    const int n = by_font(m) ? m->n_letters : m->fonts.n;

    m->n_with = 0;
    for (int i = 0; i < n; i++)
        if (by_font(m) ? font_has(&m->fonts.v[class], m->letters[i].code)
                       : font_has(&m->fonts.v[i], m->letters[class].code))
            m->with[m->n_with++] = i;
}

/* In -1..1. */
static double spread(uint32_t random)
{
    return 2 * (double)rng_unit(random) - 1;
}

static pose pose_of(const maker *m, int class, int64_t image)
{
    const rng_key   key = rng_key_for((uint64_t)m->o->seed, "glyphs");
    const rng_block x = rng_philox(key, (uint32_t)class, (uint32_t)image, 0, 0),
                    y = rng_philox(key, (uint32_t)class, (uint32_t)image, 1, 0);
    const double    v = m->o->vary;

    return (pose){.smaller = v * smaller_most * (double)rng_unit(x.r[0]), .turn = v * turn_most * spread(x.r[1]),
                  .lean = v * lean_most * spread(x.r[2]), .x = v * spread(x.r[3]), .y = v * spread(y.r[0])};
}

static status draw(arena *a, maker *m, int class, int64_t image, record *r)
{
    const int     other = m->with[image % m->n_with];
    const font   *f = &m->fonts.v[by_font(m) ? class : other];
    const letter *l = &m->letters[by_font(m) ? other : class];
    const pose    p = pose_of(m, class, image);
    const int32_t side = (int32_t)m->o->size;
    uint8_t      *pixels;
    field        *fields;

    TRY_TAKE(pixels, a, (size_t)side * (size_t)side * 3);
    TRY_TAKE(fields, a, 2);
    TRY(font_draw(&m->fonts, f, l->code, &p, side, m->ink));
    for (int64_t i = 0; i < (int64_t)side * side * 3; i++)
        pixels[i] = (uint8_t)(255 - m->ink[i / 3]);
    fields[0] = (field){"character", l->name, strlen(l->name)};
    fields[1] = (field){"font", f->name, strlen(f->name)};
    *r = (record){.origin = f->path, .n_fields = 2, .fields = fields, .batch = -1, .label = class, .pixels = pixels,
                  .height = side, .width = side, .scale = m->scale};
    return STATUS_OK;
}

/* How many images a class has. */
static status count_class(const maker *m, const char *name, int64_t *n)
{
    const char *what = by_font(m) ? "characters" : "fonts";

    *n = m->o->per_class > 0 ? m->o->per_class : m->n_with;
    if (m->n_with == 0)
        return by_font(m)
                   ? fail(STATUS_USAGE, "glyphs: the font %s has none of the %d characters", name, m->n_letters)
                   : fail(STATUS_USAGE, "glyphs: none of the %d fonts has the character %s", m->fonts.n, name);
    if (*n > m->n_with && m->o->vary == 0)
        return fail(STATUS_USAGE, "glyphs: per_class is %lld and %d %s make %s, so that images would be equal; set "
                    "vary above 0", (long long)*n, m->n_with, what, name);
    return STATUS_OK;
}

static status draw_all(arena *a, maker *m, records *out)
{
    const int    n = by_font(m) ? m->fonts.n : m->n_letters;
    const char **names;
    int64_t      count, total = 0;

    TRY_TAKE(m->with, a, m->n_letters > m->fonts.n ? m->n_letters : m->fonts.n);
    TRY_TAKE(m->ink, a, m->o->size * m->o->size);
    TRY_TAKE(names, a, n);
    for (int class = 0; class < n; class++) {
        names[class] = by_font(m) ? m->fonts.v[class].name : m->letters[class].name;
        find_with(m, class);
        TRY(count_class(m, names[class], &count));
        total += count;
    }
    TRY_TAKE(out->v, a, total);
    for (int class = 0; class < n; class++) {
        find_with(m, class);
        TRY(count_class(m, names[class], &count));
        for (int64_t i = 0; i < count; i++)
            TRY(draw(a, m, class, i, &out->v[out->n++]));
    }
    out->labels = names;
    out->n_labels = n;
    return STATUS_OK;
}

static status glyphs_load(arena *a, const void *options, records *out)
{
    maker m = {.o = options};

    TRY(image_scale_read(a, "glyphs", &m.o->mean, &m.o->std, &m.scale));
    TRY(find_letters(a, &m));
    status s = fonts_open(a, &m.o->fonts, &m.fonts);
    if (s == STATUS_OK)
        s = draw_all(a, &m, out);
    fonts_close(&m.fonts);
    return s;
}

static const key glyphs_keys[] = {
    {"fonts", KEY_TEXTS, offsetof(glyphs_options, fonts), NULL, 0, 0, false, NULL, "",
     "Files (with a slash), or patterns as fc-list takes them (\"DejaVu Sans:style=Bold\"); all that are installed "
     "when none is named."},
    {"characters", KEY_TEXTS, offsetof(glyphs_options, characters), "[0-9, A-Z, a-z]", 0, 0, false, NULL, "",
     "Characters, and ranges of them."},
    {"classes", KEY_CHOICE, offsetof(glyphs_options, classes), "character", 0, 0, false, "character|font", "",
     "What is to be told: the character, or the font."},
    {"per_class", KEY_INT, offsetof(glyphs_options, per_class), "0", 0, 1 << 24, true, NULL, "images",
     "Of each class, from its fonts (or characters) in turn; 0: one from each."},
    {"size", KEY_INT, offsetof(glyphs_options, size), "32", 4, 4096, true, NULL, "pixels", "Side of the images."},
    {"vary", KEY_REAL, offsetof(glyphs_options, vary), "0", 0, 1, false, NULL, "",
     "How much size, turn, slope and place of the images differ at random; 0: not at all."},
    {"seed", KEY_INT, offsetof(glyphs_options, seed), "0", 0, INT32_MAX, true, NULL, "", "Of what `vary` changes."},
    IMAGE_KEYS(glyphs_options),
};

const data_source source_glyphs = {
    .name = "glyphs",
    .help = "characters of installed fonts as images",
    .keys = KEY_TABLE("glyphs", glyphs_keys, glyphs_options),
    .load = glyphs_load,
};
