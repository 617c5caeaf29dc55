/* font: outlines of characters, from files and from the fonts of this machine.
 *
 * FreeType reads and fills them, fontconfig says which fonts there are (Debian: libfreetype-dev, libfontconfig-dev).
 * A build without both refuses and says so. Both take memory of their own, which fonts_close gives back. */
#ifndef DATA_FONT_H
#define DATA_FONT_H

#include "core/arena.h"
#include "core/keys.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { FONTS_MAX = 16384 };

typedef struct font {
    const char *name; /* "DejaVu Sans Bold" */
    const char *path;
    void       *face; /* FreeType's */
} font;

typedef struct fonts {
    int   n;
    font *v;
    void *library; /* FreeType's */
} fonts;

/* How a character is set, in shares of the image's side and in radians; all zero: upright, as large as it fits. */
typedef struct pose {
    double smaller; /* share of its size that it lacks */
    double turn, lean;
    double x, y;    /* -1..1: of the room that is left around it */
} pose;

/* The build has FreeType and fontconfig. */
bool fonts_available(void);

/* Opens fonts: a text with a slash is a file, another one a pattern of fontconfig ("DejaVu Sans:style=Bold",
 * ":lang=ja"); none: all that are installed. Only fonts with outlines count. They are sorted by name, and of several
 * with one name the one whose path comes first is taken. Whatever happens fonts_close must follow. */
status fonts_open(arena *a, const key_texts *wanted, fonts *out);
void   fonts_close(fonts *f);

/* Has the font ink for a character? */
bool font_has(const font *f, uint32_t character);

/* Draws a character that it has: ink [side, side], 0 none .. 255 full. The height from the font's lowest to its
 * highest line is the image's side, so that sizes and places of characters differ as in a text; what is wider, or
 * leaves the image, is made smaller and moved into it. */
status font_draw(const fonts *all, const font *f, uint32_t character, const pose *p, int32_t side, uint8_t *ink);

#ifdef __cplusplus
}
#endif
#endif
