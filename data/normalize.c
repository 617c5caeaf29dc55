/* normalize: the normalisers of a tokenizer, one after the other over a stretch.
 *
 * Each looks first whether there is anything to do; most texts go through most of them untouched. */
#include "core/utf8.h"
#include "data/tokenizer_parts.h"

#include <string.h>

status normalizer_add(tokenizer *t, normalizer n)
{
    if (t->n_normalizers == NORMALIZERS_MAX)
        return fail(STATUS_FORMAT, "%s: more than %d normalizers", t->what, NORMALIZERS_MAX);
    t->normalizers[t->n_normalizers++] = n;
    return STATUS_OK;
}

status normalizer_add_bert(tokenizer *t, bool clean, bool chinese, bool strip_accents, bool lower)
{
    if (clean)
        TRY(normalizer_add(t, (normalizer){.kind = NORMALIZE_CLEAN}));
    if (chinese)
        TRY(normalizer_add(t, (normalizer){.kind = NORMALIZE_CHINESE}));
    if (strip_accents) {
        TRY(normalizer_add(t, (normalizer){.kind = NORMALIZE_NFD}));
        TRY(normalizer_add(t, (normalizer){.kind = NORMALIZE_STRIP_NONSPACING}));
    }
    return lower ? normalizer_add(t, (normalizer){.kind = NORMALIZE_LOWERCASE}) : STATUS_OK;
}

/* What a character becomes where it becomes one: itself, another, or GONE. */
enum { GONE = 0x110000 };

static uint32_t clean(uint32_t code)
{
    return unicode_is_control(code) ? GONE : unicode_is_space(code) ? ' ' : code;
}

static uint32_t without_marks(uint32_t code)
{
    return unicode_is_mark(code) ? GONE : code;
}

static uint32_t without_nonspacing(uint32_t code)
{
    return unicode_is_nonspacing(code) ? GONE : code;
}

static uint32_t nmt(uint32_t code)
{
    if ((code >= 1 && code <= 8) || code == 0xB || (code >= 0xE && code <= 0x1F) || code == 0x7F ||
        code == 0x8F || code == 0x9F)
        return GONE;
    return code == 9 || code == 0xA || code == 0xC || code == 0xD || code == 0x1680 ||
                   (code >= 0x200B && code <= 0x200F) || code == 0x2028 || code == 0x2029 ||
                   code == 0x2581 || code == 0xFEFF || code == 0xFFFD
               ? ' '
               : code;
}

/* Every character on its own. ASCII that stays ASCII changes in place. */
static status map(uint32_t (*to)(uint32_t), const text_view *in, aligned_text *copy, text_view *out)
{
    size_t plain = 0;

    TRY(aligned_same(in, copy, out));
    while (plain < in->n && (uint8_t)in->v[plain] < 0x80) {
        const uint32_t code = to((uint8_t)in->v[plain]);
        if (code >= 0x80)
            break;
        copy->v[plain++] = (char)code;
    }
    if (plain == in->n)
        return STATUS_OK;

    rewriter r = rewrite_begin(in, copy);
    while (r.at < in->n) {
        uint32_t code;
        const size_t n = (size_t)utf8_next(in->v, in->n, r.at, &code);
        const uint32_t new = to(code);
        if (new == GONE)
            rewrite_skip(&r, n);
        else
            TRY(rewrite_put(&r, new, 0));
        if (to == unicode_lower && code == 0x130)
            TRY(rewrite_put(&r, 0x307, 1));
    }
    *out = rewrite_view(&r);
    return STATUS_OK;
}

static bool all_ascii(const text_view *in)
{
    for (size_t i = 0; i < in->n; i++)
        if ((uint8_t)in->v[i] >= 0x80)
            return false;
    return true;
}

static status chinese(const text_view *in, aligned_text *copy, text_view *out)
{
    rewriter r = rewrite_begin(in, copy);

    while (r.at < in->n) {
        uint32_t code;
        const size_t n = (size_t)utf8_next(in->v, in->n, r.at, &code);
        if (!unicode_is_chinese(code)) {
            TRY(rewrite_copy(&r, n));
            continue;
        }
        TRY(rewrite_put(&r, ' ', 0));
        TRY(rewrite_put(&r, code, 1));
        TRY(rewrite_put(&r, ' ', 1));
    }
    *out = rewrite_view(&r);
    return STATUS_OK;
}

/* Blanks at the ends: a part of the same text. */
static text_view strip(const normalizer *how, const text_view *in)
{
    size_t begin = 0, end = in->n;
    uint32_t code;
    int n;

    while (how->left && begin < end && (n = utf8_next(in->v, end, begin, &code)) > 0 &&
           unicode_is_space(code))
        begin += (size_t)n;
    while (how->right && end > begin) {
        size_t at = end - 1;
        while (at > begin && ((uint8_t)in->v[at] & 0xC0) == 0x80)
            at--;
        if (!utf8_next(in->v, end, at, &code) || !unicode_is_space(code))
            break;
        end = at;
    }
    text_view out = view_part(in, begin, end);
    out.origin = in->origin;
    return out;
}

static status put_text(rewriter *r, const char *text, size_t n)
{
    for (size_t at = 0; at < n;) {
        uint32_t code = 0;
        at += (size_t)utf8_next(text, n, at, &code);
        TRY(rewrite_put(r, code, 1));
    }
    return STATUS_OK;
}

/* The new text takes the first character's place, and so does that. */
static status prepend(const normalizer *how, const text_view *in, aligned_text *copy,
                      text_view *out)
{
    rewriter r = rewrite_begin(in, copy);
    uint32_t code;

    const size_t n = (size_t)utf8_next(in->v, in->n, 0, &code);
    size_t at = (size_t)utf8_next(how->text, how->n, 0, &code);
    TRY(rewrite_put(&r, code, 0));
    TRY(put_text(&r, how->text + at, how->n - at));
    utf8_next(in->v, in->n, 0, &code);
    TRY(rewrite_put(&r, code, 1));
    r.at = n;
    TRY(rewrite_copy(&r, in->n - n));
    *out = rewrite_view(&r);
    return STATUS_OK;
}

/* Every match of the pattern; the new text has the place of the match's last character. */
static status replace(tokenizer_work *w, const normalizer *how, const text_view *in,
                      aligned_text *copy, text_view *out, bool *changed)
{
    rewriter r = rewrite_begin(in, copy);
    pattern_search s = pattern_begin(w->t, how->pattern, w->match, in->v, in->n);
    size_t begin, end;
    bool found;

    for (*changed = false;; *changed = true) {
        TRY(pattern_next(&s, &begin, &end, &found));
        if (!found)
            break;
        TRY(rewrite_copy(&r, begin - r.at));
        rewrite_skip(&r, end - begin);
        TRY(put_text(&r, how->text, how->n));
    }
    if (!*changed)
        return STATUS_OK;
    TRY(rewrite_copy(&r, in->n - r.at));
    *out = rewrite_view(&r);
    return STATUS_OK;
}

static status bytes(const text_view *in, aligned_text *copy, text_view *out)
{
    rewriter r = rewrite_begin(in, copy);

    while (r.at < in->n) {
        uint32_t code;
        const size_t at = r.at, n = (size_t)utf8_next(in->v, in->n, at, &code);
        for (size_t i = 0; i < n; i++)
            TRY(rewrite_put(&r, byte_stand_in((uint8_t)in->v[at + i]), i > 0));
    }
    *out = rewrite_view(&r);
    return STATUS_OK;
}

static status one(tokenizer_work *w, const normalizer *how, const text_view *in,
                  aligned_text *copy, text_view *out, bool *changed)
{
    *changed = true;
    switch (how->kind) {
    case NORMALIZE_NFC:
    case NORMALIZE_NFD:
    case NORMALIZE_NFKC:
    case NORMALIZE_NFKD:
        return normalize_form(w, how->kind, in, copy, out, changed);
    case NORMALIZE_LOWERCASE:
        return map(unicode_lower, in, copy, out);
    case NORMALIZE_CLEAN:
        return map(clean, in, copy, out);
    case NORMALIZE_NMT:
        return map(nmt, in, copy, out);
    case NORMALIZE_STRIP_MARKS:
    case NORMALIZE_STRIP_NONSPACING:
        *changed = !all_ascii(in);
        return *changed ? map(how->kind == NORMALIZE_STRIP_MARKS ? without_marks
                                                                 : without_nonspacing,
                              in, copy, out)
                        : STATUS_OK;
    case NORMALIZE_CHINESE:
        *changed = !all_ascii(in);
        return *changed ? chinese(in, copy, out) : STATUS_OK;
    case NORMALIZE_STRIP:
        *changed = false; /* nothing moves */
        *out = strip(how, in);
        return STATUS_OK;
    case NORMALIZE_PREPEND:
        return prepend(how, in, copy, out);
    case NORMALIZE_REPLACE:
        return replace(w, how, in, copy, out, changed);
    case NORMALIZE_CHARSMAP:
        return normalize_charsmap(how->map, in, copy, out, changed);
    case NORMALIZE_PIECES:
        return normalize_pieces(how, in, copy, out);
    case NORMALIZE_BYTES:
        return bytes(in, copy, out);
    }
    return STATUS_OK;
}

status normalize(tokenizer_work *w, const text_view *in, text_view *out)
{
    *out = *in;
    for (int i = 0, side = 0; i < w->t->n_normalizers && out->n > 0; i++) {
        const text_view before = *out;
        bool changed;
        TRY(one(w, &w->t->normalizers[i], &before, &w->normal[side], out, &changed));
        side ^= changed;
    }
    return STATUS_OK;
}
