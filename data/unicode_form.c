/* unicode_form: NFC, NFD, NFKC and NFKD with the origin of every byte.
 *
 * Each run from a character below U+0300 (those never join anything before them) up to the next one
 * is decomposed, put in canonical order and, for the C forms, composed again. A character carries a
 * `change` on the way, as a rewriter wants it: +1 when decomposition inserted it, -k when
 * composition swallowed k others. */
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

/* The same for compatibility decompositions. */
static const uint32_t later_compatible[][2] = {
    {0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},   {0xAB69, 0xAB69},   {0x10781, 0x10785},
    {0x10787, 0x107B0}, {0x107B2, 0x107BA}, {0x1E030, 0x1E06D}, {0x1F16C, 0x1F16C},
    {0x1FBF0, 0x1FBF9}};

static bool within(const uint32_t (*r)[2], size_t n, uint32_t code)
{
    size_t lo = 0, hi = n;

    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        if (code > r[mid][1])
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && code >= r[lo][0];
}

static bool is_later(uint32_t code)
{
    return within(later, COUNT_OF(later), code);
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

/* Characters [begin, end) of the text, a run. */
static status run(tokenizer_work *w, rewriter *r, bool compatible, bool composed, size_t end)
{
    const int options =
        UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (compatible ? UTF8PROC_COMPAT : 0);
    size_t n = 0;

    for (size_t at = r->at; at < end;) {
        uint32_t code;
        utf8proc_int32_t parts[DECOMPOSED_MAX];
        int ignored = 0;
        at += (size_t)utf8_next(r->in.v, end, at, &code);
        const bool keep = is_later(code);
        const bool whole =
            keep || (compatible && within(later_compatible, COUNT_OF(later_compatible), code));
        parts[0] = (utf8proc_int32_t)code;
        const utf8proc_ssize_t k =
            whole ? 1
                  : utf8proc_decompose_char((utf8proc_int32_t)code, parts, DECOMPOSED_MAX, options,
                                            &ignored);
        CHECK(k >= 1 && k <= DECOMPOSED_MAX);
        TRY(grow(&w->scratch[0], &w->room_scratch[0], (n + (size_t)k) * sizeof(nchar), 1));
        nchar *v = w->scratch[0];
        for (utf8proc_ssize_t i = 0; i < k; i++)
            v[n++] = (nchar){parts[i], i > 0,
                             keep ? 0 : utf8proc_get_property(parts[i])->combining_class};
    }
    TRY(order(w->scratch[0], n));
    const nchar *v = w->scratch[0];
    if (composed)
        n = compose(w->scratch[0], n);
    for (size_t i = 0; i < n; i++)
        TRY(rewrite_put(r, (uint32_t)v[i].code, v[i].change));
    return STATUS_OK;
}

status normalize_form(tokenizer_work *w, normalizer_kind form, const text_view *in,
                      aligned_text *copy, text_view *out, bool *changed)
{
    const bool composed = form == NORMALIZE_NFC || form == NORMALIZE_NFKC;
    const bool compatible = form == NORMALIZE_NFKC || form == NORMALIZE_NFKD;
    const uint8_t plain = form == NORMALIZE_NFC ? 0xCC : 0x80; /* bytes below it stay */
    const char *text = in->v;
    size_t begin = 0;

    while (begin < in->n && (uint8_t)text[begin] < plain)
        begin++;
    *changed = begin < in->n;
    if (!*changed)
        return STATUS_OK;
    rewriter r = rewrite_begin(in, copy);
    for (begin = 0; begin < in->n; begin = r.at) {
        size_t end = begin, same = begin; /* characters that stay, and then a run */
        while (end < in->n && (uint8_t)text[end] < plain)
            end++;
        /* the last of them may be composed with what follows */
        if (end < in->n && end > begin)
            do
                end--;
            while (end > begin && ((uint8_t)text[end] & 0xC0) == 0x80);
        if (end > same) {
            TRY(rewrite_copy(&r, end - same));
            continue;
        }
        do
            end++;
        while (end < in->n && ((uint8_t)text[end] >= 0xCC || ((uint8_t)text[end] & 0xC0) == 0x80));
        TRY(run(w, &r, compatible, composed, end));
        r.at = end;
    }
    *out = rewrite_view(&r);
    return STATUS_OK;
}
