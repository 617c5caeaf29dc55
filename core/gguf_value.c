/* gguf: typed access to metadata */
#include "core/gguf.h"

#include <string.h>

static const char *const kind_names[GGUF_KINDS] = {
    "a u8",   "an i8", "a u16",    "an i16", "a u32",  "an i32", "an f32",
    "a bool", "text",  "an array", "a u64",  "an i64", "an f64"};

size_t gguf_kind_bytes(gguf_kind kind)
{
    static const uint8_t bytes[GGUF_KINDS] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,  [GGUF_U16] = 2, [GGUF_I16] = 2,
        [GGUF_U32] = 4, [GGUF_I32] = 4, [GGUF_F32] = 4, [GGUF_BOOL] = 1,
        [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8};

    return bytes[kind];
}

static bool is_whole(gguf_kind kind)
{
    return kind <= GGUF_I32 || kind == GGUF_U64 || kind == GGUF_I64;
}

static bool is_signed(gguf_kind kind)
{
    return kind == GGUF_I8 || kind == GGUF_I16 || kind == GGUF_I32 || kind == GGUF_I64;
}

/* The value's bits, zero or sign extended to 64. */
static uint64_t bits(const gguf_value *v)
{
    const size_t n = gguf_kind_bytes(v->kind);
    uint64_t     u = 0;

    memcpy(&u, v->v, n);
    if (is_signed(v->kind) && n < 8 && u >> (8 * n - 1))
        u |= ~(uint64_t)0 << (8 * n);
    return u;
}

bool gguf_as_int(const gguf_value *v, int64_t *out)
{
    if (!is_whole(v->kind) || (v->kind == GGUF_U64 && bits(v) > INT64_MAX))
        return false;
    *out = (int64_t)bits(v);
    return true;
}

bool gguf_as_u64(const gguf_value *v, uint64_t *out)
{
    if (!is_whole(v->kind) || (is_signed(v->kind) && (int64_t)bits(v) < 0))
        return false;
    *out = bits(v);
    return true;
}

bool gguf_as_double(const gguf_value *v, double *out)
{
    float f;

    if (v->kind == GGUF_F64) {
        memcpy(out, v->v, sizeof *out);
        return true;
    }
    if (v->kind != GGUF_F32)
        return false;
    memcpy(&f, v->v, sizeof f);
    *out = f;
    return true;
}

bool gguf_as_bool(const gguf_value *v, bool *out)
{
    if (v->kind != GGUF_BOOL || v->v[0] > 1)
        return false;
    *out = v->v[0] == 1;
    return true;
}

bool gguf_as_text(const gguf_value *v, gguf_text *out)
{
    if (v->kind != GGUF_TEXT)
        return false;
    *out = (gguf_text){(const char *)v->v, (size_t)v->n};
    return true;
}

/* The item that begins at p, and the bytes it takes. Lengths were checked when the file was opened.
 */
static size_t item_at(const uint8_t *p, gguf_kind kind, gguf_value *out)
{
    uint32_t of;

    *out = (gguf_value){.kind = kind, .v = p, .bytes = gguf_kind_bytes(kind)};
    if (kind == GGUF_TEXT) {
        memcpy(&out->n, p, 8);
        out->v = p + 8;
        out->bytes = (size_t)out->n;
        return 8 + out->bytes;
    }
    if (kind != GGUF_ARRAY)
        return out->bytes;

    memcpy(&of, p, 4);
    memcpy(&out->n, p + 4, 8);
    out->of = (gguf_kind)of;
    out->v = p + 12;
    if (gguf_kind_bytes(out->of))
        out->bytes = (size_t)out->n * gguf_kind_bytes(out->of);
    else
        for (uint64_t i = 0; i < out->n; i++) {
            gguf_value item;
            out->bytes += item_at(out->v + out->bytes, out->of, &item);
        }
    out->v = p + 12;
    return 12 + out->bytes;
}

bool gguf_next(const gguf_value *array, const uint8_t **at, gguf_value *item)
{
    CHECK(array->kind == GGUF_ARRAY);
    if (!*at)
        *at = array->v;
    if (*at >= array->v + array->bytes)
        return false;
    *at += item_at(*at, array->of, item);
    return true;
}

/* The value of a key, NULL when it is absent and need not be there. */
static status lookup(const gguf *g, const char *key, bool need, const char *kind,
                     const gguf_value **out)
{
    *out = gguf_find(g, key);
    if (!*out && need)
        return fail(STATUS_FORMAT, "%s: %s is missing, must be %s", g->map.path, key, kind);
    return STATUS_OK;
}

static status wrong(const gguf *g, const char *key, const gguf_value *v, const char *kind)
{
    const bool array = v->kind == GGUF_ARRAY;

    return fail(STATUS_FORMAT, "%s: %s is %s%s%s, must be %s", g->map.path, key,
                kind_names[v->kind], array ? " of " : "", array ? kind_names[v->of] : "", kind);
}

status gguf_int(const gguf *g, const char *key, bool need, int64_t lo, int64_t hi, int64_t *out)
{
    const char       *kind = "a whole number";
    const gguf_value *v;
    int64_t           n;

    TRY(lookup(g, key, need, kind, &v));
    if (!v)
        return STATUS_OK;
    if (!is_whole(v->kind))
        return wrong(g, key, v, kind);
    if (!gguf_as_int(v, &n))
        n = INT64_MAX;
    if (n < lo || n > hi)
        return fail(STATUS_FORMAT, "%s: %s is %lld, must be %lld..%lld", g->map.path, key,
                    (long long)n, (long long)lo, (long long)hi);
    *out = n;
    return STATUS_OK;
}

status gguf_double(const gguf *g, const char *key, bool need, double *out)
{
    const gguf_value *v;

    TRY(lookup(g, key, need, "a real number", &v));
    if (v && !gguf_as_double(v, out))
        return wrong(g, key, v, "a real number");
    return STATUS_OK;
}

status gguf_bool(const gguf *g, const char *key, bool need, bool *out)
{
    const gguf_value *v;

    TRY(lookup(g, key, need, "a bool", &v));
    if (v && !gguf_as_bool(v, out))
        return wrong(g, key, v, "a bool of 0 or 1");
    return STATUS_OK;
}

status gguf_string(arena *a, const gguf *g, const char *key, bool need, const char **out)
{
    const gguf_value *v;
    gguf_text         t;

    TRY(lookup(g, key, need, "text", &v));
    if (!v)
        return STATUS_OK;
    if (!gguf_as_text(v, &t))
        return wrong(g, key, v, "text");
    if (memchr(t.v, '\0', t.n))
        return fail(STATUS_FORMAT, "%s: %s holds a NUL byte", g->map.path, key);
    *out = arena_string(a, t.v, t.n);
    return *out ? STATUS_OK : STATUS_MEMORY;
}

/* An array whose items are of a wanted kind; *n is 0 when it is absent. */
static status lookup_array(const gguf *g, const char *key, bool need, const char *kind,
                           bool (*wanted)(gguf_kind of), const gguf_value **out, int64_t *n)
{
    *n = 0;
    TRY(lookup(g, key, need, kind, out));
    if (!*out)
        return STATUS_OK;
    if ((*out)->kind != GGUF_ARRAY || !wanted((*out)->of))
        return wrong(g, key, *out, kind);
    *n = (int64_t)(*out)->n;
    return STATUS_OK;
}

static bool is_text(gguf_kind of)
{
    return of == GGUF_TEXT;
}

static bool is_f32(gguf_kind of)
{
    return of == GGUF_F32;
}

status gguf_texts(arena *a, const gguf *g, const char *key, bool need, gguf_text **out, int64_t *n)
{
    const gguf_value *v;
    const uint8_t    *at = NULL;
    gguf_value        item;
    gguf_text        *to;

    TRY(lookup_array(g, key, need, "an array of texts", is_text, &v, n));
    TRY_TAKE(to, a, *n);
    *out = to;
    while (v && gguf_next(v, &at, &item))
        *to++ = (gguf_text){(const char *)item.v, (size_t)item.n};
    return STATUS_OK;
}

status gguf_ints(arena *a, const gguf *g, const char *key, bool need, int64_t **out, int64_t *n)
{
    const gguf_value *v;
    const uint8_t    *at = NULL;
    gguf_value        item;
    int64_t          *to;

    TRY(lookup_array(g, key, need, "an array of whole numbers", is_whole, &v, n));
    TRY_TAKE(to, a, *n);
    *out = to;
    while (v && gguf_next(v, &at, &item))
        if (!gguf_as_int(&item, to++))
            return fail(STATUS_FORMAT, "%s: %s holds a number beyond 2^63 - 1", g->map.path, key);
    return STATUS_OK;
}

status gguf_floats(arena *a, const gguf *g, const char *key, bool need, float **out, int64_t *n)
{
    const gguf_value *v;

    TRY(lookup_array(g, key, need, "an array of f32", is_f32, &v, n));
    TRY_TAKE(*out, a, *n);
    if (v)
        memcpy(*out, v->v, (size_t)*n * sizeof **out);
    return STATUS_OK;
}
