/* precompiled: SentencePiece's charsmap, and the two ways to apply it.
 *
 * The map is a size, a double array that maps texts to places, and the texts at those places. A
 * unit of the array is a label in bits 0..7 and 31, "a value follows" in bit 8, and how far its
 * children lie in the rest; child c of a node lies at place ^ c, its value at place. */
#include "core/utf8.h"
#include "data/tokenizer_parts.h"

#include <string.h>

#include <utf8proc.h>

static uint32_t unit_offset(uint32_t unit)
{
    return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

static uint32_t unit_label(uint32_t unit)
{
    return unit & ((1u << 31) | 0xFF);
}

static bool unit_has_value(uint32_t unit)
{
    return unit >> 8 & 1;
}

const char *charsmap_find(const charsmap *m, const char *text, size_t n, bool longest, size_t *used,
                          size_t *length)
{
    const char *found = NULL;
    uint32_t at = unit_offset(m->units[0]);

    for (size_t i = 0; i < n && text[i]; i++) {
        at ^= (uint8_t)text[i];
        const uint32_t unit = m->units[at];
        if (unit_label(unit) != (uint8_t)text[i])
            break;
        at ^= unit_offset(unit);
        if (unit_has_value(unit)) {
            found = m->values + (m->units[at] & 0x7FFFFFFF);
            *used = i + 1;
            if (!longest)
                break;
        }
    }
    if (found)
        *length = strlen(found);
    return found;
}

/* ---- checking ---- */

/* Follows every path from the root. state: 0 new, 1 on the path, 2 done; parts of the array may be
 * shared, but a path must not come back to itself. */
typedef struct checker {
    const charsmap *m;
    const char *what;
    uint8_t *state;
} checker;

enum { CHARSMAP_DEPTH_MAX = 256 };

static status check_value(const checker *c, uint32_t place)
{
    const uint32_t value = c->m->units[place] & 0x7FFFFFFF;
    size_t bad;

    if (value >= c->m->n_values)
        return fail(STATUS_FORMAT,
                    "%s: precompiled_charsmap: unit %u has its value at byte %u, must be below %zu",
                    c->what, place, value, c->m->n_values);
    const char *text = c->m->values + value;
    if (!utf8_valid(text, strlen(text), &bad))
        return fail(STATUS_FORMAT,
                    "%s: precompiled_charsmap: the value at byte %u is not valid UTF-8", c->what,
                    value);
    return STATUS_OK;
}

static status check_node(const checker *c, uint32_t unit, int depth)
{
    const charsmap *m = c->m;
    const uint32_t base = unit ^ unit_offset(m->units[unit]);

    if ((base | 0xFFu) >= m->n_units)
        return fail(STATUS_FORMAT,
                    "%s: precompiled_charsmap: unit %u points to unit %u, must be below %zu",
                    c->what, unit, base | 0xFFu, m->n_units);
    if (c->state[unit] == 1 || depth > CHARSMAP_DEPTH_MAX)
        return fail(STATUS_FORMAT, "%s: precompiled_charsmap: a path runs in a circle at unit %u",
                    c->what, unit);
    if (c->state[unit] == 2)
        return STATUS_OK;
    c->state[unit] = 1;
    if (unit_has_value(m->units[unit]) && unit != 0)
        TRY(check_value(c, base));
    for (uint32_t byte = 1; byte < 256; byte++)
        if (unit_label(m->units[base ^ byte]) == byte)
            TRY(check_node(c, base ^ byte, depth + 1));
    c->state[unit] = 2;
    return STATUS_OK;
}

status charsmap_open(arena *a, const char *what, const char *bytes, size_t n, charsmap **out)
{
    charsmap *m;
    uint32_t size = 0, *units;

    if (n >= 4)
        memcpy(&size, bytes, 4);
    if (n < 8 || size < 1024 || size % 4 != 0 || size > n - 4)
        return fail(STATUS_FORMAT,
                    "%s: precompiled_charsmap has %zu bytes and says that %u of them are the trie, "
                    "must be a multiple of 4, 1024..%zu",
                    what, n, size, n < 4 ? 0 : n - 4);
    TRY_TAKE(m, a, 1);
    TRY_TAKE(units, a, size / 4);
    memcpy(units, bytes + 4, size);
    *m = (charsmap){.units = units,
                    .n_units = size / 4,
                    .values = bytes + 4 + size,
                    .n_values = n - 4 - size};
    if (m->n_values == 0 || m->values[m->n_values - 1] != '\0')
        return fail(STATUS_FORMAT, "%s: precompiled_charsmap does not end with a NUL byte", what);
    checker c = {.m = m, .what = what};
    const size_t mark = arena_mark(a);
    TRY_TAKE(c.state, a, m->n_units);
    memset(c.state, 0, m->n_units);
    TRY(check_node(&c, 0, 0));
    arena_rewind(a, mark);
    const uint32_t base = unit_offset(units[0]);
    for (uint32_t byte = 1; byte < 128; byte++)
        m->plain[byte] = unit_label(units[base ^ byte]) != byte;
    m->plain[0] = true;
    *out = m;
    return STATUS_OK;
}

/* ---- as the reference applies it ---- */

/* Puts a value in the place of `old` characters. When it is shorter the last character written,
 * whichever that is, stands for the rest: the reference counts so. */
typedef struct pending {
    rewriter r;
    uint32_t code; /* written next, so that a later replacement can still change `change` */
    int32_t change;
    bool any;
} pending;

static status push(pending *p, uint32_t code, int32_t change)
{
    if (p->any)
        TRY(rewrite_put(&p->r, p->code, p->change));
    p->code = code;
    p->change = change;
    p->any = true;
    return STATUS_OK;
}

static int32_t count(const char *text, size_t n)
{
    int32_t k = 0;

    for (size_t i = 0; i < n; i++)
        k += ((uint8_t)text[i] & 0xC0) != 0x80;
    return k;
}

static status push_value(pending *p, int32_t old, const char *value, size_t n)
{
    const int32_t new = count(value, n);
    int32_t k = 0;

    for (size_t at = 0; at < n; k++) {
        uint32_t code = 0;
        at += (size_t)utf8_next(value, n, at, &code);
        TRY(push(p, code, k >= old));
    }
    if (new < old && p->any)
        p->change += new - old;
    return STATUS_OK;
}

/* Consonants and viramas of the six scripts whose conjuncts are one cluster (UAX 29, GB9c; the
 * installed utf8proc may be older). */
static bool is_linker(uint32_t code)
{
    return code == 0x94D || code == 0x9CD || code == 0xACD || code == 0xB4D || code == 0xC4D ||
           code == 0xD4D;
}

static bool is_consonant(uint32_t code)
{
    static const uint32_t ranges[][2] = {
        {0x915, 0x939}, {0x958, 0x95F}, {0x978, 0x97F}, {0x995, 0x9A8}, {0x9AA, 0x9B0},
        {0x9B2, 0x9B2}, {0x9B6, 0x9B9}, {0x9DC, 0x9DD}, {0x9DF, 0x9DF}, {0x9F0, 0x9F1},
        {0xA95, 0xAA8}, {0xAAA, 0xAB0}, {0xAB2, 0xAB3}, {0xAB5, 0xAB9}, {0xAF9, 0xAF9},
        {0xB15, 0xB28}, {0xB2A, 0xB30}, {0xB32, 0xB33}, {0xB35, 0xB39}, {0xB5C, 0xB5D},
        {0xB5F, 0xB5F}, {0xB71, 0xB71}, {0xC15, 0xC28}, {0xC2A, 0xC39}, {0xC58, 0xC5A},
        {0xD15, 0xD3A}};

    for (size_t i = 0; i < COUNT_OF(ranges); i++)
        if (code >= ranges[i][0] && code <= ranges[i][1])
            return true;
    return false;
}

/* Where the cluster that begins at `at` ends. */
static size_t cluster_end(const char *text, size_t n, size_t at)
{
    utf8proc_int32_t state = 0;
    uint32_t code = 0, next = 0;
    bool consonant, linked = false;

    at += (size_t)utf8_next(text, n, at, &code);
    consonant = is_consonant(code);
    while (at < n) {
        const int size = utf8_next(text, n, at, &next);
        const bool joins = consonant && linked && is_consonant(next);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)code, (utf8proc_int32_t)next,
                                             &state) &&
            !joins)
            break;
        if (is_consonant(next)) {
            consonant = true;
            linked = false;
        } else
            linked = linked || is_linker(next);
        code = next;
        at += (size_t)size;
    }
    return at;
}

status normalize_charsmap(const charsmap *map, const text_view *in, aligned_text *copy,
                          text_view *out, bool *changed)
{
    const char *text = in->v, *value;
    size_t at = 0, used, length;

    *changed = false;
    while (at < in->n && (uint8_t)text[at] < 0x80 && map->plain[(uint8_t)text[at]])
        at++;
    if (at == in->n)
        return STATUS_OK;

    pending p = {.r = rewrite_begin(in, copy)};
    for (at = 0; at < in->n;) {
        const uint8_t byte = (uint8_t)text[at];
        if (byte < 0x80 && map->plain[byte] && byte != '\r' &&
            (at + 1 == in->n || (uint8_t)text[at + 1] < 0x80)) {
            TRY(push(&p, byte, 0));
            at++;
            continue;
        }
        const size_t end = cluster_end(text, in->n, at);
        if (end - at < 6 && (value = charsmap_find(map, text + at, end - at, false, &used, &length))) {
            TRY(push_value(&p, count(text + at, end - at), value, length));
            *changed = true;
            at = end;
            continue;
        }
        while (at < end) {
            uint32_t code;
            const size_t n = (size_t)utf8_next(text, end, at, &code);
            value = charsmap_find(map, text + at, n, false, &used, &length);
            if (value)
                TRY(push_value(&p, 1, value, length));
            else
                TRY(push(&p, code, 0));
            *changed = *changed || value;
            at += n;
        }
    }
    if (p.any)
        TRY(rewrite_put(&p.r, p.code, p.change));
    *out = rewrite_view(&p.r);
    if (!*changed)
        *out = *in;
    return STATUS_OK;
}
