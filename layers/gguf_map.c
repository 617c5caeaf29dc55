/* gguf_map: looking up names, and moving rows */
#include "layers/gguf_map.h"

#include <stdio.h>
#include <string.h>

#define MAP(family) extern const gguf_map gguf_map_##family;
#include "layers/gguf_maps.def"
#undef MAP

static const gguf_map *const maps[] = {
#define MAP(family) &gguf_map_##family,
#include "layers/gguf_maps.def"
#undef MAP
};

const gguf_map *gguf_map_of(const char *architecture)
{
    for (size_t i = 0; i < COUNT_OF(maps); i++)
        if (strcmp(maps[i]->architecture, architecture) == 0)
            return maps[i];
    return NULL;
}

const gguf_map *gguf_map_of_model(const char *model_type)
{
    for (size_t i = 0; i < COUNT_OF(maps); i++)
        if (strcmp(maps[i]->model_type, model_type) == 0)
            return maps[i];
    return NULL;
}

const char *gguf_map_names(arena *a)
{
    const char *names = maps[0]->architecture;

    for (size_t i = 1; names && i < COUNT_OF(maps); i++)
        names =
            arena_printf(a, "%s%s%s", names, i + 1 == COUNT_OF(maps) ? " or " : ", ", maps[i]->architecture);
    return names ? names : "";
}

/* "12.attn_q.weight" -> 12 and "attn_q.weight"; NULL when it is not of that form. Leading zeros are not
 * accepted, so that two names never mean one tensor. */
static const char *split_number(const char *p, int64_t *number)
{
    int64_t n = 0;

    if (*p < '0' || *p > '9' || (*p == '0' && p[1] != '.'))
        return NULL;
    for (; *p >= '0' && *p <= '9'; p++) {
        n = n * 10 + (*p - '0');
        if (n > INT32_MAX)
            return NULL;
    }
    *number = n;
    return *p == '.' ? p + 1 : NULL;
}

static const gguf_role *find(const gguf_role *roles, int n, const char *name, bool by_checkpoint)
{
    for (int i = 0; i < n; i++)
        if (strcmp(by_checkpoint ? roles[i].checkpoint : roles[i].gguf, name) == 0)
            return &roles[i];
    return NULL;
}

int64_t gguf_map_heads(const gguf_map *map, const gguf_role *role, const gguf_sizes *s)
{
    return !map->permutes ? 0 : role->stored == 'q' ? s->heads : role->stored == 'k' ? s->kv_heads : 0;
}

static status name_of(arena *a, const gguf_map *map, const char *checkpoint, const gguf_role **role, const char **out)
{
    const size_t n = strlen(map->blocks);
    const char  *below = NULL;
    int64_t      number = 0;

    *role = find(map->whole, map->n_whole, checkpoint, true);
    *out = *role ? (*role)->gguf : NULL;
    if (*role)
        return STATUS_OK;
    if (strncmp(checkpoint, map->blocks, n) == 0)
        below = split_number(checkpoint + n, &number);
    *role = below ? find(map->block, map->n_block, below, true) : NULL;
    if (!*role)
        return STATUS_OK;
    *out = arena_printf(a, "blk.%lld.%s", (long long)number, (*role)->gguf);
    return *out ? STATUS_OK : STATUS_MEMORY;
}

status gguf_map_name(arena *a, const gguf_map *map, const char *checkpoint, const gguf_role **role,
                     const char **out)
{
    const char *full;

    TRY(name_of(a, map, checkpoint, role, out));
    if (*role || !map->prefix || strncmp(checkpoint, map->prefix, strlen(map->prefix)) == 0)
        return STATUS_OK;
    full = arena_printf(a, "%s%s", map->prefix, checkpoint);
    return full ? name_of(a, map, full, role, out) : STATUS_MEMORY;
}

status gguf_map_checkpoint(arena *a, const gguf_map *map, const char *name, const gguf_role **role,
                           int64_t *number, const char **out)
{
    const char *below = NULL;

    *number = -1;
    *role = find(map->whole, map->n_whole, name, false);
    *out = *role ? (*role)->checkpoint : NULL;
    if (*role)
        return STATUS_OK;
    if (strncmp(name, "blk.", 4) == 0)
        below = split_number(name + 4, number);
    *role = below ? find(map->block, map->n_block, below, false) : NULL;
    if (!*role)
        return STATUS_OK;
    *out = arena_printf(a, "%s%lld.%s", map->blocks, (long long)*number, (*role)->checkpoint);
    return *out ? STATUS_OK : STATUS_MEMORY;
}

void gguf_permute(const void *from, void *to, int64_t heads, int64_t D, size_t row, bool into_file)
{
    const uint8_t *v = from;
    uint8_t       *out = to;

    for (int64_t h = 0; h < heads; h++)
        for (int64_t i = 0; i < D / 2; i++)
            for (int64_t side = 0; side < 2; side++) {
                const size_t checkpoint = (size_t)(h * D + side * (D / 2) + i) * row,
                             file = (size_t)(h * D + 2 * i + side) * row;
                memcpy(out + (into_file ? file : checkpoint), v + (into_file ? checkpoint : file), row);
            }
}
