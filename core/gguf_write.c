/* gguf_write: the list of metadata, the header, the data behind it */
#include "core/gguf_write.h"

#include "core/gguf_types.h"
#include "core/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { VERSION = 3, ALIGNMENT = 32, ALIGNMENT_MAX = 1 << 24, DIMENSIONS_MAX = 4 };

/* ---- metadata ------------------------------------------------------------------------------------ */

static gguf_value *place(gguf_meta *m, const char *key)
{
    for (int64_t i = 0; i < m->n; i++)
        if (strcmp(m->pairs[i].key, key) == 0)
            return &m->pairs[i].value;
    if (m->n == m->room) {
        const int64_t room = m->room ? 2 * m->room : 64;
        gguf_pair    *pairs = arena_take(m->a, (size_t)room, sizeof *pairs);
        if (!pairs)
            return NULL;
        if (m->n)
            memcpy(pairs, m->pairs, (size_t)m->n * sizeof *pairs);
        m->pairs = pairs;
        m->room = room;
    }
    m->pairs[m->n].key = arena_string(m->a, key, strlen(key));
    return m->pairs[m->n].key ? &m->pairs[m->n++].value : NULL;
}

void gguf_put(gguf_meta *m, const char *key, const gguf_value *value)
{
    gguf_value *to = m->error == STATUS_OK ? place(m, key) : NULL;

    if (to)
        *to = *value;
    else
        m->error = STATUS_MEMORY;
}

/* The same with a copy of the bytes. */
static void put_copy(gguf_meta *m, const char *key, gguf_value value, const void *from)
{
    if (m->error != STATUS_OK)
        return;
    value.v = arena_copy(m->a, value.bytes ? from : "", value.bytes);
    if (value.v)
        gguf_put(m, key, &value);
    else
        m->error = STATUS_MEMORY;
}

void gguf_put_plain(gguf_meta *m, const char *key, gguf_kind kind, const void *value)
{
    CHECK(gguf_kind_bytes(kind) > 0);
    put_copy(m, key, (gguf_value){.kind = kind, .bytes = gguf_kind_bytes(kind)}, value);
}

void gguf_put_u32(gguf_meta *m, const char *key, uint32_t value)
{
    gguf_put_plain(m, key, GGUF_U32, &value);
}

void gguf_put_f32(gguf_meta *m, const char *key, float value)
{
    gguf_put_plain(m, key, GGUF_F32, &value);
}

void gguf_put_bool(gguf_meta *m, const char *key, bool value)
{
    gguf_put_plain(m, key, GGUF_BOOL, &(uint8_t){value});
}

void gguf_put_text(gguf_meta *m, const char *key, const char *text, size_t n)
{
    put_copy(m, key, (gguf_value){.kind = GGUF_TEXT, .n = n, .bytes = n}, text);
}

void gguf_put_string(gguf_meta *m, const char *key, const char *text)
{
    gguf_put_text(m, key, text, strlen(text));
}

void gguf_put_array(gguf_meta *m, const char *key, gguf_kind of, const void *items, uint64_t n)
{
    CHECK(gguf_kind_bytes(of) > 0);
    put_copy(m, key,
             (gguf_value){.kind = GGUF_ARRAY, .of = of, .n = n, .bytes = (size_t)n * gguf_kind_bytes(of)},
             items);
}

void gguf_put_texts(gguf_meta *m, const char *key, const gguf_text *texts, uint64_t n)
{
    gguf_value v = {.kind = GGUF_ARRAY, .of = GGUF_TEXT, .n = n};
    uint8_t   *to;

    for (uint64_t i = 0; i < n; i++)
        v.bytes += 8 + texts[i].n;
    if (m->error != STATUS_OK)
        return;
    v.v = to = arena_take(m->a, v.bytes, 1);
    if (!to) {
        m->error = STATUS_MEMORY;
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t length = texts[i].n;
        memcpy(to, &length, 8);
        memcpy(to + 8, texts[i].v, texts[i].n);
        to += 8 + texts[i].n;
    }
    gguf_put(m, key, &v);
}

const gguf_value *gguf_meta_find(const gguf_meta *m, const char *key)
{
    for (int64_t i = 0; i < m->n; i++)
        if (strcmp(m->pairs[i].key, key) == 0)
            return &m->pairs[i].value;
    return NULL;
}

/* ---- what may be written ------------------------------------------------------------------------- */

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static status check_name(const char *path, const char *what, const char *name)
{
    size_t bad;

    if (!name[0])
        return fail(STATUS_FORMAT, "%s: %s is empty", path, what);
    if (!utf8_valid(name, strlen(name), &bad))
        return fail(STATUS_FORMAT, "%s: %s \"%.100s\" is not valid UTF-8", path, what, name);
    return STATUS_OK;
}

static status check_once(const char *path, const char *what, const char **names, int64_t n)
{
    qsort(names, (size_t)n, sizeof *names, compare_texts);
    for (int64_t i = 1; i < n; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return fail(STATUS_FORMAT, "%s: %s %.200s occurs twice", path, what, names[i]);
    return STATUS_OK;
}

static status check_pairs(arena *a, const char *path, const gguf_meta *m)
{
    const char **names;

    TRY_TAKE(names, a, m->n);
    for (int64_t i = 0; i < m->n; i++) {
        const gguf_value *v = &m->pairs[i].value;
        const bool        bools = v->kind == GGUF_BOOL || (v->kind == GGUF_ARRAY && v->of == GGUF_BOOL);

        names[i] = m->pairs[i].key;
        TRY(check_name(path, "a metadata key", names[i]));
        for (size_t k = 0; bools && k < v->bytes; k++)
            if (v->v[k] > 1)
                return fail(STATUS_FORMAT, "%s: %s holds a bool of %d, must be 0 or 1", path, names[i],
                            v->v[k]);
    }
    return check_once(path, "the metadata key", names, m->n);
}

/* The file's number of a type, or -1. */
static int type_number(dtype t)
{
    for (size_t i = 0; i < COUNT_OF(gguf_types); i++)
        if (gguf_types[i].type == (int)t)
            return (int)gguf_types[i].number;
    return -1;
}

static status check_item(const char *path, const gguf_item *x)
{
    const shape s = x->t.s;

    TRY(check_name(path, "a tensor's name", x->name));
    if (type_number(x->t.type) < 0)
        return fail(STATUS_UNSUPPORTED, "%s: tensor %.200s is %s, which the format cannot hold", path,
                    x->name, dtype_name(x->t.type));
    if (s.n < 1 || s.n > DIMENSIONS_MAX)
        return fail(STATUS_UNSUPPORTED, "%s: tensor %.200s has %d sizes, the format has 1..%d", path, x->name,
                    s.n, DIMENSIONS_MAX);
    for (int d = 0; d < s.n; d++)
        if (s.d[d] < 1)
            return fail(STATUS_SHAPE, "%s: tensor %.200s is %s; the format has no empty tensors", path,
                        x->name, shape_text(s));
    if (dtype_row_bytes(x->t.type, shape_last(s)) < 0)
        return fail(STATUS_SHAPE, "%s: tensor %.200s: rows of %lld, must be whole blocks of %lld (%s)", path,
                    x->name, (long long)shape_last(s), (long long)dtype_block(x->t.type),
                    dtype_name(x->t.type));
    return STATUS_OK;
}

static status check_items(arena *a, const char *path, const gguf_item *items, int64_t n)
{
    const char **names;

    TRY_TAKE(names, a, n);
    for (int64_t i = 0; i < n; i++) {
        names[i] = items[i].name;
        TRY(check_item(path, &items[i]));
    }
    return check_once(path, "the tensor", names, n);
}

static status find_alignment(const char *path, const gguf_meta *m, uint64_t *out)
{
    const gguf_value *v = gguf_meta_find(m, "general.alignment");
    uint32_t          alignment = ALIGNMENT;

    if (v && v->kind != GGUF_U32)
        return fail(STATUS_FORMAT, "%s: general.alignment must be a u32", path);
    if (v)
        memcpy(&alignment, v->v, sizeof alignment);
    if (alignment < 8 || alignment > ALIGNMENT_MAX || (alignment & (alignment - 1)))
        return fail(STATUS_FORMAT, "%s: general.alignment is %u, must be a power of two, 8..%d", path,
                    alignment, ALIGNMENT_MAX);
    *out = alignment;
    return STATUS_OK;
}

/* ---- the bytes ----------------------------------------------------------------------------------- */

static void write_u32(file_writer *w, uint32_t v)
{
    file_write(w, &v, sizeof v);
}

static void write_u64(file_writer *w, uint64_t v)
{
    file_write(w, &v, sizeof v);
}

static size_t write_name(file_writer *w, const char *name)
{
    const size_t n = strlen(name);

    write_u64(w, n);
    file_write(w, name, n);
    return 8 + n;
}

/* Writes a pair; returns its bytes. */
static size_t write_pair(file_writer *w, const gguf_pair *p)
{
    const gguf_value *v = &p->value;
    size_t            n = write_name(w, p->key) + 4 + v->bytes;

    write_u32(w, v->kind);
    if (v->kind == GGUF_ARRAY) {
        write_u32(w, v->of);
        n += 4;
    }
    if (v->kind == GGUF_ARRAY || v->kind == GGUF_TEXT) {
        write_u64(w, v->n);
        n += 8;
    }
    file_write(w, v->v, v->bytes);
    return n;
}

static size_t write_info(file_writer *w, const gguf_item *x, uint64_t offset)
{
    const size_t n = write_name(w, x->name);

    write_u32(w, (uint32_t)x->t.s.n);
    for (int d = x->t.s.n; d > 0; d--)
        write_u64(w, (uint64_t)x->t.s.d[d - 1]);
    write_u32(w, (uint32_t)type_number(x->t.type));
    write_u64(w, offset);
    return n + 4 + 8 * (size_t)x->t.s.n + 4 + 8;
}

static void pad(file_writer *w, uint64_t bytes, uint64_t alignment)
{
    static const uint8_t zeros[4096] = {0};
    uint64_t             left = (alignment - bytes % alignment) % alignment;

    for (; left > sizeof zeros; left -= sizeof zeros)
        file_write(w, zeros, sizeof zeros);
    file_write(w, zeros, (size_t)left);
}

static status write_data(file_writer *w, const gguf_item *items, int64_t n, const tensor_fill *fill,
                         uint64_t alignment)
{
    for (int64_t i = 0; i < n && w->error == STATUS_OK; i++) {
        const void *bytes = items[i].t.v;
        if (fill)
            TRY_IN(fill->run(fill->context, i, &bytes), "in tensor %.200s", items[i].name);
        file_write(w, bytes, tensor_bytes(&items[i].t));
        pad(w, tensor_bytes(&items[i].t), alignment);
    }
    return STATUS_OK;
}

static status write_all(arena *a, const char *path, const gguf_meta *m, const gguf_item *items, int64_t n,
                        const tensor_fill *fill)
{
    file_writer w;
    uint64_t    alignment = ALIGNMENT, offset = 0;
    size_t      header = 4 + 4 + 8 + 8;
    char        text[1024];

    TRY(find_alignment(path, m, &alignment));
    TRY(check_pairs(a, path, m));
    TRY(check_items(a, path, items, n));
    TRY(file_writer_open(&w, path));
    file_write(&w, "GGUF", 4);
    write_u32(&w, VERSION);
    write_u64(&w, (uint64_t)n);
    write_u64(&w, (uint64_t)m->n);
    for (int64_t i = 0; i < m->n; i++)
        header += write_pair(&w, &m->pairs[i]);
    for (int64_t i = 0; i < n; i++) {
        header += write_info(&w, &items[i], offset);
        offset += (tensor_bytes(&items[i].t) + alignment - 1) / alignment * alignment;
    }
    pad(&w, header, alignment);
    const status s = write_data(&w, items, n, fill, alignment);
    if (s == STATUS_OK)
        return file_writer_close(&w, true);
    snprintf(text, sizeof text, "%s", status_text());
    file_writer_close(&w, false);
    return fail(s, "%s", text);
}

status gguf_write(const char *path, const gguf_meta *m, const gguf_item *items, int64_t n,
                  const tensor_fill *fill)
{
    arena a = {0};

    if (m->error != STATUS_OK)
        return fail(m->error, "%s: no memory for its metadata", path);
    TRY(arena_open(&a, "gguf header", (size_t)1 << 30));
    const status s = write_all(&a, path, m, items, n, fill);
    arena_close(&a);
    return s;
}
