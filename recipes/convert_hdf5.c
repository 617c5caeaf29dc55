/* convert: adapters as HDF5
 *
 * Every tensor is an array of the root under its own name and in its own type. adapter_config.json is the attribute
 * of that name, byte for byte; the metadata of adapter_model.safetensors is safetensors_metadata, a JSON object. */
#include "recipes/convert.h"

#include "core/file.h"
#include "core/hdf5_file.h"
#include "core/json.h"
#include "core/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_ROOM = 60001 }; /* bytes of an attribute, with its NUL */

static const char config_name[] = "adapter_config.json", metadata_name[] = "safetensors_metadata",
                  tensors_name[] = "adapter_model.safetensors";

/* ---- folder to file ------------------------------------------------------------------------------- */

static status metadata_text(arena *a, const safetensors *f, const char **out)
{
    cJSON *o = cJSON_CreateObject();

    for (int i = 0; i < f->n_metadata; i++) {
        const safetensors_pair *p = &f->metadata[i];
        if (memchr(p->value, '\0', p->length)) {
            cJSON_Delete(o);
            return fail(STATUS_UNSUPPORTED, "%s: metadata %.80s holds a NUL", f->map.path, p->key);
        }
        cJSON_AddStringToObject(o, p->key, p->value);
    }
    char *text = cJSON_PrintUnformatted(o);
    *out = text ? arena_string(a, text, strlen(text)) : NULL;
    free(text);
    cJSON_Delete(o);
    return *out ? STATUS_OK : fail(STATUS_MEMORY, "%s: no memory for its metadata", f->map.path);
}

static status put_tensor(h5_file *h, const safetensors_entry *e)
{
    if (e->opaque)
        return fail(STATUS_UNSUPPORTED, "tensor %.200s is stored as %s, which is not handled", e->name, e->type_name);
    if (e->t.s.n == 0 || e->bytes == 0 || strchr(e->name, '/'))
        return fail(STATUS_UNSUPPORTED,
                    "tensor %.200s %s has no place in an HDF5 file: it is empty, has no sizes, or its "
                    "name has a /", e->name, shape_text(e->t.s));
    return h5_put(h, e->name, e->t.type, e->t.s, e->v);
}

static status put_all(arena *a, h5_file *h, const safetensors *f, const char *config)
{
    const char *metadata;

    TRY(metadata_text(a, f, &metadata));
    TRY(h5_put_text(h, config_name, config));
    TRY(h5_put_text(h, metadata_name, metadata));
    for (int i = 0; i < f->n; i++)
        TRY_IN(put_tensor(h, &f->e[i]), "in %s", f->map.path);
    return STATUS_OK;
}

static status write_file(arena *a, const char *tmp, const safetensors *f, const char *config)
{
    h5_file h;

    TRY(h5_create(&h, tmp));
    const status put = put_all(a, &h, f, config);
    if (put == STATUS_OK)
        return h5_finish(&h);
    char text[1024];
    snprintf(text, sizeof text, "%s", status_text());
    (void)h5_finish(&h);
    return fail(put, "%s", text);
}

static status check_config(const char *text, size_t n, const char *what)
{
    const char *type;
    cJSON      *o;

    TRY(json_parse(text, n, what, &o));
    const status s = json_string(o, "peft_type", true, &type, what);
    cJSON_Delete(o);
    return s;
}

static status publish(const char *tmp, const char *path, status s)
{
    char text[1024];

    if (s == STATUS_OK)
        s = file_publish(tmp, path);
    if (s == STATUS_OK)
        return s;
    snprintf(text, sizeof text, "%s", status_text());
    (void)unlink(tmp);
    return fail(s, "%s", text);
}

status convert_adapter_to_hdf5(arena *a, const char *folder, const char *path, FILE *out)
{
    const char *config_path = path_join(a, folder, config_name), *from = path_join(a, folder, tensors_name),
               *tmp = arena_printf(a, "%s.tmp", path);
    char       *config;
    size_t      n;
    safetensors f;

    if (!config_path || !from || !tmp)
        return STATUS_MEMORY;
    TRY(file_read(a, config_path, TEXT_ROOM - 1, &config, &n));
    TRY(check_config(config, n, config_path));
    TRY(safetensors_open(a, from, &f));
    const status s = publish(tmp, path, write_file(a, tmp, &f, config));
    const int    tensors = f.n;
    safetensors_close(&f);
    if (s == STATUS_OK)
        fprintf(out, "%s: %d tensors and the configuration, lossless\n", path, tensors);
    return s;
}

/* ---- file to folder ------------------------------------------------------------------------------- */

typedef struct import {
    arena            *a;
    h5_file           h;
    char              config[TEXT_ROOM], metadata[TEXT_ROOM];
    safetensors_item *items;
    safetensors_pair *pairs;
    int               n, n_pairs;
} import;

static status read_metadata(import *m)
{
    cJSON *o, *item;

    if (!h5_has(&m->h, metadata_name))
        return STATUS_OK;
    TRY(h5_get_text(&m->h, metadata_name, m->metadata, sizeof m->metadata));
    TRY(json_parse(m->metadata, strlen(m->metadata), metadata_name, &o));
    status s = cJSON_IsObject(o) ? STATUS_OK
                                 : fail(STATUS_FORMAT, "%s: %s must be a JSON object", m->h.path, metadata_name);
    m->pairs = arena_take(m->a, (size_t)cJSON_GetArraySize(o) + 1, sizeof *m->pairs);
    cJSON_ArrayForEach(item, o)
    {
        if (s == STATUS_OK && !cJSON_IsString(item))
            s = fail(STATUS_FORMAT, "%s: %s: %.80s must be a text", m->h.path, metadata_name, item->string);
        if (s != STATUS_OK || !m->pairs)
            break;
        m->pairs[m->n_pairs++] = (safetensors_pair){
            .key = arena_string(m->a, item->string, strlen(item->string)),
            .value = arena_string(m->a, item->valuestring, strlen(item->valuestring))};
        if (!m->pairs[m->n_pairs - 1].key || !m->pairs[m->n_pairs - 1].value)
            s = STATUS_MEMORY;
    }
    cJSON_Delete(o);
    return s == STATUS_OK && !m->pairs ? STATUS_MEMORY : s;
}

static status read_tensor(import *m, const char *name)
{
    tensor *t = &m->items[m->n].t;
    bool    found;

    m->items[m->n++].name = name;
    TRY(h5_find(&m->h, name, &found, &t->type, &t->s));
    CHECK(found);
    if (t->s.n == 0 || shape_count(t->s) == 0)
        return fail(STATUS_FORMAT, "%s: %s %s must have values and at least one size", m->h.path, name,
                    shape_text(t->s));
    t->v = arena_take(m->a, tensor_bytes(t), 1);
    return t->v ? h5_get(&m->h, name, t->type, t->s, t->v) : STATUS_MEMORY;
}

static status read_file(import *m)
{
    const char **names;
    int64_t      n;

    TRY(h5_get_text(&m->h, config_name, m->config, sizeof m->config));
    TRY(check_config(m->config, strlen(m->config), config_name));
    TRY(read_metadata(m));
    TRY(h5_list(&m->h, m->a, &names, &n));
    if (n == 0)
        return fail(STATUS_FORMAT, "%s: holds no arrays", m->h.path);
    TRY_TAKE(m->items, m->a, n);
    for (int64_t i = 0; i < n; i++)
        TRY(read_tensor(m, names[i]));
    return STATUS_OK;
}

static status write_folder(void *context, const char *folder)
{
    import     *m = context;
    const char *config = path_join(m->a, folder, config_name), *tensors = path_join(m->a, folder, tensors_name);

    if (!config || !tensors)
        return STATUS_MEMORY;
    TRY(file_replace(config, m->config, strlen(m->config)));
    return safetensors_write(tensors, m->items, m->n, m->pairs, m->n_pairs);
}

status convert_hdf5_to_adapter(arena *a, const char *file, const char *folder, FILE *out)
{
    import *m;

    TRY_TAKE(m, a, 1);
    *m = (import){.a = a};
    TRY(h5_open(&m->h, file));
    const status s = read_file(m);
    h5_close(&m->h);
    TRY(s);
    TRY(convert_publish(a, folder, write_folder, m));
    fprintf(out, "%s: %d tensors and the configuration, lossless\n", folder, m->n);
    return STATUS_OK;
}
