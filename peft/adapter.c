/* adapter: an adapter folder's tensors */
#include "peft/adapter.h"

#include "core/file.h"
#include "core/quant.h"
#include "core/safetensors.h"
#include "core/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char fingerprint_key[] = "cambium.base_sha256", step_key[] = "cambium.step";

static status check_finite(const tuned *x, const char *path, const char *so)
{
    const float  *v = x->value.v;
    const int64_t n = shape_count(x->value.s);

    for (int64_t i = 0; x->value.type == TYPE_F32 && i < n; i++)
        if (!isfinite(v[i]))
            return fail(STATUS_NUMERIC, "%s: value %lld of tensor %s is %g, must be finite; %s", path,
                        (long long)i, x->name, (double)v[i], so);
    return STATUS_OK;
}

status adapter_save(const peft *p, int number, const char *folder, const adapter_info *info)
{
    const size_t      mark = arena_mark(p->a);
    safetensors_item *items;
    safetensors_pair  pairs[3] = {{.key = "format", .value = "pt"}};
    int               n = 0, n_pairs = 1;

    TRY(peft_pull(p));
    TRY_TAKE(items, p->a, p->n_tuned);
    for (int i = 0; i < p->n_tuned; i++) {
        if (p->tensors[i].module != number || p->tensors[i].start.unsaved)
            continue;
        TRY(check_finite(&p->tensors[i], folder, "nothing was saved"));
        items[n++] = (safetensors_item){.name = p->tensors[i].name, .t = p->tensors[i].value};
    }

    char *config = path_join(p->a, folder, "adapter_config.json");
    char *tensors = path_join(p->a, folder, "adapter_model.safetensors");
    if (!config || !tensors)
        return STATUS_MEMORY;
    if (info->fingerprint)
        pairs[n_pairs++] = (safetensors_pair){.key = fingerprint_key, .value = info->fingerprint};
    if (info->step)
        pairs[n_pairs++] = (safetensors_pair){.key = step_key, .value = info->step};
    TRY(safetensors_write(tensors, items, n, pairs, n_pairs));
    TRY(adapter_write_config(p, number, config, info));
    arena_rewind(p->a, mark);
    return STATUS_OK;
}

/* Places must lie in their matrix, in the order of rows and then columns, none twice. */
static status check_places(const tuned *x, const int32_t *v, const char *path)
{
    const int64_t n = x->value.s.d[1];

    for (int64_t i = 0; i < n; i++) {
        const int32_t row = v[i], column = v[n + i];
        if (row < 0 || row >= x->below[0] || column < 0 || column >= x->below[1])
            return fail(STATUS_FORMAT,
                        "%s: place %lld of tensor %s is row %d, column %d; must be below %lld and %lld", path,
                        (long long)i, x->name, row, column, (long long)x->below[0], (long long)x->below[1]);
        if (i > 0 && (v[i - 1] > row || (v[i - 1] == row && v[n + i - 1] >= column)))
            return fail(STATUS_FORMAT, "%s: place %lld of tensor %s must come behind the one before it", path,
                        (long long)i, x->name);
    }
    return STATUS_OK;
}

static status load_places(const safetensors_entry *e, const char *path, const tuned *x)
{
    if (e->opaque || e->t.type != TYPE_I32 || !shape_equal(e->t.s, x->value.s))
        return fail(STATUS_FORMAT, "%s: tensor %s is %s %s, must be i32 %s", path, x->name, e->type_name,
                    shape_text(e->t.s), shape_text(x->value.s));
    memcpy(x->value.v, e->v, tensor_bytes(&x->value));
    return check_places(x, x->value.v, path);
}

static status load_tensor(const safetensors *f, const char *path, const tuned *x)
{
    const safetensors_entry *e = safetensors_find(f, x->name);

    if (!e)
        return fail(STATUS_FORMAT, "%s: tensor %s is missing", path, x->name);
    if (x->value.type == TYPE_I32)
        return load_places(e, path, x);
    if (e->opaque || !quant_is_real(e->t.type))
        return fail(STATUS_FORMAT, "%s: tensor %s is of type %s, must be a real type", path, x->name,
                    e->type_name);
    if (!shape_equal(e->t.s, x->value.s))
        return fail(STATUS_SHAPE, "%s: tensor %s is %s, must be %s", path, x->name,
                    shape_text(e->t.s), shape_text(x->value.s));
    quant_expand(e->t.type, e->v, shape_count(e->t.s), x->value.v);
    return check_finite(x, path, "the adapter is broken");
}

static status check_base(const safetensors *f, const char *path, const adapter_info *info)
{
    const char *made_on = safetensors_metadata(f, fingerprint_key);

    if (made_on && info && info->fingerprint && strcmp(made_on, info->fingerprint) != 0)
        return fail(STATUS_FORMAT,
                    "%s: was trained on another base model (SHA-256 %.12s..., this one is %.12s...); "
                    "use that base (generate, eval and merge also take --force)",
                    path, made_on, info->fingerprint);
    return STATUS_OK;
}

/* PEFT stores the untouched weight of an embedding or head beside its factors: it must be ours. */
static status check_base_layer(const peft *p, const safetensors_entry *e, const char *path, bool *ours)
{
    static const char start[] = "base_model.model.", end[] = ".base_layer.weight";
    const size_t      n = strlen(e->name), name_length = n - (sizeof start - 1) - (sizeof end - 1);

    *ours = false;
    if (!text_ends(e->name, end) || strncmp(e->name, start, sizeof start - 1) != 0)
        return STATUS_OK;
    for (int i = 0; i < p->m->n_sites; i++) {
        const site   *s = &p->m->sites[i];
        const tensor *w = &s->weight->value;
        if (strncmp(s->checkpoint, e->name + sizeof start - 1, name_length) != 0 ||
            s->checkpoint[name_length])
            continue;
        *ours = true;
        if (w->type != e->t.type)
            return STATUS_OK;
        if (!shape_equal(w->s, e->t.s) || memcmp(w->v, e->v, e->bytes) != 0)
            return fail(STATUS_FORMAT, "%s: %s is not this trunk's: the adapter belongs to another base",
                        path, e->name);
    }
    return STATUS_OK;
}

/* PEFT stores what all sites share at every site too: it must be the same there. */
static status check_shared(const peft *p, int number, const safetensors_entry *e, const char *path,
                           bool *ours)
{
    static const char start[] = "base_model";

    for (int i = 0; i < p->n_tuned && !*ours; i++) {
        const tuned *x = &p->tensors[i];
        if (x->module != number || !x->fixed || x->start.unsaved || strstr(x->name, ".model.") != NULL ||
            !text_ends(e->name, x->name + sizeof start - 1))
            continue;
        *ours = true;
        if (e->t.type != x->value.type || !shape_equal(e->t.s, x->value.s) ||
            memcmp(e->v, x->value.v, e->bytes) != 0)
            return fail(STATUS_FORMAT, "%s: %s is not the same as %s, which all sites share", path, e->name,
                        x->name);
    }
    return STATUS_OK;
}

static status load_tensors(peft *p, int number, const safetensors *f, const char *path,
                           const adapter_info *info)
{
    int n = 0;

    TRY(check_base(f, path, info));
    for (int i = 0; i < p->n_tuned; i++) {
        if (p->tensors[i].module != number || p->tensors[i].start.unsaved)
            continue;
        TRY(load_tensor(f, path, &p->tensors[i]));
        n++;
    }
    for (int i = 0; n < f->n && i < f->n; i++) {
        bool known = false;
        for (int k = 0; k < p->n_tuned && !known; k++)
            known = p->tensors[k].module == number && !p->tensors[k].start.unsaved &&
                    strcmp(p->tensors[k].name, f->e[i].name) == 0;
        if (!known)
            TRY(check_base_layer(p, &f->e[i], path, &known));
        if (!known)
            TRY(check_shared(p, number, &f->e[i], path, &known));
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
    return s == STATUS_OK ? peft_push(p) : s;
}

status adapter_step(arena *a, const char *folder, int64_t *step)
{
    safetensors f;
    char       *path = path_join(a, folder, "adapter_model.safetensors");

    *step = -1;
    if (!path)
        return STATUS_MEMORY;
    TRY(safetensors_open(a, path, &f));
    const char *text = safetensors_metadata(&f, step_key);
    if (text && *text && strspn(text, "0123456789") == strlen(text) && strlen(text) < 18)
        *step = strtoll(text, NULL, 10);
    safetensors_close(&f);
    return STATUS_OK;
}
