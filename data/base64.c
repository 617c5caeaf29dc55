/* base64: bytes written as text */
#include "data/base64.h"

static int digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

status base64_decode(arena *a, const char *text, size_t n, char **bytes, size_t *size)
{
    uint32_t bits = 0;
    size_t to = 0, pads = 0;

    if (n % 4 != 0)
        return fail(STATUS_FORMAT, "base64 text has %zu characters, must be a multiple of 4", n);
    while (pads < 2 && pads < n && text[n - 1 - pads] == '=')
        pads++;
    TRY_TAKE(*bytes, a, n / 4 * 3 + 1);
    for (size_t i = 0; i < n; i++) {
        const int d = i >= n - pads ? 0 : digit(text[i]);
        if (d < 0)
            return fail(STATUS_FORMAT, "base64 text has the byte %02X at %zu, which stands for nothing",
                        (unsigned)(uint8_t)text[i], i);
        bits = bits << 6 | (uint32_t)d;
        if (i % 4 == 3) {
            (*bytes)[to++] = (char)(bits >> 16);
            (*bytes)[to++] = (char)(bits >> 8);
            (*bytes)[to++] = (char)bits;
        }
    }
    *size = to - pads;
    return STATUS_OK;
}
