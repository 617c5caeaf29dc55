/* session: images as the patches that the trunk reads */
#include "core/file.h"
#include "core/json.h"
#include "recipes/session.h"

#include <string.h>

/* Means and deviations of the channels, from 0 to 1. */
typedef struct image_scale {
    double mean[3], deviation[3];
} image_scale;

static status read_three(const cJSON *o, const char *name, const char *what, double out[3])
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(o, name), *x = cJSON_IsArray(list) ? list->child : NULL;

    if (!list || cJSON_IsNull(list))
        return STATUS_OK;
    for (int i = 0; i < 3; i++, x = x->next) {
        if (!cJSON_IsNumber(x))
            return fail(STATUS_FORMAT, "%s: %s must be three numbers", what, name);
        out[i] = x->valuedouble;
    }
    return STATUS_OK;
}

/* The folder's preprocessor_config.json; without one 0.5 and 0.5, as ViT's. */
static status read_scale(const session *s, arena *a, image_scale *out)
{
    char  *path = path_join(a, s->path, "preprocessor_config.json");
    cJSON *o;

    *out = (image_scale){{0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}};
    if (!path)
        return STATUS_MEMORY;
    if (!path_exists(path))
        return STATUS_OK;
    TRY(json_read(path, &o));
    status done = read_three(o, "image_mean", path, out->mean);
    if (done == STATUS_OK)
        done = read_three(o, "image_std", path, out->deviation);
    cJSON_Delete(o);
    for (int i = 0; i < 3 && done == STATUS_OK; i++)
        if (!(out->deviation[i] > 0))
            done = fail(STATUS_FORMAT, "%s: image_std has %g, must be above 0", path, out->deviation[i]);
    return done;
}

/* pixels [height, width, 3] -> [channels, height, width]; one channel is the luma of ITU-R BT.601. */
static void scale_pixels(const patch_grid *g, const image_scale *x, const uint8_t *pixels, float *out)
{
    static const double luma[3] = {0.299, 0.587, 0.114};
    const int64_t       n = g->height * g->width;

    for (int64_t i = 0; i < n; i++, pixels += 3) {
        const double grey = luma[0] * pixels[0] + luma[1] * pixels[1] + luma[2] * pixels[2];
        for (int64_t c = 0; c < g->channels; c++) {
            const double v = (g->channels == 1 ? grey : pixels[c]) / 255;
            out[c * n + i] = (float)((v - x->mean[c]) / x->deviation[c]);
        }
    }
}

status session_image(const session *s, arena *a, arena *work, const record *r, example *e)
{
    const patch_grid *g = &s->m.image;
    char              where[256];
    image_scale       x;
    float            *patches, *values;

    if (g->channels != 1 && g->channels != 3)
        return fail(STATUS_UNSUPPORTED, "%s: reads images of %lld channels, must be 1 or 3", s->path,
                    (long long)g->channels);
    if (r->height != g->height || r->width != g->width)
        return fail(STATUS_USAGE, "%s: has %d x %d pixels, the model reads %lld x %lld; give the source that size",
                    record_where(r, where), r->height, r->width, (long long)g->height, (long long)g->width);
    TRY(read_scale(s, work, &x));
    TRY_TAKE(values, work, g->channels * g->height * g->width);
    TRY_TAKE(patches, a, patches_count(g) * patches_values(g));
    scale_pixels(g, &x, r->pixels, values);
    patches_cut(g, values, patches);
    e->n = (int32_t)(1 + patches_count(g));
    e->patches = patches;
    return STATUS_OK;
}
