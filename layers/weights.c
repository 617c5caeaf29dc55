/* weights: opening a trunk; folders in Hugging Face layout */
#include "layers/weights.h"

#include "core/json.h"
#include "core/quant.h"
#include "layers/weights_files.h"

#include <stdlib.h>
#include <string.h>

static const char single_file[] = "model.safetensors",
                  index_file[] = "model.safetensors.index.json";

static int compare_weights(const void *a, const void *b)
{
    return strcmp(((const weight *)a)->name, ((const weight *)b)->name);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A shard's name must be a plain file name: an index cannot lead out of its folder. */
static bool is_plain(const char *name)
{
    return name[0] && name[0] != '.' && !strchr(name, '/') && !strchr(name, (char)0xC0);
}

/* The distinct shards that an index names, sorted. */
static status list_shards(arena *a, const cJSON *map, const char *path, weights_files *f)
{
    const cJSON *item;
    int          n = 0;

    if (!cJSON_IsObject(map) || cJSON_GetArraySize(map) == 0)
        return fail(STATUS_FORMAT, "%s: weight_map must be an object of tensor name: file name",
                    path);
    TRY_TAKE(f->names, a, cJSON_GetArraySize(map));
    cJSON_ArrayForEach(item, map)
    {
        if (!cJSON_IsString(item) || !is_plain(item->valuestring))
            return fail(STATUS_FORMAT,
                        "%s: weight_map: %.150s is in \"%.100s\", must be in a file of "
                        "the same folder, without '/' and not hidden",
                        path, item->string, cJSON_IsString(item) ? item->valuestring : "?");
        f->names[n++] = item->valuestring;
    }
    qsort(f->names, (size_t)n, sizeof *f->names, compare_texts);
    for (int i = 0; i < n; i++)
        if (i == 0 || strcmp(f->names[i], f->names[i - 1]) != 0) {
            const char *copy = arena_string(a, f->names[i], strlen(f->names[i]));
            if (!copy)
                return STATUS_MEMORY;
            f->names[f->n++] = copy;
        }
    return STATUS_OK;
}

static status open_shards(arena *a, const char *folder, weights_files *f)
{
    safetensors *shards;
    const int    n = f->n;

    TRY_TAKE(shards, a, n);
    memset(shards, 0, (size_t)n * sizeof *shards);
    f->shards = shards;
    for (int i = 0; i < n; i++) {
        const char *path = path_join(a, folder, f->names[i]);
        if (!path)
            return STATUS_MEMORY;
        TRY(safetensors_open(a, path, &shards[i]));
    }
    return STATUS_OK;
}

/* Every tensor must lie in the shard that the index says. */
static status check_index(const cJSON *map, const char *path, const weights_files *f)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, map)
    {
        const char  *name = item->valuestring;
        const char **shard =
            bsearch(&name, f->names, (size_t)f->n, sizeof *f->names, compare_texts);
        CHECK(shard != NULL);
        if (!safetensors_find(&f->shards[shard - f->names], item->string))
            return fail(STATUS_FORMAT, "%s: says that %.150s is in %.100s, but that file lacks it",
                        path, item->string, name);
    }
    return STATUS_OK;
}

static status open_index(arena *a, const char *folder, const char *path, weights_files *f)
{
    cJSON *index;

    TRY(json_read(path, &index));
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(index, "weight_map");
    status       s = list_shards(a, map, path, f);
    if (s == STATUS_OK)
        s = fail_in(open_shards(a, folder, f), "named by %s", path);
    if (s == STATUS_OK)
        s = check_index(map, path, f);
    cJSON_Delete(index);
    return s;
}

static status open_single(arena *a, const char *folder, weights_files *f)
{
    TRY_TAKE(f->names, a, 1);
    f->names[0] = single_file;
    f->n = 1;
    return open_shards(a, folder, f);
}

/* A copy of a tensor whose values do not lie at multiples of their size. */
static status align(arena *a, const safetensors_entry *e, tensor *t)
{
    *t = e->t;
    if ((uintptr_t)e->v % (uintptr_t)dtype_block_bytes(t->type) == 0)
        return STATUS_OK;
    t->v = arena_copy(a, e->v, e->bytes);
    return t->v ? STATUS_OK : STATUS_MEMORY;
}

/* Narrow types become wider ones. 8-bit floats with scales beside them would be wrong by those scales. */
static status widen(arena *a, const weights *w, const safetensors_entry *e, bool *taken, tensor *t)
{
    TRY_IN(safetensors_widen(a, e, t, taken), "in %s", w->path);
    const cJSON *scales = cJSON_GetObjectItemCaseSensitive(w->config, "quantization_config");
    if (*taken && e->type_name[0] == 'F' && cJSON_IsObject(scales))
        return fail(STATUS_UNSUPPORTED,
                    "%s: tensor %.200s is stored as %s with scales (quantization_config), "
                    "which is not handled",
                    w->path, e->name, e->type_name);
    return STATUS_OK;
}

static status list_tensors(arena *a, weights *w)
{
    const weights_files *f = w->files;
    int64_t              n = 0;

    for (int i = 0; i < f->n; i++)
        n += f->shards[i].n;
    TRY_TAKE(w->w, a, n);
    for (int i = 0; i < f->n; i++)
        for (int j = 0; j < f->shards[i].n; j++) {
            const safetensors_entry *e = &f->shards[i].e[j];
            bool                     taken = !e->opaque;
            if (taken)
                TRY(align(a, e, &w->w[w->n].t));
            else
                TRY(widen(a, w, e, &taken, &w->w[w->n].t));
            w->w[w->n].name = e->name;
            w->w[w->n].turned = false;
            w->n += taken;
        }
    return STATUS_OK;
}

static status open_folder(arena *a, weights *w)
{
    const char *config = path_join(a, w->path, "config.json");
    const char *index = path_join(a, w->path, index_file),
               *single = path_join(a, w->path, single_file);

    if (!config || !index || !single)
        return STATUS_MEMORY;
    TRY(json_read(config, &w->config));
    if (!cJSON_IsObject(w->config))
        return fail(STATUS_FORMAT, "%s: must be an object", config);
    if (path_exists(single))
        TRY(open_single(a, w->path, w->files));
    else if (path_exists(index))
        TRY(open_index(a, w->path, index, w->files));
    else
        return fail(STATUS_IO,
                    "%s: has neither %s nor %s; other weight files (.bin, .h5) are not read",
                    w->path, single_file, index_file);
    return list_tensors(a, w);
}

static status open_gguf(arena *a, weights *w)
{
    w->is_gguf = true;
    TRY_TAKE(w->files->names, a, 1);
    w->files->names[0] = w->path;
    w->files->n = 1;
    TRY(gguf_open(a, w->path, &w->files->container));
    return weights_from_gguf(a, w);
}

static status sort_tensors(weights *w)
{
    qsort(w->w, (size_t)w->n, sizeof *w->w, compare_weights);
    for (int i = 1; i < w->n; i++)
        if (strcmp(w->w[i - 1].name, w->w[i].name) == 0)
            return fail(STATUS_FORMAT, "%s: the tensor %.200s is in two files", w->path,
                        w->w[i].name);
    return STATUS_OK;
}

status weights_open(arena *a, const char *path, weights *out)
{
    *out = (weights){.path = path};
    TRY_TAKE(out->files, a, 1);
    *out->files = (weights_files){0};

    const size_t length = strlen(path);
    status       s;
    if (path_is_folder(path))
        s = open_folder(a, out);
    else if (length > 12 && strcmp(path + length - 12, ".safetensors") == 0)
        s = fail(STATUS_USAGE,
                 "%s: must be the folder that holds it and config.json, or a GGUF file", path);
    else
        s = open_gguf(a, out);
    if (s == STATUS_OK)
        s = sort_tensors(out);
    if (s != STATUS_OK)
        weights_close(out);
    return s;
}

void weights_close(weights *w)
{
    weights_files *f = w->files;

    for (int i = 0; f && f->shards && i < f->n; i++)
        safetensors_close(&f->shards[i]);
    if (f)
        gguf_close(&f->container);
    cJSON_Delete(w->config);
    *w = (weights){0};
}

const weight *weights_find(const weights *w, const char *name)
{
    const weight key = {.name = name};

    return w->n ? bsearch(&key, w->w, (size_t)w->n, sizeof *w->w, compare_weights) : NULL;
}

status weights_need(const weights *w, const char *name, const weight **out)
{
    *out = weights_find(w, name);
    if (*out)
        return STATUS_OK;
    for (int i = 0; w->files->shards && i < w->files->n; i++) {
        const safetensors_entry *e = safetensors_find(&w->files->shards[i], name);
        if (e)
            return fail(STATUS_UNSUPPORTED, "%s: tensor %s is stored as %s, which is not handled",
                        w->path, name, e->type_name);
    }
    return fail(STATUS_FORMAT, "%s: has no tensor %s", w->path, name);
}

status weights_turned(arena *a, const tensor *t, tensor *out)
{
    const int64_t  rows = t->s.d[0], columns = t->s.d[1];
    const size_t   size = (size_t)dtype_block_bytes(t->type);
    const uint8_t *from = t->v;
    uint8_t       *to;

    CHECK(t->s.n == 2 && dtype_block(t->type) == 1);
    TRY_TAKE(to, a, tensor_bytes(t));
    for (int64_t c = 0; c < columns; c++)
        for (int64_t r = 0; r < rows; r++)
            memcpy(to + (size_t)(c * rows + r) * size, from + (size_t)(r * columns + c) * size, size);
    *out = (tensor){.s = shape_2(columns, rows), .type = t->type, .v = to};
    return STATUS_OK;
}

/* The map of a safetensors file that holds the tensor, or NULL. */
static const file_map *map_of(const weights *w, const tensor *t)
{
    const uint8_t *const v = t->v;

    for (int i = 0; w->files && w->files->shards && i < w->files->n; i++) {
        const file_map *m = &w->files->shards[i].map;
        if (v >= m->v && v + tensor_bytes(t) <= m->v + m->bytes)
            return m;
    }
    return NULL;
}

bool weights_mapped(const weights *w, const tensor *t)
{
    return map_of(w, t) != NULL;
}

void weights_let_go(const weights *w, const tensor *t)
{
    const file_map *m = map_of(w, t);

    if (m)
        file_map_let_go(m, t->v, tensor_bytes(t));
}

shape weights_shape(const weight *w)
{
    return w->turned ? shape_2(w->t.s.d[1], w->t.s.d[0]) : w->t.s;
}

status weights_expanded(arena *a, const weight *w, tensor *out)
{
    const int64_t n = shape_count(w->t.s);
    float        *v;

    TRY_TAKE(v, a, n);
    quant_expand(w->t.type, w->t.v, n, v);
    *out = (tensor){.s = w->t.s, .type = TYPE_F32, .v = v};
    return w->turned ? weights_turned(a, out, out) : STATUS_OK;
}

const gguf *weights_gguf(const weights *w)
{
    return w->is_gguf ? &w->files->container : NULL;
}
