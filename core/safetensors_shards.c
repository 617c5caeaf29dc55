/* safetensors: a trunk in one file, or in several with an index */
#include "core/json.h"
#include "core/safetensors.h"

#include <stdlib.h>
#include <string.h>

static const char index_name[] = "model.safetensors.index.json";

/* A shard: items order[first] .. order[first + n - 1]. */
typedef struct shard {
    const char *name;
    int         first, n;
} shard;

typedef struct split {
    arena                  *a;
    const safetensors_item *items;
    int                    *order; /* by name */
    int                     n, n_shards;
    shard                  *shards;
    int64_t                 bytes;
    const tensor_fill      *fill;
    int                     first; /* of the shard that is being written */
} split;

static int compare(const void *a, const void *b, void *items)
{
    const safetensors_item *v = items;

    return strcmp(v[*(const int *)a].name, v[*(const int *)b].name);
}

static status divide(split *s, int64_t limit)
{
    int64_t here = 0;

    TRY_TAKE(s->order, s->a, s->n);
    TRY_TAKE(s->shards, s->a, s->n + 1);
    for (int i = 0; i < s->n; i++)
        s->order[i] = i;
    qsort_r(s->order, (size_t)s->n, sizeof *s->order, compare, (void *)(uintptr_t)s->items);
    s->n_shards = 1;
    s->shards[0] = (shard){0};
    for (int i = 0; i < s->n; i++) {
        const int64_t bytes = (int64_t)tensor_bytes(&s->items[s->order[i]].t);
        if (here > 0 && bytes > limit - here) {
            s->shards[s->n_shards++] = (shard){.first = i};
            here = 0;
        }
        s->shards[s->n_shards - 1].n++;
        here += bytes;
        s->bytes += bytes;
    }
    for (int i = 0; i < s->n_shards; i++) {
        s->shards[i].name = s->n_shards == 1
                                ? "model.safetensors"
                                : arena_printf(s->a, "model-%05d-of-%05d.safetensors", i + 1, s->n_shards);
        if (!s->shards[i].name)
            return STATUS_MEMORY;
    }
    return STATUS_OK;
}

static status fill_item(void *context, int64_t item, const void **bytes)
{
    const split *s = context;

    return s->fill->run(s->fill->context, s->order[s->first + item], bytes);
}

static status write_shard(split *s, const char *folder, const shard *x)
{
    const safetensors_pair pair = {.key = "format", .value = "pt"};
    const tensor_fill      fill = {.run = fill_item, .context = s};
    const size_t           mark = arena_mark(s->a);
    const char            *path = path_join(s->a, folder, x->name);
    safetensors_item      *items;

    if (!path)
        return STATUS_MEMORY;
    TRY_TAKE(items, s->a, x->n);
    for (int i = 0; i < x->n; i++)
        items[i] = s->items[s->order[x->first + i]];
    s->first = x->first;
    TRY(safetensors_write_made(path, items, x->n, &pair, 1, s->fill ? &fill : NULL));
    arena_rewind(s->a, mark);
    return STATUS_OK;
}

static status write_index(const split *s, const char *folder)
{
    const char *path = path_join(s->a, folder, index_name);
    cJSON      *index = cJSON_CreateObject(), *about = cJSON_AddObjectToObject(index, "metadata"),
          *map = cJSON_AddObjectToObject(index, "weight_map");

    cJSON_AddNumberToObject(about, "total_size", (double)s->bytes);
    for (int i = 0; i < s->n_shards; i++)
        for (int k = 0; k < s->shards[i].n; k++)
            cJSON_AddStringToObject(map, s->items[s->order[s->shards[i].first + k]].name, s->shards[i].name);
    char        *text = cJSON_Print(index);
    const status e = text && path ? file_replace(path, text, strlen(text))
                                  : fail(STATUS_MEMORY, "%s: no memory for %s", folder, index_name);
    free(text);
    cJSON_Delete(index);
    return e;
}

static status write_all(split *s, const char *folder, int64_t limit)
{
    TRY(divide(s, limit));
    for (int i = 0; i < s->n_shards; i++)
        TRY(write_shard(s, folder, &s->shards[i]));
    return s->n_shards > 1 ? write_index(s, folder) : STATUS_OK;
}

status safetensors_write_shards(const char *folder, const safetensors_item *items, int n, int64_t limit,
                                const tensor_fill *fill, int *files)
{
    arena a = {0};
    split s = {.a = &a, .items = items, .n = n, .fill = fill};

    TRY(arena_open(&a, "shards", (size_t)1 << 30));
    const status e = write_all(&s, folder, limit);
    *files = s.n_shards;
    arena_close(&a);
    return e;
}
