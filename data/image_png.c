/* image_png: PNG through libpng, where the build has it */
#include "data/image.h"

#ifdef CAMBIUM_PNG
#include <png.h>
#include <setjmp.h>
#include <string.h>

bool image_reads_png(void)
{
    return true;
}

/* What deflate makes of a byte at most, and what a chunk beside the pixels may need. */
enum { INFLATED_MAX = 1032, CHUNK_MAX = 1 << 20 };

typedef struct reader {
    const char    *path;
    const uint8_t *v;
    size_t         n, at;
    png_structp    png;
    png_infop      info;
    image          out;
    png_bytep     *rows;
} reader;

/* libpng leaves the call that went wrong here, and `decode` or `prepare` returns. */
static void failed(png_structp png, png_const_charp text)
{
    const reader *r = png_get_error_ptr(png);

    fail(STATUS_FORMAT, "%s: %s", r->path, text);
    png_longjmp(png, 1);
}

static void warned(png_structp png, png_const_charp text)
{
    (void)png, (void)text;
}

static void give_bytes(png_structp png, png_bytep to, size_t n)
{
    reader *r = png_get_io_ptr(png);

    if (n > r->n - r->at)
        png_error(png, "the file ends too early");
    memcpy(to, r->v + r->at, n);
    r->at += n;
}

/* Reads the header, and asks for three bytes a pixel. */
static status prepare(reader *r)
{
    if (setjmp(png_jmpbuf(r->png)))
        return STATUS_FORMAT;
    png_set_user_limits(r->png, INT32_MAX, INT32_MAX); /* image_check's are said better */
    png_set_chunk_malloc_max(r->png, CHUNK_MAX);
    png_set_read_fn(r->png, r, give_bytes);
    png_read_info(r->png, r->info);
    const uint64_t width = png_get_image_width(r->png, r->info), height = png_get_image_height(r->png, r->info);
    TRY(image_check(r->path, width, height, 0, 0));
    TRY(image_check(r->path, width, height, height * png_get_rowbytes(r->png, r->info) / INFLATED_MAX, r->n));
    png_set_expand(r->png);
    png_set_scale_16(r->png);
    png_set_strip_alpha(r->png);
    png_set_gray_to_rgb(r->png);
    png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
    if (png_get_rowbytes(r->png, r->info) != 3 * width)
        return fail(STATUS_FORMAT, "%s: does not become 3 bytes a pixel", r->path);
    r->out.height = (int32_t)height;
    r->out.width = (int32_t)width;
    return STATUS_OK;
}

static status decode(reader *r)
{
    if (setjmp(png_jmpbuf(r->png)))
        return STATUS_FORMAT;
    png_read_image(r->png, r->rows);
    png_read_end(r->png, NULL);
    return STATUS_OK;
}

static status take_rows(arena *a, reader *r)
{
    const size_t bytes = (size_t)r->out.width * 3;

    TRY_TAKE(r->out.pixels, a, (size_t)r->out.height * bytes);
    TRY_TAKE(r->rows, a, r->out.height);
    for (int32_t i = 0; i < r->out.height; i++)
        r->rows[i] = r->out.pixels + (size_t)i * bytes;
    return STATUS_OK;
}

status image_png(arena *a, const char *path, const uint8_t *v, size_t n, image *out)
{
    reader r = {.path = path, .v = v, .n = n};

    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, failed, warned);
    r.info = r.png ? png_create_info_struct(r.png) : NULL;
    status s = r.info ? prepare(&r) : fail(STATUS_MEMORY, "%s: no memory for libpng", path);
    if (s == STATUS_OK)
        s = take_rows(a, &r);
    if (s == STATUS_OK)
        s = decode(&r);
    png_destroy_read_struct(&r.png, &r.info, NULL);
    *out = r.out;
    return s;
}

#else

bool image_reads_png(void)
{
    return false;
}

status image_png(arena *a, const char *path, const uint8_t *v, size_t n, image *out)
{
    (void)a, (void)v, (void)n, (void)out;
    return fail(STATUS_UNSUPPORTED, "%s: this build has no libpng, which reads PNG; install libpng-dev (Debian's "
                                    "name) and build again", path);
}

#endif
