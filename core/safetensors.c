/* safetensors: the reader */
#include "core/safetensors.h"

#include "core/json.h"
#include "core/safetensors_types.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    SIZES_MAX = 64,                /* of a shape; more than SHAPE_MAX makes the tensor opaque */
    HEADER_MAX = 100 * 1000 * 1000 /* as in the reference implementation */
};

/* An entry while it is read. */
typedef struct place {
    size_t begin, end;
    int    entry;
} place;

/* JSON has no NUL, but core/json.h lets \u0000 through as C0 80, which UTF-8 cannot hold otherwise.
 */
static bool has_nul(const char *text)
{
    return strchr(text, (char)0xC0) != NULL;
}

static bool whole_number(const cJSON *item, int64_t *out)
{
    if (!cJSON_IsNumber(item))
        return false;

    const double v = item->valuedouble;
    if (!(v >= 0 && v <= 0x1p53) || v != floor(v))
        return false;
    *out = (int64_t)v;
    return true;
}

static status find_type(const cJSON *o, const char *what, const safetensors_type **out)
{
    const char *name;

    TRY(json_string(o, "dtype", true, &name, what));
    for (size_t i = 0; i < COUNT_OF(safetensors_types); i++)
        if (strcmp(safetensors_types[i].name, name) == 0) {
            *out = &safetensors_types[i];
            return STATUS_OK;
        }
    return fail(STATUS_FORMAT,
                "%s: dtype is %.40s, must be one of the format's (F32, BF16, F16 ...)", what, name);
}

/* Reads the shape; *values is its product. */
static status read_shape(const cJSON *o, const char *what, shape *s, int *sizes, int64_t *values)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(o, "shape"), *item;
    bool         fits = true;

    *s = (shape){0};
    *sizes = 0;
    *values = 1;
    if (!cJSON_IsArray(list))
        return fail(STATUS_FORMAT, "%s: shape is %s, must be a list of sizes", what,
                    list ? "no list" : "missing");
    cJSON_ArrayForEach(item, list)
    {
        int64_t d;
        if (!whole_number(item, &d))
            return fail(STATUS_FORMAT, "%s: shape[%d] must be a whole number 0..2^53", what,
                        *sizes);
        if (*sizes == SIZES_MAX)
            return fail(STATUS_FORMAT, "%s: shape has more than %d sizes", what, SIZES_MAX);
        if (*sizes < SHAPE_MAX)
            s->d[*sizes] = d;
        ++*sizes;
        fits = fits && !MUL_OVERFLOWS(*values, d, values);
    }
    s->n = *sizes <= SHAPE_MAX ? *sizes : 0;
    if (!fits)
        return fail(STATUS_FORMAT, "%s: the product of the shape is beyond 2^63", what);
    return STATUS_OK;
}

static status read_offsets(const cJSON *o, const char *what, size_t room, place *out)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(o, "data_offsets");
    int64_t      begin, end;

    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != 2 ||
        !whole_number(list->child, &begin) || !whole_number(list->child->next, &end))
        return fail(STATUS_FORMAT, "%s: data_offsets must be two whole numbers, begin and end",
                    what);
    if (begin > end || (uint64_t)end > room)
        return fail(STATUS_FORMAT,
                    "%s: data_offsets are %lld..%lld, must rise and lie in the %zu bytes "
                    "of data",
                    what, (long long)begin, (long long)end, room);
    out->begin = (size_t)begin;
    out->end = (size_t)end;
    return STATUS_OK;
}

static status read_entry(arena *a, const cJSON *o, const char *path, const uint8_t *data,
                         size_t room, safetensors_entry *e, place *at)
{
    const safetensors_type *type = NULL;
    const cJSON            *member;
    char                    what[512];
    int                     sizes;
    int64_t                 values, bits;
    shape                   s;

    if (!o->string[0] || has_nul(o->string))
        return fail(STATUS_FORMAT, "%s: a tensor's name is empty or holds NUL", path);
    if ((e->name = arena_string(a, o->string, strlen(o->string))) == NULL)
        return STATUS_MEMORY;
    snprintf(what, sizeof what, "%.300s: tensor %.150s", path, e->name);
    if (!cJSON_IsObject(o))
        return fail(STATUS_FORMAT, "%s: the entry must be an object", what);
    cJSON_ArrayForEach(member, o)
    {
        const char *key = member->string;
        if (strcmp(key, "dtype") != 0 && strcmp(key, "shape") != 0 &&
            strcmp(key, "data_offsets") != 0)
            return fail(STATUS_FORMAT, "%s: unknown key %.60s", what, key);
    }
    TRY(find_type(o, what, &type));
    TRY(read_shape(o, what, &s, &sizes, &values));
    TRY(read_offsets(o, what, room, at));
    if (MUL_OVERFLOWS(values, type->bits, &bits) || bits % 8 ||
        (uint64_t)bits / 8 != at->end - at->begin)
        return fail(STATUS_FORMAT,
                    "%s: %lld values of %s do not take the %zu bytes of data_offsets", what,
                    (long long)values, type->name, at->end - at->begin);

    e->type_name = type->name;
    e->opaque = type->type < 0 || sizes > SHAPE_MAX;
    e->many_sizes = sizes > SHAPE_MAX;
    e->v = data + at->begin;
    e->bytes = at->end - at->begin;
    e->t = (tensor){.s = s};
    if (!e->opaque)
        e->t = (tensor){.s = s, .type = (dtype)type->type, .v = (void *)(uintptr_t)e->v};
    return STATUS_OK;
}

static status read_metadata(arena *a, const cJSON *o, const char *path, safetensors *out)
{
    const cJSON *item;
    char         what[512];

    snprintf(what, sizeof what, "%.400s: __metadata__", path);
    if (!cJSON_IsObject(o))
        return fail(STATUS_FORMAT, "%s: must be an object of texts", what);
    TRY_TAKE(out->metadata, a, cJSON_GetArraySize(o));
    cJSON_ArrayForEach(item, o)
    {
        safetensors_pair *p = &out->metadata[out->n_metadata++];
        if (!cJSON_IsString(item))
            return fail(STATUS_FORMAT, "%s: %.80s must be text", what, item->string);
        if (has_nul(item->string))
            return fail(STATUS_FORMAT, "%s: a key holds NUL", what);
        TRY(json_text(a, item, &p->value, &p->length));
        p->key = arena_string(a, item->string, strlen(item->string));
        p->value = arena_string(a, p->value, p->length);
        if (!p->key || !p->value)
            return STATUS_MEMORY;
    }
    return STATUS_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const safetensors_entry *)a)->name, ((const safetensors_entry *)b)->name);
}

static int compare_places(const void *a, const void *b)
{
    const place *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* Tensors must tile the data. */
static status check_places(const safetensors *s, place *places, size_t room)
{
    const char *path = s->map.path;
    size_t      at = 0;

    qsort(places, (size_t)s->n, sizeof *places, compare_places);
    for (int i = 0; i < s->n; i++) {
        const char *name = s->e[places[i].entry].name;
        if (places[i].begin != at)
            return fail(STATUS_FORMAT,
                        "%s: tensor %.150s begins at byte %zu of the data, must begin at "
                        "%zu, where the one before it ends",
                        path, name, places[i].begin, at);
        at = places[i].end;
    }
    if (at != room)
        return fail(STATUS_FORMAT, "%s: the tensors end at byte %zu of the data, the file has %zu",
                    path, at, room);
    return STATUS_OK;
}

static status read_entries(arena *a, const cJSON *header, const uint8_t *data, size_t room,
                           safetensors *s)
{
    const char  *path = s->map.path;
    const cJSON *item;
    place       *places;

    if (!cJSON_IsObject(header))
        return fail(STATUS_FORMAT, "%s: the header must be a JSON object", path);
    const int n = cJSON_GetArraySize(header);
    TRY_TAKE(s->e, a, n);
    TRY_TAKE(places, a, n);
    cJSON_ArrayForEach(item, header)
    {
        if (strcmp(item->string, "__metadata__") == 0) {
            TRY(read_metadata(a, item, path, s));
            continue;
        }
        places[s->n].entry = s->n;
        TRY(read_entry(a, item, path, data, room, &s->e[s->n], &places[s->n]));
        s->n++;
    }
    TRY(check_places(s, places, room));
    qsort(s->e, (size_t)s->n, sizeof *s->e, compare_names);
    return STATUS_OK;
}

static status read_header(arena *a, safetensors *s)
{
    const file_map *m = &s->map;
    uint64_t        length;
    cJSON          *header;
    char            what[512];

    if (m->bytes < 8)
        return fail(STATUS_FORMAT, "%s: has %zu bytes, must begin with a header length of 8 bytes",
                    m->path, m->bytes);
    memcpy(&length, m->v, 8);
    if (length > m->bytes - 8 || length > HEADER_MAX)
        return fail(STATUS_FORMAT,
                    "%s: the header is said to have %llu bytes, %zu follow, %d are "
                    "allowed",
                    m->path, (unsigned long long)length, m->bytes - 8, HEADER_MAX);
    if (length == 0 || m->v[8] != '{')
        return fail(STATUS_FORMAT, "%s: the header must begin with '{'", m->path);

    snprintf(what, sizeof what, "%.400s: header", m->path);
    TRY(json_parse((const char *)m->v + 8, (size_t)length, what, &header));
    const status e = read_entries(a, header, m->v + 8 + length, m->bytes - 8 - (size_t)length, s);
    cJSON_Delete(header);
    return e;
}

status safetensors_open(arena *a, const char *path, safetensors *out)
{
    char *own = arena_string(a, path, strlen(path));

    *out = (safetensors){0};
    if (!own)
        return STATUS_MEMORY;
    TRY(file_map_open(&out->map, own));
    const status s = read_header(a, out);
    if (s != STATUS_OK)
        safetensors_close(out);
    return s;
}

void safetensors_close(safetensors *s)
{
    file_map_close(&s->map);
    *s = (safetensors){0};
}

const safetensors_entry *safetensors_find(const safetensors *s, const char *name)
{
    const safetensors_entry key = {.name = name};

    if (s->n == 0)
        return NULL;
    return bsearch(&key, s->e, (size_t)s->n, sizeof *s->e, compare_names);
}

const char *safetensors_metadata(const safetensors *s, const char *key)
{
    for (int i = 0; i < s->n_metadata; i++)
        if (strcmp(s->metadata[i].key, key) == 0)
            return s->metadata[i].value;
    return NULL;
}
