/* protobuf: stepping through the fields of a message in the wire format of Protocol Buffers.
 *
 * The bytes are the world's: every length is checked against what is left before it is used. */
#ifndef DATA_PROTOBUF_H
#define DATA_PROTOBUF_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum protobuf_kind {
    PROTOBUF_VARINT = 0,
    PROTOBUF_64 = 1,
    PROTOBUF_BYTES = 2, /* texts, bytes, messages within */
    PROTOBUF_32 = 5
} protobuf_kind;

typedef struct protobuf {
    const char *what; /* the file, for messages */
    const uint8_t *file, *at, *end; /* file: its first byte, so that messages can say where */
} protobuf;

typedef struct protobuf_field {
    uint32_t number;
    protobuf_kind kind;
    uint64_t value;   /* VARINT, 64, 32 */
    const uint8_t *v; /* BYTES: n of them */
    size_t n;
} protobuf_field;

/* The next field; *more false at the end of the message. */
status protobuf_next(protobuf *p, protobuf_field *f, bool *more);

/* The message inside a field of kind BYTES. */
protobuf protobuf_inside(const protobuf *p, const protobuf_field *f);

/* Fails unless the field is of this kind. name: of the field, for the message. */
status protobuf_need(const protobuf *p, const protobuf_field *f, protobuf_kind kind,
                     const char *name);

/* The float of a field of kind 32. */
float protobuf_float(const protobuf_field *f);

#ifdef __cplusplus
}
#endif
#endif
