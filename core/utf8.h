/* utf8: checking and stepping through UTF-8 */
#ifndef CORE_UTF8_H
#define CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Decodes the code point at text[at]; returns its bytes (1..4), or 0 when the bytes there are not
 * valid UTF-8 (overlong, surrogate, beyond U+10FFFF, cut off). */
int utf8_next(const char *text, size_t length, size_t at, uint32_t *code);

/* Encodes a code point; returns its bytes. */
int utf8_put(uint32_t code, char out[4]);

/* True when all of it is valid UTF-8; otherwise *bad is the offset of the first bad byte. */
bool utf8_valid(const char *text, size_t length, size_t *bad);

#ifdef __cplusplus
}
#endif
#endif
