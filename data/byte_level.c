/* byte_level: GPT-2's printable stand-ins for bytes, and two classes of characters.
 *
 * The 188 bytes that are printable Latin-1 stand for themselves; the other 68, in order, are
 * U+0100 .. U+0143. */
#include "core/utf8.h"
#include "data/tokenizer_parts.h"

#include <utf8proc.h>

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

bool unicode_is_space(uint32_t code)
{
    return (code >= 9 && code <= 13) || code == 0x20 || code == 0x85 || code == 0xA0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

/* Alphabetic, M, Nd, Pc and the two joiners. Of the symbols, only circled and squared letters are
 * alphabetic. */
bool unicode_is_word(uint32_t code)
{
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return code == 0x200C || code == 0x200D || (code >= 0x24B6 && code <= 0x24E9) ||
               (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
               (code >= 0x1F170 && code <= 0x1F189);
    }
}
