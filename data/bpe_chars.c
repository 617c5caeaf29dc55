/* bpe_chars: the symbols of a piece in a BPE whose tokens are made of characters, not of stand-ins
 * for bytes.
 *
 * A character that is no token becomes the tokens of its bytes (byte fallback), else the unknown
 * token. Places are counted by the symbols' lengths, and an unknown waits for what comes next, as
 * the reference does; so behind bytes that follow an unknown the two stand in that order. */
#include "core/compiler.h"
#include "data/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

size_t bpe_chars_room(const bpe_model *b, size_t n)
{
    return n * (1 + b->n_prefix) + b->n_suffix;
}

typedef struct symbols {
    const bpe_model *b;
    bpe_symbol *v;
    size_t n;
    uint32_t at;
    uint32_t unknown; /* bytes of the unknown that waits */
    bool waits;
} symbols;

static void add(symbols *s, int32_t id, uint32_t n)
{
    s->v[s->n++] = (bpe_symbol){.id = id, .begin = s->at, .end = s->at + n};
    s->at += n;
}

static void flush(symbols *s)
{
    if (s->waits)
        add(s, s->b->unknown, s->unknown);
    s->waits = false;
}

static bool add_bytes(symbols *s, const char *text, size_t n)
{
    const int32_t *ids = s->b->byte_ids;

    if (!s->b->byte_fallback)
        return false;
    for (size_t i = 0; i < n; i++)
        if (ids[(uint8_t)text[i]] < 0)
            return false;
    for (size_t i = 0; i < n; i++)
        add(s, ids[(uint8_t)text[i]], 1);
    return true;
}

/* One character, with the prefix or suffix that its place asks for. */
static void add_character(const tokenizer *t, symbols *s, const char *text, size_t n,
                          uint32_t bytes)
{
    const int32_t id = vocabulary_find(&t->words, text, n);

    if (id >= 0) {
        flush(s);
        add(s, id, bytes);
    } else if (!add_bytes(s, text, n) && s->b->unknown >= 0) {
        if (s->waits && s->b->fuse_unknown) {
            s->unknown += bytes;
            return;
        }
        flush(s);
        s->waits = true;
        s->unknown = bytes;
    }
}

size_t bpe_chars_begin(const tokenizer *t, const char *piece, size_t n, bpe_symbol *v)
{
    const bpe_model *b = &t->bpe;
    symbols s = {.b = b, .v = v};
    char text[4 + 2 * BPE_AFFIX_MAX];

    for (size_t at = 0; at < n;) {
        const size_t begin = at;
        do
            at++;
        while (at < n && ((uint8_t)piece[at] & 0xC0) == 0x80);
        const bool before = begin > 0 && b->n_prefix, behind = at == n && b->n_suffix;
        if (!before && !behind) {
            add_character(t, &s, piece + begin, at - begin, (uint32_t)(at - begin));
            continue;
        }
        size_t k = 0;
        if (before)
            memcpy(text, b->prefix, k = b->n_prefix);
        memcpy(text + k, piece + begin, at - begin);
        k += at - begin;
        if (behind) {
            memcpy(text + k, b->suffix, b->n_suffix);
            k += b->n_suffix;
        }
        add_character(t, &s, text, k, (uint32_t)(at - begin));
    }
    flush(&s);
    return s.n;
}
