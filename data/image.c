/* image: choosing a reader, resizing, values */
#include "data/image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"

status image_check(const char *path, uint64_t width, uint64_t height, uint64_t least, uint64_t bytes)
{
    if (width < 1 || height < 1 || width > IMAGE_SIDE_MAX || height > IMAGE_SIDE_MAX ||
        width * height > IMAGE_PIXELS_MAX)
        return fail(STATUS_FORMAT, "%s: is an image of %llu x %llu pixels, sides must be 1..%d and pixels at most %d",
                    path, (unsigned long long)width, (unsigned long long)height, IMAGE_SIDE_MAX, IMAGE_PIXELS_MAX);
    if (bytes < least)
        return fail(STATUS_FORMAT, "%s: an image of %llu x %llu pixels needs %llu bytes at least, the file has %llu",
                    path, (unsigned long long)width, (unsigned long long)height, (unsigned long long)least,
                    (unsigned long long)bytes);
    return STATUS_OK;
}

static status read_mapped(arena *a, const file_map *m, image *out)
{
    static const uint8_t png[] = {0x89, 'P', 'N', 'G'};

    if (m->bytes >= sizeof png && memcmp(m->v, png, sizeof png) == 0)
        return image_png(a, m->path, m->v, m->bytes, out);
    if (m->bytes >= 2 && m->v[0] == 'P' && m->v[1] >= '1' && m->v[1] <= '7')
        return image_pnm(a, m->path, m->v, m->bytes, out);
    return fail(STATUS_FORMAT, "%s: is neither PNG nor PPM or PGM", m->path);
}

status image_read(arena *a, const char *path, int64_t side, image *out)
{
    file_map m;
    image    read;

    *out = (image){.height = (int32_t)side, .width = (int32_t)side};
    TRY_TAKE(out->pixels, a, side * side * 3);
    const size_t mark = arena_mark(a);
    TRY(file_map_open(&m, path));
    status s = read_mapped(a, &m, &read);
    file_map_close(&m);
    TRY(s);
    if (side == 0) {
        *out = read;
        return STATUS_OK;
    }
    s = image_resize(a, &read, out);
    arena_rewind(a, mark);
    return s;
}

/* ---- resizing ---------------------------------------------------------------------------------------- */

enum { WEIGHT_BITS = 22 };

/* Along one side: out[i] = sum of weights[i * most ..] times the n[i] values from first[i] on. */
typedef struct resizing {
    int32_t *first, *n, *weights;
    int32_t  most;
} resizing;

/* A value at i + 1/2 of `to` lies at (i + 1/2) from / to of `from`; weights fall linearly to 0 within `reach`. */
static status plan_side(arena *a, int32_t from, int32_t to, resizing *r)
{
    const double scale = (double)from / to, reach = scale > 1 ? scale : 1, per_reach = 1 / reach;
    double      *weights;

    r->most = 2 * (int32_t)ceil(reach) + 1;
    TRY_TAKE(r->first, a, to);
    TRY_TAKE(r->n, a, to);
    TRY_TAKE(r->weights, a, (size_t)to * (size_t)r->most);
    TRY_TAKE(weights, a, r->most);
    for (int32_t i = 0; i < to; i++) {
        const double  middle = (i + 0.5) * scale;
        const int32_t low = (int32_t)(middle - reach + 0.5), high = (int32_t)(middle + reach + 0.5);
        double        sum = 0;

        r->first[i] = low > 0 ? low : 0;
        r->n[i] = (high < from ? high : from) - r->first[i];
        for (int32_t k = 0; k < r->n[i]; k++) {
            const double distance = fabs((k + r->first[i] - middle + 0.5) * per_reach);
            weights[k] = distance < 1 ? 1 - distance : 0;
            sum += weights[k];
        }
        for (int32_t k = 0; k < r->n[i]; k++)
            r->weights[(int64_t)i * r->most + k] = (int32_t)(0.5 + weights[k] * (1 / sum) * (1 << WEIGHT_BITS));
    }
    return STATUS_OK;
}

/* n rows [length, 3] become columns of [to, n, 3]: the second of two such passes turns them back. */
static void resize_rows(const resizing *r, const uint8_t *from, int32_t n, int32_t length, int32_t to, uint8_t *out)
{
    for (int32_t row = 0; row < n; row++)
        for (int32_t i = 0; i < to; i++)
            for (int c = 0; c < 3; c++) {
                const uint8_t *v = from + ((int64_t)row * length + r->first[i]) * 3 + c;
                const int32_t *w = r->weights + (int64_t)i * r->most;
                int32_t        sum = 1 << (WEIGHT_BITS - 1);

                for (int32_t k = 0; k < r->n[i]; k++)
                    sum += w[k] * v[k * 3];
                sum >>= WEIGHT_BITS;
                out[((int64_t)i * n + row) * 3 + c] = (uint8_t)(sum > 255 ? 255 : sum);
            }
}

status image_resize(arena *work, const image *from, image *to)
{
    resizing along, down;
    uint8_t *turned;

    if (from->width == to->width && from->height == to->height) {
        memcpy(to->pixels, from->pixels, (size_t)to->width * (size_t)to->height * 3);
        return STATUS_OK;
    }
    TRY(plan_side(work, from->width, to->width, &along));
    TRY(plan_side(work, from->height, to->height, &down));
    TRY_TAKE(turned, work, (size_t)to->width * (size_t)from->height * 3);
    resize_rows(&along, from->pixels, from->height, from->width, to->width, turned);
    resize_rows(&down, turned, to->width, from->height, to->height, to->pixels);
    return STATUS_OK;
}

const image_scale image_scale_preset = {{0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}};

/* ---- values ------------------------------------------------------------------------------------------ */

static status read_numbers(const char *source, const char *name, const key_texts *t, float out[3])
{
    if (t->n != 1 && t->n != 3)
        return fail(STATUS_USAGE, "%s: %s has %d numbers, must have 1 or 3", source, name, t->n);
    for (int c = 0; c < 3; c++) {
        const char *text = t->v[t->n == 3 ? c : 0];
        char       *end;

        out[c] = strtof(text, &end);
        if (*end || end == text || !isfinite(out[c]))
            return fail(STATUS_USAGE, "%s: %s: \"%.20s\" must be a number", source, name, text);
    }
    return STATUS_OK;
}

status image_scale_read(arena *a, const char *source, const key_texts *mean, const key_texts *std,
                        const image_scale **out)
{
    image_scale *scale;

    *out = NULL;
    if (mean->n == 0 && std->n == 0)
        return STATUS_OK;
    TRY_TAKE(scale, a, 1);
    *scale = image_scale_preset;
    if (mean->n > 0)
        TRY(read_numbers(source, "mean", mean, scale->mean));
    if (std->n > 0)
        TRY(read_numbers(source, "std", std, scale->std));
    for (int c = 0; c < 3; c++)
        if (!(scale->std[c] > 0))
            return fail(STATUS_USAGE, "%s: std is %g, must be more than 0", source, (double)scale->std[c]);
    *out = scale;
    return STATUS_OK;
}

void image_values(const record *r, int channels, float *out)
{
    const int64_t n = (int64_t)r->height * r->width;

    CHECK(channels == 1 || channels == 3);
    for (int c = 0; c < channels; c++)
        for (int64_t i = 0; i < n; i++) {
            const uint8_t *p = r->pixels + i * 3;
            const int      v = channels == 3 ? p[c] : (19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 32768) >> 16;

            out[c * n + i] = ((float)v / 255 - r->scale->mean[c]) / r->scale->std[c];
        }
}
