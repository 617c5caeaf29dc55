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
    aligned_text *texts[] = {&w->normal, &w->prefixed};

    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        free(texts[i]->v);
        free(texts[i]->from);
        free(texts[i]->to);
    }
    for (size_t i = 0; i < COUNT_OF(w->scratch); i++)
        free(w->scratch[i]);
    free(w->tokens);
    pcre2_match_data_free(w->match);
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
    token->added = false;
    if (w->from) {
        token->begin = w->from[begin];
        token->end = end > begin ? w->to[end - 1] : token->begin;
        return STATUS_OK;
    }
    begin += w->base;
    end += w->base;
    while (begin > 0 && begin < w->given_length && continues(w->given, begin))
        begin--;
    while (end < w->given_length && continues(w->given, end))
        end++;
    token->begin = (uint32_t)begin;
    token->end = (uint32_t)end;
    return STATUS_OK;
}

static status emit_added(tokenizer_work *w, const added_match *m)
{
    TRY(work_emit(w, m->token->id, m->begin, m->end));
    w->tokens[w->n_tokens - 1].added = true;
    return STATUS_OK;
}

/* Puts a blank in front of w->text; it has the range of the first character. */
static status prefix_blank(tokenizer_work *w)
{
    aligned_text *p = &w->prefixed;
    const size_t n = w->length + 1;

    TRY(grow(&p->v, &p->room, n, 1));
    TRY(grow(&p->from, &p->room_from, n, sizeof *p->from));
    TRY(grow(&p->to, &p->room_to, n, sizeof *p->to));
    p->v[0] = ' ';
    memcpy(p->v + 1, w->text, w->length);
    for (size_t at = 0; at < w->length;) {
        size_t end = at + 1;
        while (end < w->length && continues(w->text, end))
            end++;
        for (size_t i = at; i < end; i++) {
            p->from[i + 1] = w->from ? w->from[i] : (uint32_t)(w->base + at);
            p->to[i + 1] = w->from ? w->to[i] : (uint32_t)(w->base + end);
        }
        at = end;
    }
    p->from[0] = p->from[1];
    p->to[0] = p->to[1];
    w->text = p->v;
    w->length = n;
    w->from = p->from;
    w->to = p->to;
    return STATUS_OK;
}

/* A stretch of normalised text without added tokens: [begin, end) of w->text. */
static status encode_plain(tokenizer_work *w, size_t begin, size_t end)
{
    if (begin == end)
        return STATUS_OK;
    if (!w->t->prefix_blank || w->text[begin] == ' ')
        return pretokenize(w, 0, begin, end);

    const tokenizer_work before = *w;
    w->text += begin;
    w->length = end - begin;
    w->base += begin;
    if (w->from) {
        w->from += begin;
        w->to += begin;
    }
    status s = prefix_blank(w);
    if (s == STATUS_OK)
        s = pretokenize(w, 0, 0, w->length);
    w->text = before.text;
    w->length = before.length;
    w->base = before.base;
    w->from = before.from;
    w->to = before.to;
    return s;
}

/* A stretch of the given text between added tokens that are found before normalisation. */
static status encode_stretch(tokenizer_work *w, size_t begin, size_t end)
{
    const tokenizer *t = w->t;
    added_match m;

    if (begin == end)
        return STATUS_OK;
    w->text = w->given + begin;
    w->length = end - begin;
    w->base = begin;
    w->from = w->to = NULL;
    if (t->n_normalizers > 0 && !normalize_is_plain(w->text, w->length)) {
        TRY(normalize_nfc(w, w->text, w->length, begin, &w->normal));
        w->text = w->normal.v;
        w->length = w->normal.n;
        w->from = w->normal.from;
        w->to = w->normal.to;
    }
    size_t from = 0;
    while (added_find(&t->added, &t->added.normal, w->text, w->length, from, &m)) {
        TRY(encode_plain(w, from, m.begin));
        TRY(emit_added(w, &m));
        from = m.end;
    }
    return encode_plain(w, from, w->length);
}

/* Offsets without the blanks that a token begins or ends with; blanks are counted in characters. An
 * added token's text is what it was found as, with the blanks that lstrip ate. */
static void trim_offsets(const tokenizer_work *w, const char *text, work_token *token, bool first)
{
    const vocabulary *words = &w->t->words;
    const char *word = token->added ? text + token->begin : words->bytes + words->at[token->id];
    const size_t n = token->added ? token->end - token->begin : words->length[token->id];
    size_t leading = 0, trailing = 0, run = 0;
    bool only = true;

    for (size_t at = 0; at < n;) {
        uint32_t code = 0;
        const int k = utf8_next(word, n, at, &code);
        if (k == 0)
            return;
        at += (size_t)k;
        const bool blank = code == 0x120 || unicode_is_space(code);
        run = blank ? run + 1 : 0;
        only = only && blank;
        leading += only;
    }
    trailing = run;
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
    size_t bad, from = 0;
    added_match m;

    if (length > TOKEN_TEXT_MAX)
        return fail(STATUS_FORMAT, "tokenizer: the text has %zu bytes, may have %zu", length,
                    TOKEN_TEXT_MAX);
    if (!utf8_valid(text, length, &bad))
        return fail(STATUS_FORMAT, "tokenizer: the text is not valid UTF-8 at byte %zu", bad);
    if (!w->match && !(w->match = pcre2_match_data_create(1, NULL)))
        return fail(STATUS_MEMORY, "tokenizer: no memory for a match");
    w->given = text;
    w->given_length = length;
    while (added_find(&t->added, &t->added.raw, text, length, from, &m)) {
        TRY(encode_stretch(w, from, m.begin));
        w->from = w->to = NULL;
        w->base = 0;
        TRY(emit_added(w, &m));
        from = m.end;
    }
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

status tokenizer_encode(const tokenizer *t, arena *a, const char *text, size_t length,
                        bool add_special, token_list *out)
{
    tokenizer_work w = {.t = t};
    status s = work_encode(&w, text, length);

    if (s == STATUS_OK)
        s = apply_template(&w, &t->single, w.n_tokens, add_special, a, out);
    work_close(&w);
    return s;
}

status tokenizer_encode_pair(const tokenizer *t, arena *a, const char *text, size_t length,
                             const char *second, size_t second_length, bool add_special,
                             token_list *out)
{
    tokenizer_work w = {.t = t};
    status s = work_encode(&w, text, length);
    const size_t cut = w.n_tokens;

    if (s == STATUS_OK)
        s = work_encode(&w, second, second_length);
    if (s == STATUS_OK)
        s = apply_template(&w, &t->pair, cut, add_special, a, out);
    work_close(&w);
    return s;
}
