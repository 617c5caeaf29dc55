/* with_png: chunks and their checksums */
#include "tests/with_png.h"

#include <string.h>

static uint32_t crc(const uint8_t *v, size_t n)
{
    uint32_t c = 0xFFFFFFFFu;

    for (size_t i = 0; i < n; i++) {
        c ^= v[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0xEDB88320u : 0);
    }
    return ~c;
}

static size_t put_u32(uint8_t *out, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(v >> (24 - 8 * i));
    return 4;
}

static uint32_t get_u32(const uint8_t *v)
{
    return (uint32_t)v[0] << 24 | (uint32_t)v[1] << 16 | (uint32_t)v[2] << 8 | v[3];
}

static size_t put_chunk(uint8_t *out, const char *name, const void *v, size_t n)
{
    put_u32(out, (uint32_t)n);
    memcpy(out + 4, name, 4);
    if (n)
        memcpy(out + 8, v, n);
    put_u32(out + 8 + n, crc(out + 4, n + 4));
    return n + 12;
}

/* One block that is stored as it is, and Adler's checksum. */
static size_t deflate_stored(const uint8_t *v, size_t n, uint8_t *out)
{
    uint32_t a = 1, b = 0;

    for (size_t i = 0; i < n; i++) {
        a = (a + v[i]) % 65521;
        b = (b + a) % 65521;
    }
    const uint8_t head[] = {0x78, 0x01, 1, (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)~n, (uint8_t)(~n >> 8)};
    memcpy(out, head, sizeof head);
    memcpy(out + sizeof head, v, n);
    put_u32(out + sizeof head + n, b << 16 | a);
    return sizeof head + n + 4;
}

size_t png_test_write(const png_test *p, uint8_t out[PNG_TEST_MAX])
{
    static uint8_t packed[PNG_TEST_MAX];
    uint8_t        head[13] = {0};
    size_t         n = 8;

    put_u32(head, p->width);
    put_u32(head + 4, p->height);
    head[8] = (uint8_t)p->depth;
    head[9] = (uint8_t)p->kind;
    head[12] = (uint8_t)p->interlaced;
    memcpy(out, "\x89PNG\r\n\x1a\n", 8);
    n += put_chunk(out + n, "IHDR", head, sizeof head);
    if (p->n_palette)
        n += put_chunk(out + n, "PLTE", p->palette, (size_t)p->n_palette * 3);
    if (p->n_clear)
        n += put_chunk(out + n, "tRNS", p->clear, (size_t)p->n_clear);
    n += put_chunk(out + n, "IDAT", packed, deflate_stored(p->rows, p->n_rows, packed));
    return n + put_chunk(out + n, "IEND", NULL, 0);
}

void png_test_sums(uint8_t *v, size_t n)
{
    for (size_t at = 8; at + 12 <= n;) {
        const size_t length = get_u32(v + at);

        if (length > n - at - 12)
            return;
        put_u32(v + at + 8 + length, crc(v + at + 4, length + 4));
        at += length + 12;
    }
}
