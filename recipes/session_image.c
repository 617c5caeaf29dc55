/* session: images as the patches that the trunk reads */
#include "core/file.h"
#include "core/json.h"
#include "data/image.h"
#include "recipes/session.h"

static status read_three(const cJSON *o, const char *name, const char *what, float out[3])
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(o, name), *x = cJSON_IsArray(list) ? list->child : NULL;

    if (!list || cJSON_IsNull(list))
        return STATUS_OK;
    for (int i = 0; i < 3; i++, x = x->next) {
        if (!cJSON_IsNumber(x))
            return fail(STATUS_FORMAT, "%s: %s must be three numbers", what, name);
        out[i] = (float)x->valuedouble;
    }
    return STATUS_OK;
}

status session_image_scale(session *s)
{
    char  *path = path_join(&s->setup, s->path, "preprocessor_config.json");
    cJSON *o;

    s->pixels = image_scale_preset;
    if (!path)
        return STATUS_MEMORY;
    if (!path_exists(path))
        return STATUS_OK;
    TRY(json_read(path, &o));
    status done = read_three(o, "image_mean", path, s->pixels.mean);
    if (done == STATUS_OK)
        done = read_three(o, "image_std", path, s->pixels.std);
    cJSON_Delete(o);
    for (int i = 0; i < 3 && done == STATUS_OK; i++)
        if (!(s->pixels.std[i] > 0))
            done = fail(STATUS_FORMAT, "%s: image_std has %g, must be above 0", path, (double)s->pixels.std[i]);
    return done;
}

status session_image(const session *s, arena *a, arena *work, const record *r, example *e)
{
    const patch_grid *g = &s->m.image;
    char              where[256];
    record            x = *r;
    float            *patches, *values;

    if (g->channels != 1 && g->channels != 3)
        return fail(STATUS_UNSUPPORTED, "%s: reads images of %lld channels, must be 1 or 3", s->path,
                    (long long)g->channels);
    if (r->height != g->height || r->width != g->width)
        return fail(STATUS_USAGE, "%s: has %d x %d pixels, the model reads %lld x %lld; give the source that size",
                    record_where(r, where), r->height, r->width, (long long)g->height, (long long)g->width);
    if (!x.scale)
        x.scale = &s->pixels;
    TRY_TAKE(values, work, g->channels * g->height * g->width);
    TRY_TAKE(patches, a, patches_count(g) * patches_values(g));
    image_values(&x, (int)g->channels, values);
    patches_cut(g, values, patches);
    e->n = (int32_t)(1 + patches_count(g));
    e->patches = patches;
    return STATUS_OK;
}
