/* protobuf: stepping through the fields of a message */
#include "data/protobuf.h"

#include <string.h>

static status varint(protobuf *p, uint64_t *out)
{
    const uint8_t *begin = p->at;

    *out = 0;
    for (int bits = 0; p->at < p->end && bits < 64; bits += 7) {
        const uint8_t byte = *p->at++;
        *out |= (uint64_t)(byte & 0x7F) << bits;
        if (byte < 0x80)
            return STATUS_OK;
    }
    return fail(STATUS_FORMAT, "%s: the number at byte %zu %s", p->what, (size_t)(begin - p->file),
                p->at == p->end ? "is cut off" : "has more than 10 bytes");
}

static status take(protobuf *p, uint64_t n, protobuf_field *f)
{
    if (n > (uint64_t)(p->end - p->at))
        return fail(STATUS_FORMAT,
                    "%s: field %u at byte %zu has %llu bytes, its message has %zu left", p->what,
                    f->number, (size_t)(p->at - p->file), (unsigned long long)n,
                    (size_t)(p->end - p->at));
    f->v = p->at;
    f->n = (size_t)n;
    p->at += n;
    return STATUS_OK;
}

status protobuf_next(protobuf *p, protobuf_field *f, bool *more)
{
    const size_t at = (size_t)(p->at - p->file);
    uint64_t key, n;

    *f = (protobuf_field){0};
    *more = p->at < p->end;
    if (!*more)
        return STATUS_OK;
    TRY(varint(p, &key));
    if (key >> 3 == 0 || key >> 3 > 0x1FFFFFFF)
        return fail(STATUS_FORMAT, "%s: field %llu at byte %zu, must be 1..536870911", p->what,
                    (unsigned long long)(key >> 3), at);
    f->number = (uint32_t)(key >> 3);
    f->kind = (protobuf_kind)(key & 7);
    switch (f->kind) {
    case PROTOBUF_VARINT:
        return varint(p, &f->value);
    case PROTOBUF_64:
    case PROTOBUF_32:
        TRY(take(p, f->kind == PROTOBUF_64 ? 8 : 4, f));
        memcpy(&f->value, f->v, f->n);
        return STATUS_OK;
    case PROTOBUF_BYTES:
        TRY(varint(p, &n));
        return take(p, n, f);
    }
    return fail(STATUS_FORMAT, "%s: field %u at byte %zu is of kind %d, must be 0, 1, 2 or 5",
                p->what, f->number, at, (int)f->kind);
}

protobuf protobuf_inside(const protobuf *p, const protobuf_field *f)
{
    return (protobuf){p->what, p->file, f->v, f->v + f->n};
}

status protobuf_need(const protobuf *p, const protobuf_field *f, protobuf_kind kind,
                     const char *name)
{
    return f->kind == kind
               ? STATUS_OK
               : fail(STATUS_FORMAT, "%s: %s before byte %zu is of kind %d, must be %d", p->what,
                      name, (size_t)(p->at - p->file), (int)f->kind, (int)kind);
}

float protobuf_float(const protobuf_field *f)
{
    const uint32_t bits = (uint32_t)f->value;
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}
