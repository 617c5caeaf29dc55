/* added_tokens: tokens that are found in the text as they are, longest first at the leftmost place.
 *
 * A trie over bytes is walked at each place whose byte begins a token. A match that stands inside a
 * word though it must not (single_word) is passed over as a whole, like the reference does. */
#include "core/utf8.h"
#include "data/tokenizer_parts.h"

#include <string.h>

typedef struct trie_node {
    uint32_t child, sibling; /* 0: none */
    int32_t token;           /* index into added_tokens, -1: no token ends here */
    uint8_t byte;
} trie_node;

static status trie_open(arena *a, token_trie *trie, size_t bytes)
{
    CHECK(bytes < UINT32_MAX - 1);
    trie->room = (uint32_t)bytes + 1;
    trie->n = 1; /* node 0 is "none" */
    TRY_TAKE(trie->nodes, a, trie->room);
    return STATUS_OK;
}

static uint32_t trie_child(token_trie *trie, uint32_t *first, uint8_t byte)
{
    for (uint32_t at = *first; at; at = trie->nodes[at].sibling)
        if (trie->nodes[at].byte == byte)
            return at;
    CHECK(trie->n < trie->room);
    trie->nodes[trie->n] = (trie_node){.sibling = *first, .token = -1, .byte = byte};
    return *first = trie->n++;
}

/* Of two tokens with equal (normalised) texts the first stays. */
static void trie_add(token_trie *trie, const char *text, size_t n, int32_t token)
{
    uint32_t at = trie_child(trie, &trie->root[(uint8_t)text[0]], (uint8_t)text[0]);

    for (size_t i = 1; i < n; i++)
        at = trie_child(trie, &trie->nodes[at].child, (uint8_t)text[i]);
    if (trie->nodes[at].token < 0)
        trie->nodes[at].token = token;
}

/* Longest token at text[0, n): its index, or -1. */
static int32_t trie_longest(const token_trie *trie, const char *text, size_t n)
{
    int32_t best = -1;
    uint32_t at = trie->root[(uint8_t)text[0]];

    for (size_t i = 1; at; i++) {
        if (trie->nodes[at].token >= 0)
            best = trie->nodes[at].token;
        if (i == n)
            break;
        at = trie->nodes[at].child;
        while (at && trie->nodes[at].byte != (uint8_t)text[i])
            at = trie->nodes[at].sibling;
    }
    return best;
}

/* What is looked for: the token's text, or what the normalisers make of it. */
static status looked_for(arena *a, const tokenizer *t, added_token *token)
{
    tokenizer_work w = {.t = t};
    const text_view given = {.v = token->text, .n = token->n};
    text_view out = {0};

    token->found = token->text;
    token->n_found = token->n;
    if (!token->normalized || token->literal || t->n_normalizers == 0)
        return STATUS_OK;
    status s = work_match(&w);
    if (s == STATUS_OK)
        s = normalize(&w, &given, &out);
    if (s == STATUS_OK && out.n == 0)
        s = fail(STATUS_FORMAT, "%s: nothing is left of the added token \"%.80s\" when it is "
                 "normalised", t->what, token->text);
    if (s == STATUS_OK && (out.n != token->n || memcmp(out.v, token->text, out.n) != 0)) {
        token->n_found = out.n;
        token->found = arena_copy(a, out.v, out.n);
        s = token->found ? STATUS_OK : STATUS_MEMORY;
    }
    work_close(&w);
    return s;
}

status added_tokens_index(arena *a, tokenizer *t)
{
    added_tokens *all = &t->added;
    size_t bytes = 1;

    for (size_t i = 0; i < all->n; i++) {
        TRY(looked_for(a, t, &all->v[i]));
        bytes += all->v[i].n_found;
    }
    TRY(trie_open(a, &all->raw, bytes));
    TRY(trie_open(a, &all->normal, bytes));
    TRY_TAKE(all->special, a, t->words.capacity);
    memset(all->special, 0, (size_t)t->words.capacity);
    TRY_TAKE(all->by_id, a, t->words.capacity);
    memset(all->by_id, 0xFF, (size_t)t->words.capacity * sizeof *all->by_id);
    for (size_t i = 0; i < all->n; i++) {
        const added_token *token = &all->v[i];
        all->special[token->id] = token->special;
        all->by_id[token->id] = (int32_t)i;
        trie_add(token->normalized ? &all->normal : &all->raw, token->found, token->n_found,
                 (int32_t)i);
    }
    return STATUS_OK;
}

const added_token *added_by_id(const added_tokens *all, int32_t id)
{
    return all->by_id[id] >= 0 ? &all->v[all->by_id[id]] : NULL;
}

/* Start of the last character of text[0, end). */
static size_t step_back(const char *text, size_t end)
{
    do
        end--;
    while (end > 0 && ((uint8_t)text[end] & 0xC0) == 0x80);
    return end;
}

static bool inside_word(const char *text, size_t length, size_t begin, size_t end)
{
    uint32_t code;

    if (begin > 0 && utf8_next(text, length, step_back(text, begin), &code) &&
        unicode_is_word(code))
        return true;
    return end < length && utf8_next(text, length, end, &code) && unicode_is_word(code);
}

static void eat_blanks(const char *text, size_t length, size_t from, added_match *m)
{
    uint32_t code;

    while (m->token->lstrip && m->begin > from) {
        const size_t before = step_back(text, m->begin);
        if (!utf8_next(text, length, before, &code) || !unicode_is_space(code))
            break;
        m->begin = before;
    }
    if (m->token->lstrip && m->begin < from)
        m->begin = from;
    while (m->token->rstrip && m->end < length) {
        const int n = utf8_next(text, length, m->end, &code);
        if (n == 0 || !unicode_is_space(code))
            break;
        m->end += (size_t)n;
    }
}

bool added_find(const added_tokens *all, const token_trie *trie, const char *text, size_t length,
                size_t at, size_t from, added_match *out)
{
    if (trie->n <= 1)
        return false;
    for (; at < length; at++) {
        if (!trie->root[(uint8_t)text[at]])
            continue;
        const int32_t found = trie_longest(trie, text + at, length - at);
        if (found < 0)
            continue;
        const added_token *token = &all->v[found];
        const size_t n = token->n_found;
        if (token->single_word && inside_word(text, length, at, at + n)) {
            at += n - 1;
            continue;
        }
        *out = (added_match){at, at + n, at + n, token};
        eat_blanks(text, length, from, out);
        return true;
    }
    return false;
}
