/* spm_normalize: the normaliser of SentencePiece itself: the longest entry of the charsmap at each
 * place, runs of blanks made one (where the model says so), U+2581 for blanks, and one put in
 * front. */
#include "core/utf8.h"
#include "data/tokenizer_parts.h"

#include <string.h>

static const char MARK[] = "\xE2\x96\x81";
enum { MARK_BYTES = 3 };

typedef struct writer {
    const text_view *in;
    aligned_text *out;
} writer;

/* n bytes that stand for the given [begin, end) of `in`. */
static status put(writer *w, const char *bytes, size_t n, size_t begin, size_t end)
{
    aligned_text *out = w->out;

    TRY(grow(&out->v, &out->room, out->n + n, 1));
    TRY(grow(&out->from, &out->room_from, out->n + n, sizeof *out->from));
    TRY(grow(&out->to, &out->room_to, out->n + n, sizeof *out->to));
    for (size_t i = 0; i < n; i++) {
        out->v[out->n] = bytes[i];
        out->from[out->n] = (uint32_t)view_from(w->in, begin);
        out->to[out->n++] = (uint32_t)view_to(w->in, end - 1);
    }
    return STATUS_OK;
}

/* What stands at `at` becomes (one entry or one character): its text, and the bytes it took. */
static const char *next(const normalizer *how, const text_view *in, size_t at, size_t *used,
                        size_t *n)
{
    const char *text = in->v + at, *value;
    const size_t left = in->n - at;
    uint32_t code;

    if ((uint8_t)*text < 0x80 && (!how->map || how->map->plain[(uint8_t)*text])) {
        *used = *n = 1;
        return text;
    }
    value = how->map ? charsmap_find(how->map, text, left, true, used, n) : NULL;
    if (value)
        return value;
    *used = *n = (size_t)utf8_next(in->v, in->n, at, &code);
    return text;
}

/* Text with its blanks as marks; those that follow a blank are left out when they are collapsed. */
static status put_marked(writer *w, const normalizer *how, const char *text, size_t n, size_t begin,
                         size_t end, bool *after_blank)
{
    while (*after_blank && n > 0 && *text == ' ')
        text++, n--;
    if (n == 0)
        return STATUS_OK;
    for (size_t i = 0; i < n; i++)
        TRY(put(w, text[i] == ' ' ? MARK : text + i, text[i] == ' ' ? MARK_BYTES : 1, begin, end));
    *after_blank = how->collapse && text[n - 1] == ' ';
    return STATUS_OK;
}

status normalize_pieces(const normalizer *how, const text_view *in, aligned_text *copy,
                        text_view *out)
{
    writer w = {in, copy};
    size_t at = 0, used, n;
    bool after_blank = how->collapse;

    copy->n = 0;
    *out = *in;
    while (how->collapse && at < in->n) { /* at the beginning they are left out first */
        const char *text = next(how, in, at, &used, &n);
        if (n != 1 || *text != ' ')
            break;
        at += used;
    }
    if (at == in->n) {
        *out = (text_view){.v = in->v, .base = in->base, .origin = in->origin};
        return STATUS_OK;
    }
    if (how->prefix && !how->at_end)
        TRY(put(&w, MARK, MARK_BYTES, at, at + 1));
    for (; at < in->n; at += used) {
        const char *text = next(how, in, at, &used, &n);
        TRY(put_marked(&w, how, text, n, at, at + used, &after_blank));
    }
    while (how->collapse && copy->n >= MARK_BYTES &&
           memcmp(copy->v + copy->n - MARK_BYTES, MARK, MARK_BYTES) == 0)
        copy->n -= MARK_BYTES;
    if (how->prefix && how->at_end)
        TRY(put(&w, MARK, MARK_BYTES, in->n - 1, in->n));
    *out = (text_view){copy->v, copy->n, copy->from, copy->to, in->base, in->origin};
    return STATUS_OK;
}
