/* wordpiece: a word is cut from left to right into the longest tokens, those inside it with a
 * prefix ("##"); a word that cannot be cut, or is too long, is one unknown token. And WordLevel,
 * where a word is one token. */
#include "data/tokenizer_parts.h"

#include <string.h>

static status emit_unknown(tokenizer_work *w, size_t begin, size_t end, int32_t unknown)
{
    if (unknown < 0)
        return fail(STATUS_FORMAT, "%s: \"%.*s\" is no token, and unk_token is none either",
                    w->t->what, end - begin < 80 ? (int)(end - begin) : 80, w->view.v + begin);
    return work_emit(w, unknown, begin, end);
}

static size_t characters(const char *text, size_t n)
{
    size_t k = 0;

    for (size_t i = 0; i < n; i++)
        k += ((uint8_t)text[i] & 0xC0) != 0x80;
    return k;
}

static uint32_t child(const piece_trie *trie, uint32_t node, uint8_t byte)
{
    return node == 0 ? trie->roots[byte] : piece_child(trie, node, byte);
}

/* The longest token at text[at, n): its end, or `at`. */
static size_t longest(const piece_trie *trie, uint32_t node, const char *text, size_t n, size_t at,
                      int32_t *id)
{
    size_t end = at;

    for (size_t i = at; i < n && (node = child(trie, node, (uint8_t)text[i])) != 0; i++)
        if (trie->nodes[node].id >= 0) {
            *id = trie->nodes[node].id;
            end = i + 1;
        }
    return end;
}

static status encode(tokenizer_work *w, size_t begin, size_t end)
{
    const wordpiece_model *m = &w->t->wordpiece;
    const char *text = w->view.v + begin;
    const size_t n = end - begin, before = w->n_tokens;
    size_t at = 0;

    if (n > m->max_characters && characters(text, n) > m->max_characters)
        return emit_unknown(w, begin, end, m->unknown);
    while (at < n) {
        int32_t id = -1;
        const uint32_t node = at == 0 ? 0 : m->inside;
        const size_t to = node == UINT32_MAX ? at : longest(&m->trie, node, text, n, at, &id);
        if (to == at) {
            w->n_tokens = before;
            return emit_unknown(w, begin, end, m->unknown);
        }
        TRY(work_emit(w, id, begin + at, begin + to));
        at = to;
    }
    return STATUS_OK;
}

status wordpiece_open(arena *a, tokenizer *t, const char *unknown, const char *prefix,
                      int64_t max_characters)
{
    static const token_model kind = {"WordPiece", encode};
    wordpiece_model *m = &t->wordpiece;

    m->unknown = vocabulary_find(&t->words, unknown, strlen(unknown));
    m->max_characters = (size_t)max_characters;
    TRY(piece_trie_open(a, &t->words, NULL, &m->trie));
    m->inside = 0;
    for (const char *p = prefix; *p && m->inside != UINT32_MAX; p++) {
        const uint32_t next = child(&m->trie, m->inside, (uint8_t)*p);
        m->inside = next ? next : UINT32_MAX;
    }
    t->model = &kind;
    return STATUS_OK;
}

static status encode_word(tokenizer_work *w, size_t begin, size_t end)
{
    const int32_t id = vocabulary_find(&w->t->words, w->view.v + begin, end - begin);

    return id >= 0 ? work_emit(w, id, begin, end)
                   : emit_unknown(w, begin, end, w->t->wordpiece.unknown);
}

status wordlevel_open(tokenizer *t, const char *unknown)
{
    static const token_model kind = {"WordLevel", encode_word};

    t->wordpiece.unknown = vocabulary_find(&t->words, unknown, strlen(unknown));
    t->model = &kind;
    return STATUS_OK;
}
