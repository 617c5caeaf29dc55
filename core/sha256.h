/* sha256: digests of bytes and files, as 64 hex digits (FIPS 180-4, through libcrypto). */
#ifndef CORE_SHA256_H
#define CORE_SHA256_H

#include "core/status.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SHA256_HEX = 65 }; /* 64 digits and a NUL */

/* In pieces: open, add any number of times, close (which writes the digits; hex may be NULL when
 * nobody wants them). An opened one must be closed. */
typedef struct sha256 {
    void *context;
} sha256;

status sha256_open(sha256 *h);
void   sha256_add(sha256 *h, const void *bytes, size_t count);
void   sha256_close(sha256 *h, char hex[SHA256_HEX]);

/* All at once. */
status sha256_bytes(const void *bytes, size_t count, char hex[SHA256_HEX]);
status sha256_file(const char *path, char hex[SHA256_HEX]);

#ifdef __cplusplus
}
#endif
#endif
