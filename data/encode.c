/* encode: a text's way through added tokens, normaliser, pre-tokenizer and model; then offsets are
 * trimmed and the template adds its tokens. */
#include "core/utf8.h"
#include "data/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

status grow(void *pointer, size_t *room, size_t need, size_t size)
{
    void *old;
    size_t bytes;

    if (need <= *room)
        return STATUS_OK;
    memcpy(&old, pointer, sizeof old);
    const size_t n = need < 64 ? 64 : need + need / 2;
    void *v = MUL_OVERFLOWS(n, size, &bytes) ? NULL : realloc(old, bytes);
    if (!v)
        return fail(STATUS_MEMORY, "tokenizer: no memory for %zu values of %zu bytes", n, size);
    memcpy(pointer, &v, sizeof v);
    *room = n;
    return STATUS_OK;
}

void work_close(tokenizer_work *w)
{
    for (size_t i = 0; i < COUNT_OF(w->normal); i++)
        aligned_close(&w->normal[i]);
    for (int i = 0; i < w->t->n_steps; i++)
        aligned_close(&w->changed[i]);
    for (size_t i = 0; i < COUNT_OF(w->scratch); i++)
        free(w->scratch[i]);
    free(w->tokens);
    pcre2_match_data_free(w->match);
}

status work_match(tokenizer_work *w)
{
    if (!w->match)
        w->match = pcre2_match_data_create(1, NULL);
    return w->match ? STATUS_OK : fail(STATUS_MEMORY, "tokenizer: no memory for a match");
}

static bool continues(const char *text, size_t at)
{
    return ((uint8_t)text[at] & 0xC0) == 0x80;
}

status work_emit(tokenizer_work *w, int32_t id, size_t begin, size_t end)
{
    if (UNLIKELY(w->n_tokens == w->room_tokens))
        TRY(grow(&w->tokens, &w->room_tokens, w->n_tokens + 1, sizeof *w->tokens));
    work_token *token = &w->tokens[w->n_tokens++];
    token->id = id;
    token->leading = token->trailing = -1;
    begin = begin < w->view.n ? begin : w->view.n; /* lengths of parts that were put in may add up */
    end = end < w->view.n ? end : w->view.n;       /* to more than the text */
    if (w->view.from) {
        const bool behind = begin == w->view.n && begin > 0;
        token->begin = behind ? w->view.to[begin - 1] : w->view.from[begin];
        token->end = end > begin ? w->view.to[end - 1] : token->begin;
        return STATUS_OK;
    }
    begin += w->view.base;
    end += w->view.base;
    while (begin > 0 && begin < w->given_length && continues(w->given, begin))
        begin--;
    while (end < w->given_length && continues(w->given, end))
        end++;
    token->begin = (uint32_t)begin;
    token->end = (uint32_t)end;
    return STATUS_OK;
}

/* Blanks at both ends of a token's text; a byte-level token has a stand-in for them. */
static void count_blanks(const char *word, size_t n, int32_t *leading, int32_t *trailing)
{
    bool only = true;

    *leading = *trailing = 0;
    for (size_t at = 0; at < n;) {
        uint32_t code = 0;
        at += (size_t)utf8_next(word, n, at, &code);
        const bool blank = code == 0x120 || unicode_is_space(code);
        *trailing = blank ? *trailing + 1 : 0;
        only = only && blank;
        *leading += only;
    }
}

void work_own_text(tokenizer_work *w, size_t begin, size_t end)
{
    work_token *token = &w->tokens[w->n_tokens - 1];

    if (w->t->trim)
        count_blanks(w->view.v + begin, end - begin, &token->leading, &token->trailing);
}

static status emit_added(tokenizer_work *w, const added_match *m)
{
    TRY(work_emit(w, m->token->id, m->begin, m->end));
    work_own_text(w, m->begin, m->end);
    return STATUS_OK;
}

/* A stretch of the given text between added tokens that are found before normalisation. */
static status encode_stretch(tokenizer_work *w, size_t begin, size_t end)
{
    const tokenizer *t = w->t;
    const text_view given = {w->given + begin, end - begin, NULL, NULL, begin, begin};
    added_match m;

    if (begin == end)
        return STATUS_OK;
    TRY(normalize(w, &given, &w->view));
    size_t from = 0, at = 0;
    while (added_find(&t->added, &t->added.normal, w->view.v, w->view.n, at, from, &m)) {
        TRY(pretokenize(w, 0, from, m.begin));
        TRY(emit_added(w, &m));
        from = m.end;
        at = m.found;
    }
    return from < w->view.n ? pretokenize(w, 0, from, w->view.n) : STATUS_OK;
}

/* Offsets without the blanks that a token begins or ends with; blanks are counted in characters. */
static void trim_offsets(const tokenizer_work *w, const char *text, work_token *token, bool first)
{
    const vocabulary *words = &w->t->words;
    int32_t leading = token->leading, trailing = token->trailing;

    if (leading < 0)
        count_blanks(words->bytes + words->at[token->id], words->length[token->id], &leading,
                     &trailing);
    if (leading > 0) {
        if (leading == 1 && (first || token->begin == 0) && w->t->trim_prefix)
            leading = 0; /* the blank put in front; more than one were in the text */
        for (; leading > 0 && token->begin < token->end; leading--)
            do
                token->begin++;
            while (token->begin < token->end && continues(text, token->begin));
    }
    uint32_t end = token->end;
    for (; trailing > 0 && end > 0; trailing--)
        do
            end--;
        while (end > 0 && continues(text, end));
    if (trailing == 0)
        token->end = end > token->begin ? end : token->begin;
}

status work_encode(tokenizer_work *w, const char *text, size_t length)
{
    const tokenizer *t = w->t;
    const size_t first = w->n_tokens;
    size_t bad, from = 0, at = 0;
    added_match m;

    if (length > TOKEN_TEXT_MAX)
        return fail(STATUS_FORMAT, "tokenizer: the text has %zu bytes, may have %zu", length,
                    TOKEN_TEXT_MAX);
    if (!utf8_valid(text, length, &bad))
        return fail(STATUS_FORMAT, "tokenizer: the text is not valid UTF-8 at byte %zu", bad);
    TRY(work_match(w));
    w->given = text;
    w->given_length = length;
    while (added_find(&t->added, &t->added.raw, text, length, at, from, &m)) {
        if (from < m.begin)
            TRY(encode_stretch(w, from, m.begin));
        w->view = (text_view){.v = text, .n = length};
        TRY(emit_added(w, &m));
        from = m.end;
        at = m.found;
    }
    if (from < length)
        TRY(encode_stretch(w, from, length));
    for (size_t i = first; t->trim && i < w->n_tokens; i++)
        trim_offsets(w, text, &w->tokens[i], i == first);
    return STATUS_OK;
}

/* Texts 0 and 1 are w->tokens[0, cut) and [cut, n_tokens). */
static status apply_template(const tokenizer_work *w, const token_template *how, size_t cut,
                             bool add_special, arena *a, token_list *out)
{
    int64_t n = 0;

    for (int i = 0; i < how->n; i++)
        n += how->v[i].id >= 0 ? add_special : (int64_t)(how->v[i].text ? w->n_tokens - cut : cut);
    *out = (token_list){.n = n};
    TRY_TAKE(out->ids, a, n);
    TRY_TAKE(out->begin, a, n);
    TRY_TAKE(out->end, a, n);
    TRY_TAKE(out->types, a, n);
    TRY_TAKE(out->special, a, n);
    int64_t to = 0;
    for (int i = 0; i < how->n; i++) {
        const template_item *item = &how->v[i];
        const bool special = item->id >= 0;
        const work_token one = {.id = item->id};
        const work_token *from = special ? &one : w->tokens + (item->text ? cut : 0);
        const size_t count = special ? add_special : item->text ? w->n_tokens - cut : cut;
        for (size_t k = 0; k < count; k++, to++) {
            out->ids[to] = from[k].id;
            out->begin[to] = from[k].begin;
            out->end[to] = from[k].end;
            out->types[to] = item->type;
            out->special[to] = special;
        }
    }
    return STATUS_OK;
}

/* Tokens that the template adds. */
static int64_t added_by(const token_template *how)
{
    int64_t n = 0;

    for (int i = 0; i < how->n; i++)
        n += how->v[i].id >= 0;
    return n;
}

/* How many of n[0] and n[1] tokens stay so that they are `most` together: the longer text is cut
 * first; when both must be, they become equal but for an odd one, which the longer has (the second
 * when they were equal). */
static status share(const token_limit *limit, int64_t most, int64_t n[2])
{
    const int64_t over = n[0] + n[1] - most;
    const int shorter = n[0] > n[1];

    if (over <= 0)
        return STATUS_OK;
    if (limit->how == TOKEN_CUT_LONGEST || most == 0) {
        int64_t low = n[shorter], high = most - low > low ? most - low : low;
        if (low + high > most) {
            low = most / 2;
            high = low + most % 2;
        }
        n[shorter] = low;
        n[!shorter] = high;
        return STATUS_OK;
    }
    int64_t *one = &n[limit->how == TOKEN_CUT_SECOND];
    if (*one <= over)
        return fail(STATUS_SHAPE,
                    "tokenizer: %lld of %lld tokens must go, and the %s text has only %lld",
                    (long long)over, (long long)(n[0] + n[1]),
                    limit->how == TOKEN_CUT_SECOND ? "second" : "first", (long long)*one);
    *one -= over;
    return STATUS_OK;
}

/* Keeps as many tokens of both texts as the limit allows, with room for the template's. */
static status cut_tokens(tokenizer_work *w, const token_template *how, size_t *cut, bool add_special,
                         const token_limit *limit)
{
    const int64_t added = add_special ? added_by(how) : 0, most = limit->max - added;
    int64_t n[2] = {(int64_t)*cut, (int64_t)(w->n_tokens - *cut)};
    size_t to = 0;

    if (most < 0)
        return fail(STATUS_SHAPE, "tokenizer: a text may have %lld tokens, and %lld are added to it",
                    (long long)limit->max, (long long)added);
    const int64_t before[2] = {n[0], n[1]};
    TRY(share(limit, most, n));
    for (int text = 0; text < 2; text++) {
        const size_t from = (text ? *cut : 0) + (limit->left ? (size_t)(before[text] - n[text]) : 0);
        memmove(w->tokens + to, w->tokens + from, (size_t)n[text] * sizeof *w->tokens);
        to += (size_t)n[text];
    }
    *cut = (size_t)n[0];
    w->n_tokens = to;
    return STATUS_OK;
}

status tokenizer_encode_limited(const tokenizer *t, arena *a, const char *text, size_t length,
                                const char *second, size_t second_length, bool add_special,
                                const token_limit *limit, token_list *out)
{
    const token_template *how = second ? &t->pair : &t->single;
    tokenizer_work w = {.t = t};
    status s = work_encode(&w, text, length);
    size_t cut = w.n_tokens;

    if (s == STATUS_OK && second)
        s = work_encode(&w, second, second_length);
    if (s == STATUS_OK && limit)
        s = cut_tokens(&w, how, &cut, add_special, limit);
    if (s == STATUS_OK)
        s = apply_template(&w, how, cut, add_special, a, out);
    work_close(&w);
    return s;
}

status tokenizer_encode(const tokenizer *t, arena *a, const char *text, size_t length,
                        bool add_special, token_list *out)
{
    return tokenizer_encode_limited(t, a, text, length, NULL, 0, add_special, NULL, out);
}

status tokenizer_encode_pair(const tokenizer *t, arena *a, const char *text, size_t length,
                             const char *second, size_t second_length, bool add_special,
                             token_list *out)
{
    return tokenizer_encode_limited(t, a, text, length, second, second_length, add_special, NULL,
                                    out);
}
