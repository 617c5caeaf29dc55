/* image: pictures in files, as pixels [height, width, 3] of red, green and blue, a byte each.
 *
 * PNG of every kind (needs libpng; Debian: libpng-dev; a build without it refuses them and says so): grey becomes
 * three equal channels, transparency is left away, 16 bits are rounded to 8, and colour profiles and gamma do not
 * count. And PGM and PPM (P2, P3, P5, P6). A file that promises more than its bytes can hold is refused before memory
 * is taken. */
#ifndef DATA_IMAGE_H
#define DATA_IMAGE_H

#include "core/keys.h"
#include "data/source.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { IMAGE_SIDE_MAX = 65535, IMAGE_PIXELS_MAX = 1 << 26 };

typedef struct image {
    uint8_t *pixels;
    int32_t  height, width;
} image;

/* The build has libpng. */
bool image_reads_png(void);

/* Reads a file by what its first bytes say; side > 0: resized to side x side. */
status image_read(arena *a, const char *path, int64_t side, image *out);

/* `to` has its sizes and pixels. Bilinear, a triangle that is as wide as a pixel of the smaller image (so shrinking
 * averages), first along rows, then along columns, each rounded to bytes with weights of 22 bits: the same bytes as
 * Pillow's resize(BILINEAR) up to its version 12, which transformers' image processors use. */
status image_resize(arena *work, const image *from, image *to);

/* Reads the keys `mean` and `std`: one number or three; *out NULL: neither is given. */
status image_scale_read(arena *a, const char *source, const key_texts *mean, const key_texts *std,
                        const image_scale **out);

/* What a model reads of a record's pixels: [channels, height, width]. channels is 3, or 1 for their grey by ITU-R
 * 601, (19595 r + 38470 g + 7471 b) / 65536 rounded, with mean and std of the first. */
void image_values(const record *r, int channels, float *out);

/* 0.5 and 0.5, as ViT's. */
extern const image_scale image_scale_preset;

/* The rows of `mean` and `std`. */
#define IMAGE_KEYS(type)                                                                                             \
    {"mean", KEY_TEXTS, offsetof(type, mean), NULL, 0, 0, false, NULL, "",                                           \
     "Taken from a pixel's value in 0..1: one number, or one each for red, green and blue; if absent that of the "   \
     "base's preprocessor_config.json, else 0.5."},                                                                  \
    {"std", KEY_TEXTS, offsetof(type, std), NULL, 0, 0, false, NULL, "",                                             \
     "What the difference is divided by: one number, or three; likewise."}

/* ---- for readers of formats (data/image_png.c, data/image_pnm.c) ---- */

/* Sizes within the limits, and as many bytes as the pixels need at least: fails for `path` else. */
status image_check(const char *path, uint64_t width, uint64_t height, uint64_t least, uint64_t bytes);

/* The whole picture at v [n]; pixels in the arena. */
status image_png(arena *a, const char *path, const uint8_t *v, size_t n, image *out);
status image_pnm(arena *a, const char *path, const uint8_t *v, size_t n, image *out);

#ifdef __cplusplus
}
#endif
#endif
