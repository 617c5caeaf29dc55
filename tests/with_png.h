/* with_png: PNG files for tests, without compression */
#ifndef TESTS_WITH_PNG_H
#define TESTS_WITH_PNG_H

#include <stddef.h>
#include <stdint.h>

enum { PNG_TEST_MAX = 1 << 16 };

typedef struct png_test {
    uint32_t    width, height;
    int         depth, kind; /* kind: 0 grey, 2 colours, 3 palette, 4 grey and alpha, 6 colours and alpha */
    int         interlaced;
    const void *palette;     /* [n_palette, 3] */
    int         n_palette;
    const void *clear;       /* bytes of tRNS */
    int         n_clear;
    const void *rows;        /* each with a filter's number (0) before it, as deflate would pack them */
    size_t      n_rows;      /* bytes of it, below 65536 */
} png_test;

/* Writes the file's bytes; returns how many. */
size_t png_test_write(const png_test *p, uint8_t out[PNG_TEST_MAX]);

/* Sets the checksums of all chunks to what they must be. */
void png_test_sums(uint8_t *v, size_t n);

#endif
