/* byte_level: GPT-2's printable stand-ins for bytes.
 *
 * The 188 bytes that are printable Latin-1 stand for themselves; the other 68, in order, are
 * U+0100 .. U+0143. */
#include "core/utf8.h"
#include "data/tokenizer_parts.h"

static bool printable(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

uint32_t byte_stand_in(uint8_t byte)
{
    if (printable(byte))
        return byte;
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte <= 0xA0)
        return 0x121u + byte - 0x7F;
    return 0x143;
}

int byte_of_stand_in(uint32_t code)
{
    if (code < 0x100)
        return printable(code) ? (int)code : -1;
    if (code <= 0x120)
        return (int)code - 0x100;
    if (code <= 0x142)
        return (int)code - 0x121 + 0x7F;
    return code == 0x143 ? 0xAD : -1;
}

size_t byte_stand_ins(const char *text, size_t n, char *out)
{
    char *p = out;

    for (size_t i = 0; i < n; i++)
        p += utf8_put(byte_stand_in((uint8_t)text[i]), p);
    return (size_t)(p - out);
}
