/* decode: ids back to text. The tokens are a list of texts; each decoder makes a new list, and what
 * the last one leaves is joined. */
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

typedef struct piece {
    const char *v;
    size_t n;
} piece;

typedef struct pieces {
    const tokenizer *t;
    arena *a;
    piece *v;
    int64_t n;
    pcre2_match_data *match;
} pieces;

/* All pieces in one. */
static status fuse(pieces *p)
{
    size_t n = 0;
    char *out;

    for (int64_t i = 0; i < p->n; i++)
        n += p->v[i].n;
    TRY_TAKE(out, p->a, n + 1);
    n = 0;
    for (int64_t i = 0; i < p->n; i++) {
        memcpy(out + n, p->v[i].v, p->v[i].n);
        n += p->v[i].n;
    }
    out[n] = '\0';
    TRY_TAKE(p->v, p->a, 1);
    p->v[0] = (piece){out, n};
    p->n = 1;
    return STATUS_OK;
}

/* Stand-ins become bytes; what is not UTF-8 is replaced. */
static status join_bytes(pieces *p)
{
    size_t n = 1, to = 0, bad;
    char *out;

    for (int64_t i = 0; i < p->n; i++)
        n += p->v[i].n;
    TRY_TAKE(out, p->a, n);
    for (int64_t i = 0; i < p->n; i++)
        to += token_bytes(p->v[i].v, p->v[i].n, out + to);
    out[to] = '\0';
    if (!utf8_valid(out, to, &bad))
        TRY(make_valid(p->a, out, to, &out, &to));
    TRY_TAKE(p->v, p->a, 1);
    p->v[0] = (piece){out, to};
    p->n = 1;
    return STATUS_OK;
}

/* Every `old` in a piece becomes `new`. */
static status replace_text(arena *a, piece *p, const char *old, size_t n_old, const char *new,
                           size_t n_new)
{
    size_t hits = 0, to = 0;
    char *out;

    for (size_t at = 0; n_old > 0 && at + n_old <= p->n;)
        if (memcmp(p->v + at, old, n_old) == 0) {
            hits++;
            at += n_old;
        } else
            at++;
    if (hits == 0)
        return STATUS_OK;
    TRY_TAKE(out, a, p->n - hits * n_old + hits * n_new);
    for (size_t at = 0; at < p->n;)
        if (at + n_old <= p->n && memcmp(p->v + at, old, n_old) == 0) {
            memcpy(out + to, new, n_new);
            to += n_new;
            at += n_old;
        } else
            out[to++] = p->v[at++];
    *p = (piece){out, to};
    return STATUS_OK;
}

/* Blanks before punctuation and the like, a piece by itself. */
static status clean_up(arena *a, piece *p)
{
    static const char *const pairs[][2] = {
        {" .", "."},     {" ?", "?"},   {" !", "!"},           {" ,", ","},   {" ' ", "'"},
        {" n't", "n't"}, {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"},
        {" 're", "'re"}};

    for (size_t i = 0; i < COUNT_OF(pairs) && memchr(p->v, ' ', p->n); i++)
        TRY(replace_text(a, p, pairs[i][0], strlen(pairs[i][0]), pairs[i][1],
                         strlen(pairs[i][1])));
    return STATUS_OK;
}

static status decode_wordpiece(pieces *p, const decoder *d)
{
    for (int64_t i = 0; i < p->n; i++) {
        piece *one = &p->v[i];
        if (i > 0 && one->n >= d->n && memcmp(one->v, d->text, d->n) == 0) {
            one->v += d->n;
            one->n -= d->n;
        } else if (i > 0) {
            char *with;
            TRY_TAKE(with, p->a, one->n + 1);
            with[0] = ' ';
            memcpy(with + 1, one->v, one->n);
            *one = (piece){with, one->n + 1};
        }
        if (d->cleanup)
            TRY(clean_up(p->a, one));
    }
    return STATUS_OK;
}

static status decode_metaspace(pieces *p, const decoder *d)
{
    char mark[4];
    const size_t n = (size_t)utf8_put(d->character, mark);

    for (int64_t i = 0; i < p->n; i++)
        TRY(replace_text(p->a, &p->v[i], mark, n, " ", i > 0 || !d->cleanup));
    return STATUS_OK;
}

static status decode_bpe(pieces *p, const decoder *d)
{
    for (int64_t i = 0; i < p->n; i++)
        TRY(replace_text(p->a, &p->v[i], d->text, d->n, " ", i + 1 < p->n));
    return STATUS_OK;
}

/* Equal neighbours are one; pads go away. */
static status decode_ctc(pieces *p, const decoder *d)
{
    piece last = {0};
    int64_t to = 0;

    for (int64_t i = 0; i < p->n; i++) {
        piece one = p->v[i];
        if (i > 0 && one.n == last.n && memcmp(one.v, last.v, one.n) == 0)
            continue;
        last = one;
        TRY(replace_text(p->a, &one, d->text, d->n, "", 0));
        if (d->cleanup) {
            TRY(clean_up(p->a, &one));
            TRY(replace_text(p->a, &one, d->second, d->n_second, " ", 1));
        }
        if (one.n > 0)
            p->v[to++] = one;
    }
    p->n = to;
    return STATUS_OK;
}

static void decode_strip(pieces *p, const decoder *d)
{
    char mark[4];
    const size_t n = (size_t)utf8_put(d->character, mark);

    for (int64_t i = 0; i < p->n; i++) {
        piece *one = &p->v[i];
        const piece whole = *one;
        size_t begin = 0, end = whole.n;
        for (int64_t k = 0; k < d->start && begin + n <= whole.n &&
                            memcmp(whole.v + begin, mark, n) == 0;
             k++)
            begin += n;
        for (int64_t k = 0; k < d->stop && end >= n && memcmp(whole.v + end - n, mark, n) == 0; k++)
            end -= n;
        *one = (piece){whole.v + begin, end > begin ? end - begin : 0};
    }
}

/* One pass over a piece's matches: counts them, and writes what comes out unless out is NULL. */
static status replace_matches(pieces *p, const decoder *d, const piece *one, char *out,
                              size_t *hits, size_t *written)
{
    pattern_search s = pattern_begin(p->t, d->pattern, p->match, one->v, one->n);
    size_t done = 0, to = 0, begin, end;
    bool found;

    for (*hits = 0;; ++*hits) {
        TRY(pattern_next(&s, &begin, &end, &found));
        if (!found)
            break;
        if (out) {
            memcpy(out + to, one->v + done, begin - done);
            memcpy(out + to + (begin - done), d->text, d->n);
        }
        to += begin - done + d->n;
        done = end;
    }
    if (out)
        memcpy(out + to, one->v + done, one->n - done);
    *written = to + one->n - done;
    return STATUS_OK;
}

static status decode_replace(pieces *p, const decoder *d)
{
    for (int64_t i = 0; i < p->n; i++) {
        size_t hits, n;
        char *out;
        TRY(replace_matches(p, d, &p->v[i], NULL, &hits, &n));
        if (hits == 0)
            continue;
        TRY_TAKE(out, p->a, n);
        TRY(replace_matches(p, d, &p->v[i], out, &hits, &n));
        p->v[i] = (piece){out, n};
    }
    return STATUS_OK;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* The byte of <0xNN>, or -1. A plus sign passes for a leading zero, as it does in the reference. */
static int byte_of(const piece *p)
{
    if (p->n != 6 || memcmp(p->v, "<0x", 3) != 0 || p->v[5] != '>')
        return -1;
    const int high = p->v[3] == '+' ? 0 : hex_digit(p->v[3]), low = hex_digit(p->v[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Runs of <0xNN> become text; a run that is no UTF-8 becomes a U+FFFD for each byte. */
static status decode_byte_fallback(pieces *p)
{
    int64_t to = 0;

    for (int64_t i = 0; i < p->n;) {
        int64_t end = i;
        size_t bad;
        char *run;
        while (end < p->n && byte_of(&p->v[end]) >= 0)
            end++;
        if (end == i) {
            p->v[to++] = p->v[i++];
            continue;
        }
        const size_t n = (size_t)(end - i);
        TRY_TAKE(run, p->a, n);
        for (size_t k = 0; k < n; k++)
            run[k] = (char)byte_of(&p->v[(size_t)i + k]);
        if (utf8_valid(run, n, &bad))
            p->v[to++] = (piece){run, n};
        else
            for (size_t k = 0; k < n; k++)
                p->v[to++] = (piece){"\xEF\xBF\xBD", 3};
        i = end;
    }
    p->n = to;
    return STATUS_OK;
}

static status decode_one(pieces *p, const decoder *d)
{
    switch (d->kind) {
    case DECODE_BYTES:
        return join_bytes(p);
    case DECODE_WORDPIECE:
        return decode_wordpiece(p, d);
    case DECODE_METASPACE:
        return decode_metaspace(p, d);
    case DECODE_BPE:
        return decode_bpe(p, d);
    case DECODE_CTC:
        return decode_ctc(p, d);
    case DECODE_FUSE:
        return fuse(p);
    case DECODE_STRIP:
        decode_strip(p, d);
        return STATUS_OK;
    case DECODE_REPLACE:
        return decode_replace(p, d);
    case DECODE_BYTE_FALLBACK:
        return decode_byte_fallback(p);
    }
    return STATUS_OK;
}

status decoder_add(tokenizer *t, decoder d)
{
    if (t->n_decoders == DECODERS_MAX)
        return fail(STATUS_FORMAT, "%s: more than %d decoders", t->what, DECODERS_MAX);
    t->decoders[t->n_decoders++] = d;
    return STATUS_OK;
}

/* Without a decoder the tokens are joined by blanks. */
static status join_blanks(pieces *p)
{
    piece *v;

    TRY_TAKE(v, p->a, 2 * p->n);
    for (int64_t i = 0; i < p->n; i++) {
        v[2 * i] = p->v[i];
        v[2 * i + 1] = (piece){" ", i + 1 < p->n};
    }
    p->v = v;
    p->n *= 2;
    return STATUS_OK;
}

static status decode_all(pieces *p, char **text, size_t *length)
{
    size_t bad;

    if (p->t->n_decoders == 0)
        TRY(join_blanks(p));
    for (int i = 0; i < p->t->n_decoders; i++)
        TRY(decode_one(p, &p->t->decoders[i]));
    TRY(fuse(p));
    *text = (char *)p->v[0].v; /* fuse made it */
    *length = p->v[0].n;
    return utf8_valid(*text, *length, &bad) ? STATUS_OK
                                            : make_valid(p->a, *text, *length, text, length);
}

status tokenizer_decode(const tokenizer *t, arena *a, const int32_t *ids, int64_t n,
                        bool skip_special, char **text, size_t *length)
{
    const vocabulary *words = &t->words;
    pieces p = {.t = t, .a = a};

    TRY_TAKE(p.v, a, n);
    for (int64_t i = 0; i < n; i++) {
        if (!vocabulary_has(words, ids[i]))
            continue;
        const added_token *added = added_by_id(&t->added, ids[i]);
        const bool changed = added && added->found != added->text; /* the reference then forgets */
        if (skip_special && added && added->special && !changed)   /* that it is special */
            continue;
        p.v[p.n++] = added ? (piece){added->found, added->n_found}
                           : (piece){words->bytes + words->at[ids[i]], words->length[ids[i]]};
    }
    if (t->n_patterns > 0 && !(p.match = pcre2_match_data_create(1, NULL)))
        return fail(STATUS_MEMORY, "tokenizer: no memory for a match");
    const status s = decode_all(&p, text, length);
    pcre2_match_data_free(p.match);
    return s;
}
