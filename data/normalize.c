/* normalize: NFC with the origin of every byte.
 *
 * Each run from a character below U+0300 (those never join anything before them) up to the next one
 * is decomposed, put in canonical order and composed again. A character carries a `change` on the
 * way: +1 when decomposition inserted it, -k when composition swallowed k others. Origins follow
 * the reference: characters are matched with the given ones in order, an inserted one has the range
 * of the one before, a composed one has the range of the first it was made of. */
#include "core/utf8.h"
#include "data/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

typedef struct nchar {
    utf8proc_int32_t code;
    int32_t change;
    int32_t class;
} nchar;

enum { DECOMPOSED_MAX = 32 };

bool normalize_is_plain(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)text[i] >= 0xCC) /* first byte of U+0300 */
            return false;
    return true;
}

/* Characters with a class or a decomposition that came after Unicode 9. The reference's tables end
 * there, so checkpoints know them as characters that stay where and what they are. */
static const uint32_t later[][2] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
    {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},
    {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10D24, 0x10D27},
    {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85},
    {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x11930, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47},
    {0x11A99, 0x11A99}, {0x11D42, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42},
    {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE},
    {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}};

static bool is_later(uint32_t code)
{
    size_t lo = 0, hi = COUNT_OF(later);

    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        if (code > later[mid][1])
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < COUNT_OF(later) && code >= later[lo][0];
}

/* Stable sort of each run of characters with a class other than 0: insertion for short runs,
 * counting by class for long ones. */
static status order(nchar *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t end = i;
        while (end < n && v[end].class != 0)
            end++;
        if (end - i > 32) {
            size_t at[257] = {0};
            nchar *copy = malloc((end - i) * sizeof *copy);
            if (!copy)
                return fail(STATUS_MEMORY, "tokenizer: no memory to order %zu marks", end - i);
            memcpy(copy, v + i, (end - i) * sizeof *copy);
            for (size_t k = 0; k < end - i; k++)
                at[copy[k].class + 1]++;
            for (int c = 0; c < 256; c++)
                at[c + 1] += at[c];
            for (size_t k = 0; k < end - i; k++)
                v[i + at[copy[k].class]++] = copy[k];
            free(copy);
        } else
            for (size_t k = i + 1; k < end; k++) {
                const nchar c = v[k];
                size_t to = k;
                for (; to > i && v[to - 1].class > c.class; to--)
                    v[to] = v[to - 1];
                v[to] = c;
            }
        i = end;
    }
    return STATUS_OK;
}

static bool compose_pair(utf8proc_int32_t a, utf8proc_int32_t b, utf8proc_int32_t *out)
{
    utf8proc_int32_t pair[2] = {a, b};

    if (is_later((uint32_t)a) || is_later((uint32_t)b))
        return false;
    if (b == 0x11A7) /* no trailing consonant, but utf8proc takes it for one */
        return false;
    if (utf8proc_normalize_utf32(pair, 2, UTF8PROC_COMPOSE | UTF8PROC_STABLE) != 1)
        return false;
    *out = pair[0];
    return true;
}

static size_t compose(nchar *v, size_t n)
{
    size_t to = 0, starter = SIZE_MAX;
    int last = -1; /* class of the last character that stayed behind the starter */

    for (size_t i = 0; i < n; i++) {
        utf8proc_int32_t code;
        if (starter != SIZE_MAX && last < v[i].class && (last < 0 || v[i].class > 0) &&
            compose_pair(v[starter].code, v[i].code, &code)) {
            v[starter].code = code;
            v[starter].change += v[i].change - 1;
            continue;
        }
        v[to] = v[i];
        if (v[i].class == 0) {
            starter = to;
            last = -1;
        } else
            last = v[i].class;
        to++;
    }
    return to;
}

static status put(aligned_text *out, const char *bytes, size_t n, size_t from, size_t to)
{
    TRY(grow(&out->v, &out->room, out->n + n, 1));
    TRY(grow(&out->from, &out->room_from, out->n + n, sizeof *out->from));
    TRY(grow(&out->to, &out->room_to, out->n + n, sizeof *out->to));
    memcpy(out->v + out->n, bytes, n);
    for (size_t i = out->n; i < out->n + n; i++) {
        out->from[i] = (uint32_t)from;
        out->to[i] = (uint32_t)to;
    }
    out->n += n;
    return STATUS_OK;
}

/* Writes composed characters; at walks through the given characters. */
static status write_run(aligned_text *out, const nchar *v, size_t n, const char *text, size_t at,
                        size_t end, size_t base)
{
    size_t last = at, behind = at; /* the given character that was used last */

    for (size_t i = 0; i < n; i++) {
        char bytes[4];
        size_t from = last, to = behind;
        for (int32_t k = v[i].change; k <= 0 && at < end; k++) {
            last = at++;
            while (at < end && ((uint8_t)text[at] & 0xC0) == 0x80)
                at++;
            behind = at;
            if (k == v[i].change) {
                from = last;
                to = behind;
            }
        }
        const int size = utf8_put((uint32_t)v[i].code, bytes);
        TRY(put(out, bytes, (size_t)size, base + from, base + to));
    }
    return STATUS_OK;
}

static status run(tokenizer_work *w, const char *text, size_t begin, size_t end, size_t base,
                  aligned_text *out)
{
    size_t n = 0;

    for (size_t at = begin; at < end;) {
        uint32_t code;
        utf8proc_int32_t parts[DECOMPOSED_MAX];
        int ignored = 0;
        at += (size_t)utf8_next(text, end, at, &code);
        const bool keep = is_later(code);
        parts[0] = (utf8proc_int32_t)code;
        const utf8proc_ssize_t k =
            keep ? 1
                 : utf8proc_decompose_char((utf8proc_int32_t)code, parts, DECOMPOSED_MAX,
                                           UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &ignored);
        CHECK(k >= 1 && k <= DECOMPOSED_MAX);
        TRY(grow(&w->scratch[0], &w->room_scratch[0], n + (size_t)k, sizeof(nchar)));
        nchar *v = w->scratch[0];
        for (utf8proc_ssize_t i = 0; i < k; i++)
            v[n++] = (nchar){parts[i], i > 0,
                             keep ? 0 : utf8proc_get_property(parts[i])->combining_class};
    }
    TRY(order(w->scratch[0], n));
    n = compose(w->scratch[0], n);
    return write_run(out, w->scratch[0], n, text, begin, end, base);
}

status normalize_nfc(tokenizer_work *w, const char *text, size_t n, size_t base, aligned_text *out)
{
    out->n = 0;
    for (size_t begin = 0; begin < n;) {
        size_t end = begin;
        do
            end++;
        while (end < n && ((uint8_t)text[end] >= 0xCC || ((uint8_t)text[end] & 0xC0) == 0x80));
        if (normalize_is_plain(text + begin, end - begin))
            TRY(put(out, text + begin, end - begin, base + begin, base + end));
        else
            TRY(run(w, text, begin, end, base, out));
        begin = end;
    }
    return STATUS_OK;
}
