/* decode: ids back to text */
#include "core/utf8.h"
#include "data/tokenizer_parts.h"

#include <string.h>

/* Length of the longest start of a character at p[0, n) that is not one: what one U+FFFD replaces.
 */
static size_t bad_bytes(const uint8_t *p, size_t n)
{
    const uint8_t first = p[0];
    const size_t want = first >= 0xC2 && first <= 0xDF   ? 2
                        : first >= 0xE0 && first <= 0xEF ? 3
                        : first >= 0xF0 && first <= 0xF4 ? 4
                                                         : 1;
    const uint8_t lo = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const uint8_t hi = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;

    if (want == 1 || n < 2 || p[1] < lo || p[1] > hi)
        return 1;
    size_t k = 2;
    while (k < want && k < n && (p[k] & 0xC0) == 0x80)
        k++;
    return k;
}

/* Text with every wrong byte sequence replaced by U+FFFD. */
static status make_valid(arena *a, const char *bytes, size_t n, char **text, size_t *length)
{
    char *out = arena_take(a, n + 1, 3); /* one byte may become three */
    size_t to = 0;

    if (!out)
        return STATUS_MEMORY;
    for (size_t at = 0; at < n;) {
        uint32_t code;
        const int k = utf8_next(bytes, n, at, &code);
        if (k > 0) {
            memcpy(out + to, bytes + at, (size_t)k);
            to += (size_t)k;
            at += (size_t)k;
        } else {
            memcpy(out + to, "\xEF\xBF\xBD", 3);
            to += 3;
            at += bad_bytes((const uint8_t *)bytes + at, n - at);
        }
    }
    out[to] = '\0';
    *text = out;
    *length = to;
    return STATUS_OK;
}

/* A byte-level token's bytes; a token with a character that stands for no byte is taken as it is.
 */
static size_t token_bytes(const char *word, size_t n, char *out)
{
    size_t to = 0;

    for (size_t at = 0; at < n;) {
        uint32_t code = 0;
        const int k = utf8_next(word, n, at, &code), byte = k > 0 ? byte_of_stand_in(code) : -1;
        if (byte < 0) {
            memcpy(out, word, n);
            return n;
        }
        out[to++] = (char)byte;
        at += (size_t)k;
    }
    return to;
}

status tokenizer_decode(const tokenizer *t, arena *a, const int32_t *ids, int64_t n,
                        bool skip_special, char **text, size_t *length)
{
    const vocabulary *words = &t->words;
    size_t bytes = 1, to = 0, bad;
    bool any = false;
    char *out;

    for (int64_t i = 0; i < n; i++)
        if (vocabulary_has(words, ids[i]))
            bytes += words->length[ids[i]] + 1u;
    TRY_TAKE(out, a, bytes);
    for (int64_t i = 0; i < n; i++) {
        if (!vocabulary_has(words, ids[i]) || (skip_special && t->added.special[ids[i]]))
            continue;
        const char *word = words->bytes + words->at[ids[i]];
        const size_t size = words->length[ids[i]];
        if (t->decoder == DECODE_BYTES) {
            to += token_bytes(word, size, out + to);
            continue;
        }
        if (any)
            out[to++] = ' ';
        memcpy(out + to, word, size);
        to += size;
        any = true;
    }
    out[to] = '\0';
    *text = out;
    *length = to;
    return utf8_valid(out, to, &bad) ? STATUS_OK : make_valid(a, out, to, text, length);
}
