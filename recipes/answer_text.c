/* answer_text: the tokens decoded as a whole each time, so that pieces add up to it */
#include "recipes/answer_text.h"

#include <string.h>

/* Bytes at the end that may be the beginning of a character: of one cut in the middle, or U+FFFD for such a one. */
static size_t unfinished(const char *text, size_t n)
{
    static const char replacement[] = "\xEF\xBF\xBD";
    size_t            at = n;

    while (at >= 3 && memcmp(text + at - 3, replacement, 3) == 0)
        at -= 3;
    for (size_t back = 1; back <= 3 && back <= at; back++) {
        const unsigned char c = (unsigned char)text[at - back];
        if (c >= 0xC0)
            return n - at + (back < (c >= 0xF0 ? 4U : c >= 0xE0 ? 3U : 2U) ? back : 0);
        if (c < 0x80)
            break;
    }
    return n - at;
}

/* Bytes at the end of a text that a stop string begins with. */
static size_t begun(const char *text, size_t n, const char *stop)
{
    const size_t length = strlen(stop);

    for (size_t k = length - 1 < n ? length - 1 : n; k > 0; k--)
        if (memcmp(text + n - k, stop, k) == 0)
            return k;
    return 0;
}

status answer_text_of(const session *s, arena *a, const int32_t *ids, int64_t n, const key_texts *stops,
                      answer_text *out)
{
    char *text;

    *out = (answer_text){0};
    TRY(session_decode(s, a, ids, n, &text, &out->length));
    out->text = text;
    for (int i = 0; i < stops->n; i++) {
        const char *at = memmem(text, out->length, stops->v[i], strlen(stops->v[i]));
        if (at)
            out->length = (size_t)(at - text);
        out->stopped |= at != NULL;
    }
    out->sure = out->length;
    if (out->stopped)
        return STATUS_OK;
    out->sure -= unfinished(text, out->length);
    const size_t whole = out->sure;
    for (int i = 0; i < stops->n; i++) {
        const size_t left = whole - begun(text, whole, stops->v[i]);
        out->sure = left < out->sure ? left : out->sure;
    }
    return STATUS_OK;
}
