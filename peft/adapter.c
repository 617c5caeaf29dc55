/* adapter: an adapter folder's tensors */
#include "peft/adapter.h"

#include "core/file.h"
#include "core/quant.h"
#include "core/safetensors.h"

#include <math.h>
#include <string.h>

static const char fingerprint_key[] = "cambium.base_sha256";

static status check_finite(const tuned *x)
{
    const float  *v = x->value.v;
    const int64_t n = shape_count(x->value.s);

    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return fail(STATUS_NUMERIC, "%s: value %lld is %g, must be finite; nothing was saved",
                        x->name, (long long)i, (double)v[i]);
    return STATUS_OK;
}

status adapter_save(const peft *p, int number, const char *folder, const adapter_info *info)
{
    const size_t      mark = arena_mark(p->a);
    safetensors_item *items;
    safetensors_pair  pairs[2] = {{.key = "format", .value = "pt"},
                                  {.key = fingerprint_key, .value = info->fingerprint}};
    int               n = 0;

    TRY_TAKE(items, p->a, p->n_tuned);
    for (int i = 0; i < p->n_tuned; i++) {
        if (p->tensors[i].module != number)
            continue;
        TRY(check_finite(&p->tensors[i]));
        items[n++] = (safetensors_item){.name = p->tensors[i].name, .t = p->tensors[i].value};
    }

    char *config = path_join(p->a, folder, "adapter_config.json");
    char *tensors = path_join(p->a, folder, "adapter_model.safetensors");
    if (!config || !tensors)
        return STATUS_MEMORY;
    TRY(safetensors_write(tensors, items, n, pairs, info->fingerprint ? 2 : 1));
    TRY(adapter_write_config(p, number, config, info));
    arena_rewind(p->a, mark);
    return STATUS_OK;
}

static status load_tensor(const safetensors *f, const char *path, const tuned *x)
{
    const safetensors_entry *e = safetensors_find(f, x->name);

    if (!e)
        return fail(STATUS_FORMAT, "%s: tensor %s is missing", path, x->name);
    if (e->opaque || !quant_is_real(e->t.type))
        return fail(STATUS_FORMAT, "%s: tensor %s is of type %s, must be a real type", path, x->name,
                    e->type_name);
    if (!shape_equal(e->t.s, x->value.s))
        return fail(STATUS_SHAPE, "%s: tensor %s is %s, must be %s", path, x->name,
                    shape_text(e->t.s), shape_text(x->value.s));
    quant_expand(e->t.type, e->v, shape_count(e->t.s), x->value.v);
    return STATUS_OK;
}

static status check_base(const safetensors *f, const char *path, const adapter_info *info)
{
    const char *made_on = safetensors_metadata(f, fingerprint_key);

    if (made_on && info && info->fingerprint && strcmp(made_on, info->fingerprint) != 0)
        return fail(STATUS_FORMAT,
                    "%s: was trained on another base model (SHA-256 %.12s..., this one is %.12s...); "
                    "use that base, or --force",
                    path, made_on, info->fingerprint);
    return STATUS_OK;
}

static status load_tensors(peft *p, int number, const safetensors *f, const char *path,
                           const adapter_info *info)
{
    int n = 0;

    TRY(check_base(f, path, info));
    for (int i = 0; i < p->n_tuned; i++) {
        if (p->tensors[i].module != number)
            continue;
        TRY(load_tensor(f, path, &p->tensors[i]));
        n++;
    }
    for (int i = 0; n < f->n && i < f->n; i++) {
        bool known = false;
        for (int k = 0; k < p->n_tuned && !known; k++)
            known = p->tensors[k].module == number && strcmp(p->tensors[k].name, f->e[i].name) == 0;
        if (!known)
            return fail(STATUS_FORMAT, "%s: tensor %s belongs to no site of this model", path,
                        f->e[i].name);
    }
    return STATUS_OK;
}

status adapter_load(peft *p, int number, const char *folder, const adapter_info *info)
{
    safetensors f;
    char       *path = path_join(p->a, folder, "adapter_model.safetensors");

    if (!path)
        return STATUS_MEMORY;
    TRY(safetensors_open(p->a, path, &f));
    const status s = load_tensors(p, number, &f, path, info);
    safetensors_close(&f);
    return s;
}
