/* delta: see the header */
#include "peft/delta.h"

#include "core/file.h"
#include "core/json.h"
#include "core/quant.h"
#include "core/safetensors.h"
#include "core/text.h"

#include <math.h>
#include <string.h>
#include <strings.h>

/* ---- adapter folders --------------------------------------------------------------------------------------- */

static const char before[] = "base_model.model.";

static status check_type(const char *path)
{
    const char *type;
    cJSON      *config;

    TRY(json_read(path, &config));
    status s = json_string(config, "peft_type", true, &type, path);
    if (s == STATUS_OK && strcasecmp(type, "SPARSE_DELTA") != 0)
        s = fail(STATUS_UNSUPPORTED, "%s: peft_type is '%s', must be SPARSE_DELTA", path, type);
    cJSON_Delete(config);
    return s;
}

/* The values of an entry as f32. */
static status real_values(arena *a, const safetensors_entry *e, const char *path, float **out)
{
    const int64_t n = shape_count(e->t.s);

    if (e->opaque || !quant_is_real(e->t.type))
        return fail(STATUS_FORMAT, "%s: tensor %s is of type %s, must be a real type", path, e->name, e->type_name);
    TRY_TAKE(*out, a, n);
    quant_expand(e->t.type, e->v, n, *out);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite((*out)[i]))
            return fail(STATUS_NUMERIC, "%s: value %lld of tensor %s is %g, must be finite", path, (long long)i, e->name,
                        (double)(*out)[i]);
    return STATUS_OK;
}

static status check_rising(const int32_t *at, int64_t n, const char *path, const char *name)
{
    for (int64_t i = 0; i < n; i++)
        if (at[i] < 0 || (i > 0 && at[i - 1] >= at[i]))
            return fail(STATUS_FORMAT, "%s: place %lld of tensor %s must come behind the one before it", path,
                        (long long)i, name);
    return STATUS_OK;
}

/* The tensor `stem` + ending, with n values. */
static status beside(arena *a, const safetensors *f, const char *path, const char *stem, const char *ending, int64_t n,
                     float **out)
{
    const char *const        name = arena_printf(a, "%s%s", stem, ending);
    const safetensors_entry *e = name ? safetensors_find(f, name) : NULL;

    if (!name)
        return STATUS_MEMORY;
    if (!e || e->t.s.n != 1 || e->t.s.d[0] != n)
        return fail(STATUS_FORMAT, "%s: tensor %s is missing or has not the %lld values of its places", path, name,
                    (long long)n);
    return real_values(a, e, path, out);
}

static status read_triple(arena *a, const safetensors *f, const char *path, const safetensors_entry *e, delta_tensor *out)
{
    const char *const stem = arena_string(a, e->name, strlen(e->name) - strlen(".places"));
    float            *start, *values;
    int32_t          *at;

    if (!stem)
        return STATUS_MEMORY;
    if (e->opaque || e->t.type != TYPE_I32 || e->t.s.n != 1)
        return fail(STATUS_FORMAT, "%s: tensor %s is %s %s, must be i32 with one size", path, e->name, e->type_name,
                    shape_text(e->t.s));
    const int64_t n = e->t.s.d[0];
    TRY_TAKE(at, a, n);
    memcpy(at, e->v, e->bytes);
    TRY(check_rising(at, n, path, e->name));
    TRY(beside(a, f, path, stem, ".start", n, &start));
    TRY(beside(a, f, path, stem, ".values", n, &values));
    for (int64_t i = 0; i < n; i++)
        values[i] -= start[i];
    *out = (delta_tensor){.name = stem + strlen(before), .n = n, .at = at, .by = values};
    return STATUS_OK;
}

static status read_entry(arena *a, const safetensors *f, const char *path, const safetensors_entry *e, delta *d)
{
    float *v;

    if (strncmp(e->name, before, strlen(before)) != 0)
        return fail(STATUS_FORMAT, "%s: tensor %s is no part of a sparse delta", path, e->name);
    if (text_ends(e->name, ".places") && strlen(e->name) > strlen(before) + strlen(".places"))
        return read_triple(a, f, path, e, &d->of[d->n++]);
    if (text_ends(e->name, ".start") || text_ends(e->name, ".values"))
        return STATUS_OK;
    TRY(real_values(a, e, path, &v));
    const char *const name = arena_string(a, e->name + strlen(before), strlen(e->name) - strlen(before));
    d->dense[d->n_dense++] = (delta_dense){name, {.s = e->t.s, .type = TYPE_F32, .v = v}};
    return name ? STATUS_OK : STATUS_MEMORY;
}

static status copy_text(arena *a, const char *text, const char **out)
{
    *out = text ? arena_string(a, text, strlen(text)) : NULL;
    return text && !*out ? STATUS_MEMORY : STATUS_OK;
}

static status read_folder(arena *a, const char *folder, delta *d)
{
    char       *config = path_join(a, folder, "adapter_config.json");
    char       *path = path_join(a, folder, "adapter_model.safetensors");
    safetensors f;
    status      s = STATUS_OK;

    if (!config || !path)
        return STATUS_MEMORY;
    TRY(check_type(config));
    TRY(safetensors_open(a, path, &f));
    s = copy_text(a, safetensors_metadata(&f, "cambium.base_sha256"), &d->fingerprint);
    if (s == STATUS_OK)
        s = copy_text(a, safetensors_metadata(&f, "cambium.origin_sha256"), &d->origin);
    d->of = arena_take(a, (size_t)f.n + 1, sizeof *d->of);
    d->dense = arena_take(a, (size_t)f.n + 1, sizeof *d->dense);
    if (!d->of || !d->dense)
        s = STATUS_MEMORY;
    for (int i = 0; i < f.n && s == STATUS_OK; i++)
        s = read_entry(a, &f, path, &f.e[i], d);
    safetensors_close(&f);
    return s;
}

status delta_read(arena *a, const char *path, delta *out)
{
    *out = (delta){.path = path};
    return text_ends(path, ".h5") ? delta_read_h5(a, path, out) : read_folder(a, path, out);
}

/* ---- sums --------------------------------------------------------------------------------------------------- */

static delta_overlap compare(const delta_tensor *x, const delta_tensor *y, double sign)
{
    delta_overlap o = {0};

    for (int64_t i = 0, k = 0; i < x->n && k < y->n;) {
        if (x->at[i] == y->at[k]) {
            o.common++;
            o.opposite += (double)x->by[i] * (double)y->by[k] * sign < 0;
        }
        const int32_t at = x->at[i] < y->at[k] ? x->at[i] : y->at[k];
        i += x->at[i] == at;
        k += y->at[k] == at;
    }
    return o;
}

delta_overlap delta_compare(const delta *a, double a_weight, const delta *b, double b_weight)
{
    delta_overlap sum = {0};

    for (int i = 0; i < a->n; i++)
        for (int k = 0; k < b->n; k++)
            if (strcmp(a->of[i].name, b->of[k].name) == 0) {
                const delta_overlap o = compare(&a->of[i], &b->of[k], a_weight * b_weight);
                sum.common += o.common;
                sum.opposite += o.opposite;
            }
    return sum;
}

void delta_add(const delta_tensor *x, double weight, float *v)
{
    for (int64_t i = 0; i < x->n; i++)
        v[x->at[i]] += (float)(weight * (double)x->by[i]);
}
