/* adapter: an adapter folder's tensors */
#include "peft/adapter.h"

#include "core/file.h"
#include "core/json.h"
#include "core/quant.h"
#include "core/safetensors.h"
#include "core/text.h"
#include "peft/router.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char fingerprint_key[] = "cambium.base_sha256", origin_key[] = "cambium.origin_sha256", step_key[] = "cambium.step",
                  trained_as_key[] = "cambium.trained_as", labels_key[] = "cambium.labels";

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

/* It stands for a weight that the trunk's files, and so an adapter's, have as [in, out]. */
static bool is_turned(const tuned *x)
{
    return x->place && x->place->turned;
}

/* The sizes of its tensor in a file. */
static shape file_shape(const tuned *x)
{
    const shape s = x->value.s;

    if (x->rest)
        return x->beside ? shape_2(s.d[0], 2 * s.d[1]) : shape_2(2 * s.d[0], s.d[1]);
    if (x->place && x->place->on_disk.n)
        return x->place->on_disk;
    return is_turned(x) ? shape_2(s.d[1], s.d[0]) : s;
}

/* A tuned tensor and its rest lie in joined rows, or one below the other: from there to here, or back. */
static void move_joined(const tuned *x, float *joined, bool out)
{
    const int64_t n = shape_count(x->value.s), run = x->beside ? x->value.s.d[1] : n;

    for (int64_t i = 0; i < n / run; i++)
        for (int k = 0; k < 2; k++) {
            float *const own = (float *)(k ? x->rest : x)->value.v + i * run, *const there = joined + (2 * i + k) * run;
            memcpy(out ? there : own, out ? own : there, (size_t)run * sizeof *own);
        }
}

/* Tensors of a file that are being listed. */
typedef struct listing {
    safetensors_item *items;
    int               n;
} listing;

/* The module's tensors that lie aside, or those that do not. */
static status list_tensors(const peft *p, int number, bool aside, const char *folder, listing *l)
{
    TRY_TAKE(l->items, p->a, 2 * p->n_tuned + 1);
    l->n = 0;
    for (int i = 0; i < p->n_tuned; i++) {
        const tuned *x = &p->tensors[i];
        if (x->module != number || x->start.unsaved || x->aside != aside)
            continue;
        TRY(check_finite(x, folder, "nothing was saved"));
        safetensors_item item = {.name = x->name, .t = x->value};
        if (is_turned(x))
            TRY(weights_turned(p->a, &x->value, &item.t));
        if (x->rest) {
            float *joined;
            TRY_TAKE(joined, p->a, 2 * shape_count(x->value.s));
            move_joined(x, joined, true);
            item.t.v = joined;
        }
        item.t.s = file_shape(x);
        l->items[l->n++] = item;
        item.name = x->also;
        if (x->also)
            l->items[l->n++] = item;
    }
    return STATUS_OK;
}

static const char result_name[] = "prompt_embeddings";

/* What the tensors aside make, as it is now. */
static status list_result(const peft *p, int number, arena *work, tape **t, listing *l)
{
    const module *m = &p->modules[number];

    TRY(tape_open(t, TYPE_F32));
    var *y = m->method->result(*t, m->hooks[0].state);
    tape_keep(*t, y);
    TRY(tape_plan(*t, NULL, RECOMPUTE_NONE));
    TRY(tape_bind(*t, work));
    tape_forward(*t);
    TRY(tape_check(*t));
    l->items[l->n++] = (safetensors_item){.name = result_name, .t = y->t};
    return STATUS_OK;
}

/* The names as a JSON object, freed with free; NULL: no memory. */
static char *labels_text(const key_texts *labels)
{
    cJSON *o = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(o, "labels");
    char  *text = NULL;

    for (int i = 0; list && i < labels->n; i++)
        cJSON_AddItemToArray(list, cJSON_CreateString(labels->v[i]));
    if (list && cJSON_GetArraySize(list) == labels->n)
        text = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    return text;
}

static status add_labels(arena *a, const key_texts *labels, safetensors_pair *out)
{
    char       *text = labels_text(labels);
    const char *kept = text ? arena_string(a, text, strlen(text)) : NULL;

    free(text);
    *out = (safetensors_pair){.key = labels_key, .value = kept};
    return kept ? STATUS_OK : STATUS_MEMORY;
}

static status write_files(const peft *p, int number, const char *folder, const adapter_info *info, const listing *own,
                          const listing *aside)
{
    const module    *m = &p->modules[number];
    const char      *trained_as = m->method->trained_as ? m->method->trained_as(m->options) : NULL;
    safetensors_pair pairs[6] = {{.key = "format", .value = "pt"}};
    int              n_pairs = 1;
    char            *tensors = path_join(p->a, folder, "adapter_model.safetensors");
    char            *encoder = path_join(p->a, folder, ENCODER_FILE);

    if (!tensors || !encoder)
        return STATUS_MEMORY;
    if (info->fingerprint)
        pairs[n_pairs++] = (safetensors_pair){.key = fingerprint_key, .value = info->fingerprint};
    if (info->origin)
        pairs[n_pairs++] = (safetensors_pair){.key = origin_key, .value = info->origin};
    if (info->step)
        pairs[n_pairs++] = (safetensors_pair){.key = step_key, .value = info->step};
    if (trained_as)
        pairs[n_pairs++] = (safetensors_pair){.key = trained_as_key, .value = trained_as};
    if (info->labels.n > 0)
        TRY(add_labels(p->a, &info->labels, &pairs[n_pairs++]));
    TRY(safetensors_write(tensors, own->items, own->n, pairs, n_pairs));
    if (aside->n > 0)
        TRY(safetensors_write(encoder, aside->items, aside->n, pairs, n_pairs));
    return adapter_write_config(p, number, folder, info);
}

status adapter_save(const peft *p, int number, const char *folder, const adapter_info *info)
{
    const size_t mark = arena_mark(p->a);
    listing      own, aside;
    arena        work;
    tape        *t = NULL;
    status       s;

    TRY(peft_pull(p));
    TRY(list_tensors(p, number, false, folder, &own));
    TRY(list_tensors(p, number, true, folder, &aside));
    TRY(arena_open(&work, "encoder", (size_t)1 << 34));
    s = aside.n > 0 ? list_result(p, number, &work, &t, &own) : STATUS_OK;
    if (s == STATUS_OK)
        s = write_files(p, number, folder, info, &own, &aside);
    tape_close(t);
    arena_close(&work);
    arena_rewind(p->a, mark);
    return s;
}

/* The values under a second name must be those under the first. */
static status check_also(const safetensors *f, const char *path, const tuned *x, const safetensors_entry *first)
{
    const safetensors_entry *e = x->also ? safetensors_find(f, x->also) : NULL;

    if (x->also && !e)
        return fail(STATUS_FORMAT, "%s: tensor %s is missing", path, x->also);
    if (e && (e->t.type != first->t.type || e->bytes != first->bytes || memcmp(e->v, first->v, e->bytes) != 0))
        return fail(STATUS_FORMAT, "%s: %s and %s differ, but the trunk has one weight for both", path, x->name,
                    x->also);
    return STATUS_OK;
}

/* Places must lie in their matrix, in the order of rows and then columns, none twice. */
static status check_places(const tuned *x, const int32_t *v, const char *path)
{
    const int64_t n = shape_last(x->value.s);

    for (int64_t i = 0; i < n && x->value.s.n == 1; i++)
        if (v[i] < 0 || v[i] >= x->below[0] || (i > 0 && v[i - 1] >= v[i]))
            return fail(STATUS_FORMAT, "%s: place %lld of tensor %s is %d, must be below %lld and behind the one before "
                        "it", path, (long long)i, x->name, v[i], (long long)x->below[0]);
    for (int64_t i = 0; i < n && x->value.s.n == 2; i++) {
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

/* A file by another program has the tensor without its rest, which then stays as it starts. */
static bool without_rest(const safetensors_entry *e, const tuned *x)
{
    return x->rest && shape_equal(e->t.s, x->value.s);
}

/* The values of an entry, which lie as the tuned tensor's do in a file. */
static status take_values(arena *a, const safetensors_entry *e, const tuned *x)
{
    const int64_t n = shape_count(e->t.s);
    const bool    joined = x->rest && !without_rest(e, x);
    tensor        file = {.s = e->t.s, .type = TYPE_F32}, here;
    float        *v;

    if (!is_turned(x) && !joined) {
        quant_expand(e->t.type, e->v, n, x->value.v);
        return STATUS_OK;
    }
    const size_t mark = arena_mark(a);
    TRY_TAKE(v, a, n);
    quant_expand(e->t.type, e->v, n, v);
    if (joined)
        move_joined(x, v, false);
    else {
        file.v = v;
        TRY(weights_turned(a, &file, &here));
        memcpy(x->value.v, here.v, tensor_bytes(&here));
    }
    arena_rewind(a, mark);
    return STATUS_OK;
}

static status load_tensor(arena *a, const safetensors *f, const char *path, const tuned *x)
{
    const shape want = file_shape(x);
    const safetensors_entry *e = safetensors_find(f, x->name);

    if (!e)
        return fail(STATUS_FORMAT, "%s: tensor %s is missing", path, x->name);
    if (x->value.type == TYPE_I32)
        return load_places(e, path, x);
    if (e->opaque || !quant_is_real(e->t.type))
        return fail(STATUS_FORMAT, "%s: tensor %s is of type %s, must be a real type", path, x->name,
                    e->type_name);
    if (!shape_equal(e->t.s, want) && !without_rest(e, x))
        return fail(STATUS_SHAPE, "%s: tensor %s is %s, must be %s", path, x->name,
                    shape_text(e->t.s), shape_text(want));
    TRY(check_also(f, path, x, e));
    TRY(take_values(a, e, x));
    if (x->rest)
        TRY(check_finite(x->rest, path, "the adapter is broken"));
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
        if (!s->weight || strncmp(s->checkpoint, e->name + sizeof start - 1, name_length) != 0 ||
            s->checkpoint[name_length])
            continue;
        const tensor *w = &s->weight->value;
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

static bool is_ours(const peft *p, int number, bool aside, const char *name)
{
    for (int k = 0; k < p->n_tuned; k++)
        if (p->tensors[k].module == number && p->tensors[k].aside == aside &&
            !p->tensors[k].start.unsaved && tuned_is(&p->tensors[k], name))
            return true;
    return false;
}

/* Every tensor that belongs into the file is there, and nothing else; beside those aside lies what they make. */
static status load_tensors(peft *p, int number, bool aside, const safetensors *f, const char *path,
                           const adapter_info *info)
{
    bool made = false;

    TRY(check_base(f, path, info));
    for (int i = 0; i < p->n_tuned; i++) {
        if (p->tensors[i].module != number || p->tensors[i].start.unsaved)
            continue;
        made |= p->tensors[i].aside;
        if (p->tensors[i].aside == aside)
            TRY(load_tensor(p->a, f, path, &p->tensors[i]));
    }
    for (int i = 0; i < f->n; i++) {
        bool known = is_ours(p, number, aside, f->e[i].name) ||
                     (made && !aside && strcmp(f->e[i].name, result_name) == 0);
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

static status load_file(peft *p, int number, bool aside, const char *folder, const adapter_info *info)
{
    safetensors f;
    char       *path = path_join(p->a, folder, aside ? ENCODER_FILE : "adapter_model.safetensors");

    if (!path)
        return STATUS_MEMORY;
    TRY(safetensors_open(p->a, path, &f));
    const status s = load_tensors(p, number, aside, &f, path, info);
    safetensors_close(&f);
    return s;
}

status adapter_load(peft *p, int number, const char *folder, const adapter_info *info)
{
    bool aside = false;

    for (int i = 0; i < p->n_tuned; i++)
        aside |= p->tensors[i].module == number && p->tensors[i].aside;
    TRY(load_file(p, number, false, folder, info));
    if (aside)
        TRY(load_file(p, number, true, folder, info));
    if (p->modules[number].n_over > 0)
        TRY(router_check(p, number, folder));
    peft_settle(p);
    return peft_push(p);
}

status adapter_folder(const peft *p, int number, const char *folder, char *path, size_t room)
{
    const module *m = &p->modules[number];
    const bool    below = p->n_modules > 1 && m->n_over == 0;

    if ((size_t)snprintf(path, room, "%s%s%s", folder, below ? "/" : "", below ? m->name : "") >= room)
        return fail(STATUS_IO, "%s: path is too long", folder);
    return STATUS_OK;
}

/* What the folder's file remembers under a key, copied; NULL: nothing. */
static status remembered(arena *a, const char *folder, const char *key, const char **out)
{
    safetensors f;
    char       *path = path_join(a, folder, "adapter_model.safetensors");

    *out = NULL;
    if (!path)
        return STATUS_MEMORY;
    TRY(safetensors_open(a, path, &f));
    const char *text = safetensors_metadata(&f, key);
    if (text)
        *out = arena_string(a, text, strlen(text));
    const bool lost = text && !*out;
    safetensors_close(&f);
    return lost ? STATUS_MEMORY : STATUS_OK;
}

status adapter_trained_as(arena *a, const char *folder, const char **was)
{
    return remembered(a, folder, trained_as_key, was);
}

status adapter_labels(arena *a, const char *folder, key_texts *out)
{
    const char *text;
    cJSON      *json;

    *out = (key_texts){0};
    TRY(remembered(a, folder, labels_key, &text));
    if (!text)
        return STATUS_OK;
    TRY(json_parse(text, strlen(text), folder, &json));
    const status s = json_texts(json, "labels", a, out, folder);
    cJSON_Delete(json);
    return s;
}

status adapter_step(arena *a, const char *folder, int64_t *step)
{
    const char *text;

    *step = -1;
    TRY(remembered(a, folder, step_key, &text));
    if (text && *text && strspn(text, "0123456789") == strlen(text) && strlen(text) < 18)
        *step = strtoll(text, NULL, 10);
    return STATUS_OK;
}
