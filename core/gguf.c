/* gguf: the header, checked as it is read; then the tensors' places */
#include "core/gguf.h"

#include "core/gguf_types.h"
#include "core/utf8.h"

#include <stdlib.h>
#include <string.h>

enum {
    DEPTH_MAX = 8, /* arrays inside each other */
    DIMENSIONS_MAX = 4,
    PAIR_BYTES = 8 + 1 + 4 + 1, /* the shortest entries: they bound the counts */
    TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8,
    ALIGNMENT_MAX = 1 << 24
};

typedef struct reader {
    const char    *path;
    const uint8_t *v;
    size_t         at, bytes;
} reader;

static size_t left(const reader *r)
{
    return r->bytes - r->at;
}

static status need(const reader *r, uint64_t bytes, const char *what)
{
    if (bytes > left(r))
        return fail(STATUS_FORMAT,
                    "%s: ends inside %s: at byte %zu, %llu more must be there, %zu are", r->path,
                    what, r->at, (unsigned long long)bytes, left(r));
    return STATUS_OK;
}

static status read_u32(reader *r, const char *what, uint32_t *out)
{
    TRY(need(r, 4, what));
    memcpy(out, r->v + r->at, 4);
    r->at += 4;
    return STATUS_OK;
}

static status read_u64(reader *r, const char *what, uint64_t *out)
{
    TRY(need(r, 8, what));
    memcpy(out, r->v + r->at, 8);
    r->at += 8;
    return STATUS_OK;
}

static status read_text(reader *r, const char *what, gguf_text *out)
{
    uint64_t n;

    TRY(read_u64(r, what, &n));
    TRY(need(r, n, what));
    *out = (gguf_text){(const char *)r->v + r->at, (size_t)n};
    r->at += (size_t)n;
    return STATUS_OK;
}

/* A key or tensor name, copied with a NUL. */
static status read_name(arena *a, reader *r, const char *what, const char **out)
{
    const size_t at = r->at;
    gguf_text    t;
    size_t       bad;

    TRY(read_text(r, what, &t));
    if (t.n == 0)
        return fail(STATUS_FORMAT, "%s: %s at byte %zu is empty", r->path, what, at);
    if (memchr(t.v, '\0', t.n) || !utf8_valid(t.v, t.n, &bad))
        return fail(STATUS_FORMAT, "%s: %s at byte %zu is not UTF-8 without NUL", r->path, what,
                    at);
    *out = arena_string(a, t.v, t.n);
    return *out ? STATUS_OK : STATUS_MEMORY;
}

static status read_kind(reader *r, const char *what, gguf_kind *out)
{
    uint32_t kind;

    TRY(read_u32(r, what, &kind));
    if (kind >= GGUF_KINDS)
        return fail(STATUS_FORMAT, "%s: %s is %u, must be 0..%d (at byte %zu)", r->path, what, kind,
                    GGUF_KINDS - 1, r->at - 4);
    *out = (gguf_kind)kind;
    return STATUS_OK;
}

static status read_value(reader *r, gguf_kind kind, int depth, gguf_value *out);

static status read_array(reader *r, int depth, gguf_value *out)
{
    uint64_t bytes;

    if (depth > DEPTH_MAX)
        return fail(STATUS_FORMAT, "%s: arrays inside arrays deeper than %d levels (at byte %zu)",
                    r->path, DEPTH_MAX, r->at);
    TRY(read_kind(r, "the kind of an array's items", &out->of));
    TRY(read_u64(r, "an array's length", &out->n));
    out->v = r->v + r->at;
    if (gguf_kind_bytes(out->of)) {
        if (MUL_OVERFLOWS(out->n, gguf_kind_bytes(out->of), &bytes))
            return fail(STATUS_FORMAT, "%s: an array of %llu items is larger than the file",
                        r->path, (unsigned long long)out->n);
        TRY(need(r, bytes, "an array"));
        r->at += (size_t)bytes;
        return STATUS_OK;
    }
    const size_t least = out->of == GGUF_TEXT ? 8 : 12;
    if (out->n > left(r) / least)
        return fail(STATUS_FORMAT,
                    "%s: an array of %llu items has only %zu bytes left (at byte %zu)", r->path,
                    (unsigned long long)out->n, left(r), r->at);
    for (uint64_t i = 0; i < out->n; i++) {
        gguf_value item;
        TRY(read_value(r, out->of, depth + 1, &item));
    }
    return STATUS_OK;
}

static status read_value(reader *r, gguf_kind kind, int depth, gguf_value *out)
{
    gguf_text text;

    *out = (gguf_value){.kind = kind, .v = r->v + r->at};
    if (kind == GGUF_ARRAY)
        TRY(read_array(r, depth, out));
    else if (kind == GGUF_TEXT) {
        TRY(read_text(r, "a text", &text));
        out->v = (const uint8_t *)text.v;
        out->n = text.n;
    } else {
        TRY(need(r, gguf_kind_bytes(kind), "a value"));
        r->at += gguf_kind_bytes(kind);
    }
    out->bytes = (size_t)(r->v + r->at - out->v);
    return STATUS_OK;
}

static status read_pairs(arena *a, reader *r, gguf *g, uint64_t n)
{
    if (n > left(r) / PAIR_BYTES)
        return fail(STATUS_FORMAT, "%s: says %llu metadata entries, %zu bytes are left for them",
                    r->path, (unsigned long long)n, left(r));
    g->n_pairs = (int64_t)n;
    TRY_TAKE(g->pairs, a, n);
    for (uint64_t i = 0; i < n; i++) {
        gguf_pair *p = &g->pairs[i];
        gguf_kind  kind;

        TRY(read_name(a, r, "a metadata key", &p->key));
        TRY_IN(read_kind(r, "a value's kind", &kind), "in %.200s", p->key);
        TRY_IN(read_value(r, kind, 1, &p->value), "in %.200s", p->key);
    }
    return STATUS_OK;
}

static status read_type(const reader *r, const char *name, uint32_t number, dtype *out)
{
    const gguf_type *t = NULL;

    for (size_t i = 0; i < COUNT_OF(gguf_types); i++)
        if (gguf_types[i].number == number)
            t = &gguf_types[i];
    if (!t)
        return fail(STATUS_FORMAT, "%s: tensor %.200s has type %u, which the format does not know",
                    r->path, name, number);
    if (t->type < 0)
        return fail(STATUS_UNSUPPORTED,
                    "%s: tensor %.200s is stored as %s, which is not handled; f32, f16, bf16, f64, "
                    "q4_0..q8_0, q2_k..q6_k, iq4_nl, iq4_xs and mxfp4 are",
                    r->path, name, t->name);
    *out = (dtype)t->type;
    return STATUS_OK;
}

static status read_tensor(arena *a, reader *r, gguf_tensor *out)
{
    uint32_t n, type;
    int64_t  values = 1;

    TRY(read_name(a, r, "a tensor's name", &out->name));
    TRY(read_u32(r, "a tensor's number of dimensions", &n));
    if (n < 1 || n > DIMENSIONS_MAX)
        return fail(STATUS_FORMAT, "%s: tensor %.200s has %u dimensions, must have 1..%d", r->path,
                    out->name, n, DIMENSIONS_MAX);
    out->t = (tensor){.s.n = (int)n};
    for (uint32_t i = 0; i < n; i++) {
        uint64_t d;
        TRY(read_u64(r, "a tensor's dimensions", &d));
        if (d == 0 || d > INT64_MAX || MUL_OVERFLOWS(values, (int64_t)d, &values))
            return fail(STATUS_FORMAT,
                        "%s: tensor %.200s: dimension %u is %llu, must be 1..2^63-1 "
                        "with a product below 2^63",
                        r->path, out->name, i, (unsigned long long)d);
        out->t.s.d[n - 1 - i] = (int64_t)d;
    }
    TRY(read_u32(r, "a tensor's type", &type));
    TRY(read_type(r, out->name, type, &out->t.type));
    return read_u64(r, "a tensor's offset", &out->offset);
}

static status read_tensors(arena *a, reader *r, gguf *g, uint64_t n)
{
    if (n > left(r) / TENSOR_BYTES)
        return fail(STATUS_FORMAT, "%s: says %llu tensors, %zu bytes are left for their entries",
                    r->path, (unsigned long long)n, left(r));
    g->n_tensors = (int64_t)n;
    TRY_TAKE(g->tensors, a, n);
    for (uint64_t i = 0; i < n; i++)
        TRY(read_tensor(a, r, &g->tensors[i]));
    return STATUS_OK;
}

static int compare_keys(const void *a, const void *b, void *pairs)
{
    const gguf_pair *p = pairs;

    return strcmp(p[*(const int64_t *)a].key, p[*(const int64_t *)b].key);
}

static int compare_names(const void *a, const void *b, void *tensors)
{
    const gguf_tensor *t = tensors;

    return strcmp(t[*(const int64_t *)a].name, t[*(const int64_t *)b].name);
}

static int compare_offsets(const void *a, const void *b, void *tensors)
{
    const gguf_tensor *t = tensors;
    const uint64_t     x = t[*(const int64_t *)a].offset, y = t[*(const int64_t *)b].offset;

    return (x > y) - (x < y);
}

static status sorted(arena *a, int64_t n, void *table,
                     int (*compare)(const void *a, const void *b, void *table), int64_t **out)
{
    TRY_TAKE(*out, a, n);
    for (int64_t i = 0; i < n; i++)
        (*out)[i] = i;
    qsort_r(*out, (size_t)n, sizeof **out, compare, table);
    return STATUS_OK;
}

static status index_names(arena *a, gguf *g)
{
    TRY(sorted(a, g->n_pairs, g->pairs, compare_keys, &g->by_key));
    for (int64_t i = 1; i < g->n_pairs; i++)
        if (compare_keys(&g->by_key[i - 1], &g->by_key[i], g->pairs) == 0)
            return fail(STATUS_FORMAT, "%s: the key %.200s occurs twice", g->map.path,
                        g->pairs[g->by_key[i]].key);
    TRY(sorted(a, g->n_tensors, g->tensors, compare_names, &g->by_name));
    for (int64_t i = 1; i < g->n_tensors; i++)
        if (compare_names(&g->by_name[i - 1], &g->by_name[i], g->tensors) == 0)
            return fail(STATUS_FORMAT, "%s: the tensor %.200s occurs twice", g->map.path,
                        g->tensors[g->by_name[i]].name);
    return STATUS_OK;
}

static status read_alignment(gguf *g)
{
    const gguf_value *v = gguf_find(g, "general.alignment");
    uint32_t          alignment;

    g->alignment = 32;
    if (!v)
        return STATUS_OK;
    if (v->kind != GGUF_U32)
        return fail(STATUS_FORMAT, "%s: general.alignment has kind %d, must be a u32", g->map.path,
                    v->kind);
    memcpy(&alignment, v->v, sizeof alignment);
    if (alignment < 8 || alignment > ALIGNMENT_MAX || (alignment & (alignment - 1)))
        return fail(STATUS_FORMAT, "%s: general.alignment is %u, must be a power of two, 8..%d",
                    g->map.path, alignment, ALIGNMENT_MAX);
    g->alignment = alignment;
    return STATUS_OK;
}

/* Checks where a tensor lies and points it there. */
static status place_tensor(const gguf *g, size_t data, gguf_tensor *t)
{
    const char   *path = g->map.path;
    const int64_t row = dtype_row_bytes(t->t.type, shape_last(t->t.s));
    const size_t  room = data < g->map.bytes ? g->map.bytes - data : 0;
    int64_t       bytes;

    if (row < 0)
        return fail(STATUS_FORMAT,
                    "%s: tensor %.200s: rows of %lld, must be whole blocks of %lld (%s)", path,
                    t->name, (long long)shape_last(t->t.s), (long long)dtype_block(t->t.type),
                    dtype_name(t->t.type));
    if (MUL_OVERFLOWS(row, shape_rows(t->t.s), &bytes))
        return fail(STATUS_FORMAT, "%s: tensor %.200s: %s values of %s are larger than the file",
                    path, t->name, shape_text(t->t.s), dtype_name(t->t.type));
    if (t->offset % g->alignment)
        return fail(STATUS_FORMAT, "%s: tensor %.200s: offset is %llu, must be a multiple of %llu",
                    path, t->name, (unsigned long long)t->offset, (unsigned long long)g->alignment);
    if (t->offset > room || (uint64_t)bytes > room - t->offset)
        return fail(STATUS_FORMAT,
                    "%s: tensor %.200s: %lld bytes at offset %llu, the file has %zu bytes of data",
                    path, t->name, (long long)bytes, (unsigned long long)t->offset, room);
    t->t.v = (void *)(uintptr_t)(g->map.v + data + t->offset);
    return STATUS_OK;
}

static status place_tensors(arena *a, gguf *g, size_t header)
{
    const size_t mark = arena_mark(a);
    const size_t data = (header + g->alignment - 1) / g->alignment * g->alignment;
    int64_t     *order;

    for (int64_t i = 0; i < g->n_tensors; i++)
        TRY(place_tensor(g, data, &g->tensors[i]));
    TRY(sorted(a, g->n_tensors, g->tensors, compare_offsets, &order));
    for (int64_t i = 1; i < g->n_tensors; i++) {
        const gguf_tensor *one = &g->tensors[order[i - 1]], *next = &g->tensors[order[i]];
        if (one->offset + tensor_bytes(&one->t) > next->offset)
            return fail(STATUS_FORMAT, "%s: tensors %.200s and %.200s share bytes from offset %llu",
                        g->map.path, one->name, next->name, (unsigned long long)next->offset);
    }
    arena_rewind(a, mark);
    return STATUS_OK;
}

static status read_header(arena *a, gguf *g)
{
    reader   r = {.path = g->map.path, .v = g->map.v, .bytes = g->map.bytes};
    uint64_t n_tensors, n_pairs;

    TRY(need(&r, 4, "the magic \"GGUF\""));
    if (memcmp(r.v, "GGUF", 4) != 0)
        return fail(STATUS_FORMAT, "%s: begins with %02x %02x %02x %02x, must begin with \"GGUF\"",
                    r.path, r.v[0], r.v[1], r.v[2], r.v[3]);
    r.at = 4;
    TRY(read_u32(&r, "the version", &g->version));
    if (g->version != 2 && g->version != 3)
        return fail(STATUS_FORMAT, "%s: version is %u, must be 2 or 3%s", r.path, g->version,
                    g->version && g->version % (1 << 24) == 0 ? " (big-endian files are not read)"
                                                              : "");
    TRY(read_u64(&r, "the number of tensors", &n_tensors));
    TRY(read_u64(&r, "the number of metadata entries", &n_pairs));
    TRY(read_pairs(a, &r, g, n_pairs));
    TRY(read_tensors(a, &r, g, n_tensors));
    TRY(index_names(a, g));
    TRY(read_alignment(g));
    return place_tensors(a, g, r.at);
}

status gguf_open(arena *a, const char *path, gguf *out)
{
    char *own = arena_string(a, path, strlen(path));

    *out = (gguf){0};
    if (!own)
        return STATUS_MEMORY;
    TRY(file_map_open(&out->map, own));
    const status s = read_header(a, out);
    if (s != STATUS_OK)
        gguf_close(out);
    return s;
}

void gguf_close(gguf *g)
{
    file_map_close(&g->map);
    *g = (gguf){0};
}

/* Index in a table sorted by name; names lie `stride` bytes apart. */
static int64_t search(const char *name, const int64_t *order, int64_t n, const void *table,
                      size_t stride)
{
    int64_t lo = 0, hi = n;

    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        const char   *at;
        memcpy(&at, (const char *)table + (size_t)order[mid] * stride, sizeof at);
        const int c = strcmp(name, at);
        if (c == 0)
            return order[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return -1;
}

const gguf_value *gguf_find(const gguf *g, const char *key)
{
    const int64_t i = search(key, g->by_key, g->n_pairs, g->pairs, sizeof *g->pairs);

    return i < 0 ? NULL : &g->pairs[i].value;
}

const gguf_tensor *gguf_find_tensor(const gguf *g, const char *name)
{
    const int64_t i = search(name, g->by_name, g->n_tensors, g->tensors, sizeof *g->tensors);

    return i < 0 ? NULL : &g->tensors[i];
}
