/* base64: bytes written as text (RFC 4648, with padding) */
#ifndef DATA_BASE64_H
#define DATA_BASE64_H

#include "core/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The n characters as bytes in the arena. Anything else than whole groups of four is refused. */
status base64_decode(arena *a, const char *text, size_t n, char **bytes, size_t *size);

#ifdef __cplusplus
}
#endif
#endif
