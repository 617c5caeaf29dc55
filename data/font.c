/* font: FreeType and fontconfig, behind this project's own names */
#include "data/font.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef CAMBIUM_FONTS
#include <fontconfig/fontconfig.h>
#include <ft2build.h>
#include FT_FREETYPE_H
#include FT_OUTLINE_H

bool fonts_available(void)
{
    return true;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

/* FreeType's own list of errors, which its header gives to those who ask so. */
#undef FTERRORS_H_
#define FT_ERRORDEF(name, number, text) {number, text},
#define FT_ERROR_START_LIST {
#define FT_ERROR_END_LIST {0, NULL}};
static const struct {
    FT_Error    number;
    const char *text;
} reasons[] =
#include FT_ERRORS_H

static status ft_failed(const char *path, const char *what, FT_Error code)
{
    size_t i = 0;

    while (reasons[i].text && reasons[i].number != code)
        i++;
    return fail(STATUS_FORMAT, "%s: FreeType cannot %s: %s", path, what,
                reasons[i].text ? reasons[i].text : "unknown error");
}

/* "Family Style" in ASCII. */
static const char *name_of(arena *a, const FT_Face face)
{
    char *name = arena_printf(a, "%s%s%s", face->family_name ? face->family_name : "unnamed",
                              face->style_name ? " " : "", face->style_name ? face->style_name : "");

    for (char *c = name; c && *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    return name;
}

/* `installed`: a font that the recipe does not name itself is left out when it has no outlines. */
static status add(arena *a, fonts *out, const char *path, long index, bool installed)
{
    FT_Face        face;
    const FT_Error code = FT_New_Face(out->library, path, index, &face);
    font          *f = &out->v[out->n];

    if (code && installed)
        return STATUS_OK;
    if (code)
        return ft_failed(path, "open it", code);
    if (!FT_IS_SCALABLE(face)) {
        FT_Done_Face(face);
        return installed ? STATUS_OK : fail(STATUS_FORMAT, "%s: is a font of bitmaps, must have outlines", path);
    }
    if (out->n == FONTS_MAX) {
        FT_Done_Face(face);
        return fail(STATUS_USAGE, "%s: are more than %d fonts", path, FONTS_MAX);
    }
    *f = (font){.face = face};
    out->n++;
    f->path = arena_string(a, path, strlen(path));
    f->name = name_of(a, face);
    return f->path && f->name ? STATUS_OK : STATUS_MEMORY;
}

/* The fonts of a pattern of fontconfig. */
static status add_installed(arena *a, fonts *out, FcConfig *config, const char *wanted)
{
    FcPattern   *pattern = FcNameParse((const FcChar8 *)wanted);
    FcObjectSet *what = FcObjectSetBuild(FC_FILE, FC_INDEX, NULL);
    FcFontSet   *set = NULL;
    status       s = STATUS_OK;

    if (pattern && what && FcPatternAddBool(pattern, FC_OUTLINE, FcTrue))
        set = FcFontList(config, pattern, what);
    if (!set)
        s = fail(STATUS_USAGE, "glyphs: \"%.60s\" is no pattern that fontconfig understands", wanted);
    else if (set->nfont == 0)
        s = fail(STATUS_USAGE, "glyphs: \"%.60s\" selects no font with outlines; fc-list shows what is installed",
                 wanted);
    for (int i = 0; s == STATUS_OK && i < set->nfont; i++) {
        FcChar8 *file;
        int      index = 0;

        FcPatternGetInteger(set->fonts[i], FC_INDEX, 0, &index);
        if (FcPatternGetString(set->fonts[i], FC_FILE, 0, &file) == FcResultMatch)
            s = add(a, out, (const char *)file, index, true);
    }
    if (set)
        FcFontSetDestroy(set);
    if (what)
        FcObjectSetDestroy(what);
    if (pattern)
        FcPatternDestroy(pattern);
    return s;
}

static int compare_fonts(const void *a, const void *b)
{
    const font *x = a, *y = b;
    const int   names = strcmp(x->name, y->name);

    return names ? names : strcmp(x->path, y->path);
}

static void sort_fonts(fonts *f)
{
    int n = 0;

    qsort(f->v, (size_t)f->n, sizeof *f->v, compare_fonts);
    for (int i = 0; i < f->n; i++)
        if (n > 0 && strcmp(f->v[i].name, f->v[n - 1].name) == 0)
            FT_Done_Face(f->v[i].face);
        else
            f->v[n++] = f->v[i];
    f->n = n;
}

static status add_wanted(arena *a, fonts *out, FcConfig *config, const key_texts *wanted)
{
    if (wanted->n == 0)
        TRY(add_installed(a, out, config, ""));
    for (int i = 0; i < wanted->n; i++)
        TRY(strchr(wanted->v[i], '/') ? add(a, out, wanted->v[i], 0, false)
                                      : add_installed(a, out, config, wanted->v[i]));
    sort_fonts(out);
    return STATUS_OK;
}

status fonts_open(arena *a, const key_texts *wanted, fonts *out)
{
    FT_Library library;
    FcConfig  *config = NULL;
    bool       patterns = wanted->n == 0;

    *out = (fonts){0};
    TRY_TAKE(out->v, a, FONTS_MAX);
    if (FT_Init_FreeType(&library))
        return fail(STATUS_MEMORY, "glyphs: FreeType cannot start");
    out->library = library;
    for (int i = 0; i < wanted->n; i++)
        patterns |= !strchr(wanted->v[i], '/');
    if (patterns && !(config = FcInitLoadConfigAndFonts()))
        return fail(STATUS_IO, "glyphs: fontconfig cannot read its settings");
    const status s = add_wanted(a, out, config, wanted);
    if (config)
        FcConfigDestroy(config);
    return s;
}

void fonts_close(fonts *f)
{
    for (int i = 0; i < f->n; i++)
        FT_Done_Face(f->v[i].face);
    if (f->library)
        FT_Done_FreeType(f->library);
    *f = (fonts){0};
}

/* ---- drawing ------------------------------------------------------------------------------------------- */

/* The outline in the font's own units. */
static FT_Error load(const font *f, uint32_t character, FT_Outline **out)
{
    const FT_Face  face = f->face;
    const FT_UInt  glyph = FT_Get_Char_Index(face, character);
    const FT_Error code = glyph ? FT_Load_Glyph(face, glyph, FT_LOAD_NO_SCALE) : FT_Err_Invalid_Character_Code;

    if (code)
        return code;
    *out = &face->glyph->outline;
    return face->glyph->format == FT_GLYPH_FORMAT_OUTLINE && (*out)->n_contours > 0 ? 0 : FT_Err_Invalid_Outline;
}

bool font_has(const font *f, uint32_t character)
{
    FT_Outline *outline;
    FT_BBox     box;

    if (load(f, character, &outline) != 0)
        return false;
    FT_Outline_Get_CBox(outline, &box);
    return box.xMax > box.xMin && box.yMax > box.yMin;
}

typedef struct plane {
    double xx, xy, yx, yy; /* of the font's units to pixels */
    double lo[2], hi[2];   /* where the box comes to lie */
} plane;

/* Turns, leans and scales the box; (0, 0) stays where it is. */
static plane place(const FT_BBox *box, const pose *p, double scale)
{
    const double c = cos(p->turn) * scale, s = sin(p->turn) * scale;
    plane        q = {.xx = c, .xy = c * p->lean - s, .yx = s, .yy = s * p->lean + c,
                      .lo = {INFINITY, INFINITY}, .hi = {-INFINITY, -INFINITY}};

    for (int i = 0; i < 4; i++) {
        const double x = (double)(i & 1 ? box->xMax : box->xMin), y = (double)(i & 2 ? box->yMax : box->yMin);
        const double at[] = {q.xx * x + q.xy * y, q.yx * x + q.yy * y};

        for (int k = 0; k < 2; k++) {
            q.lo[k] = fmin(q.lo[k], at[k]);
            q.hi[k] = fmax(q.hi[k], at[k]);
        }
    }
    return q;
}

/* How far to move what lies in lo..hi: by `wish`, then `share` of the room that is left, within 0..side. */
static double move(double lo, double hi, double wish, double share, double side)
{
    const double at = fmin(fmax(lo + wish, 0), side - (hi - lo));

    return at + share * (share < 0 ? at : side - (hi - lo) - at) - lo;
}

static FT_Fixed fixed(double v)
{
    return (FT_Fixed)lround(v * 65536);
}

status font_draw(const fonts *all, const font *f, uint32_t character, const pose *p, int32_t side, uint8_t *ink)
{
    const FT_Face face = f->face;
    const double  lines = (double)face->ascender - (double)face->descender;
    FT_Outline   *outline;
    FT_BBox       box;
    FT_Error      code = load(f, character, &outline);

    if (code)
        return ft_failed(f->path, "load a character", code);
    FT_Outline_Get_CBox(outline, &box);
    const plane  unit = place(&box, p, 1);
    const double most = fmax(unit.hi[0] - unit.lo[0], unit.hi[1] - unit.lo[1]);
    const double scale = side / fmax(lines, most) * (1 - p->smaller);
    const plane  q = place(&box, p, scale);
    const double base = lines >= most ? -(double)face->descender * scale : 0;
    const double x = move(q.lo[0], q.hi[0], (side - q.lo[0] - q.hi[0]) / 2, p->x, side);
    const double y = move(q.lo[1], q.hi[1], base + side * p->smaller / 2, p->y, side);

    const FT_Matrix m = {fixed(q.xx * 64), fixed(q.xy * 64), fixed(q.yx * 64), fixed(q.yy * 64)};
    FT_Outline_Transform(outline, &m);
    FT_Outline_Translate(outline, lround(x * 64), lround(y * 64));
    const FT_Bitmap map = {.rows = (unsigned)side, .width = (unsigned)side, .pitch = side, .buffer = ink,
                           .num_grays = 256, .pixel_mode = FT_PIXEL_MODE_GRAY};
    memset(ink, 0, (size_t)side * (size_t)side);
    code = FT_Outline_Get_Bitmap(all->library, outline, &map);
    return code ? ft_failed(f->path, "draw a character", code) : STATUS_OK;
}

#else

bool fonts_available(void)
{
    return false;
}

static status refuse(void)
{
    return fail(STATUS_UNSUPPORTED, "glyphs: this build has no FreeType and fontconfig, which read fonts; install "
                                    "libfreetype-dev and libfontconfig-dev (Debian's names) and build again");
}

status fonts_open(arena *a, const key_texts *wanted, fonts *out)
{
    (void)a, (void)wanted;
    *out = (fonts){0};
    return refuse();
}

void fonts_close(fonts *f)
{
    (void)f;
}

bool font_has(const font *f, uint32_t character)
{
    (void)f, (void)character;
    return false;
}

status font_draw(const fonts *all, const font *f, uint32_t character, const pose *p, int32_t side, uint8_t *ink)
{
    (void)all, (void)f, (void)character, (void)p, (void)side, (void)ink;
    return refuse();
}

#endif
