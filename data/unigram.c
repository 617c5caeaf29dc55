/* unigram: of all ways to cut a piece into tokens the one with the best sum of scores.
 *
 * Best paths in float64 (models of SentencePiece: float32) from left to right; a later path
 * replaces an earlier one only if it is strictly better. A character that is no token costs the
 * unknown score; neighbouring unknowns become one token, or with byte fallback the tokens of their
 * bytes. */
#include "core/compiler.h"
#include "data/tokenizer_parts.h"

#include <stdio.h>
#include <string.h>

/* The best way to get to a byte; begin UINT32_MAX: none yet. */
typedef struct best_path {
    double score;
    uint32_t begin; /* of its last token */
    int32_t id;
} best_path;

static inline void offer(const unigram_model *u, best_path *at, double score, size_t begin,
                         int32_t id)
{
    if (u->single)
        score = (double)(float)score;
    if (at->begin == UINT32_MAX || score > at->score)
        *at = (best_path){score, (uint32_t)begin, id};
}

/* Every token that begins at text[at]. */
static bool offer_tokens(const unigram_model *u, const char *text, size_t n, size_t at,
                         size_t character, best_path *best)
{
    const double before = best[at].score;
    uint32_t node = u->trie.roots[(uint8_t)text[at]];
    bool single = false;

    for (size_t end = at + 1; node; end++) {
        const int32_t id = u->trie.nodes[node].id;
        if (id >= 0) {
            offer(u, &best[end], u->scores[id] + before, at, id);
            single = single || end == at + character;
        }
        if (end == n)
            break;
        node = piece_child(&u->trie, node, (uint8_t)text[end]);
    }
    return single;
}

static status find_best(const tokenizer *t, const char *text, size_t n, best_path *best)
{
    const unigram_model *u = &t->unigram;

    for (size_t i = 1; i <= n; i++)
        best[i].begin = UINT32_MAX;
    best[0] = (best_path){0, UINT32_MAX, -1};
    for (size_t at = 0, character; at < n; at += character) {
        const uint8_t first = (uint8_t)text[at];
        character = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
        if (offer_tokens(u, text, n, at, character, best))
            continue;
        if (u->unknown < 0)
            return fail(STATUS_FORMAT, "%s: \"%.*s\" is no token, and the file names no unk_id",
                        t->what, (int)character, text + at);
        offer(u, &best[at + character], u->unknown_score + best[at].score, at, u->unknown);
    }
    return STATUS_OK;
}

/* Text that is no token: all its bytes, or the unknown token. */
static status emit_unknown(tokenizer_work *w, size_t begin, size_t end)
{
    const unigram_model *u = &w->t->unigram;
    const int32_t id = vocabulary_find(&w->t->words, w->view.v + begin, end - begin);
    bool bytes = id < 0 && u->byte_fallback;

    for (size_t i = begin; bytes && i < end; i++)
        bytes = u->bytes[(uint8_t)w->view.v[i]] >= 0;
    if (!bytes) {
        TRY(work_emit(w, id >= 0 ? id : u->unknown, begin, end));
        work_own_text(w, begin, end);
        return STATUS_OK;
    }
    for (size_t i = begin; i < end; i++)
        TRY(work_emit(w, u->bytes[(uint8_t)w->view.v[i]], begin, end));
    return STATUS_OK;
}

static status encode(tokenizer_work *w, size_t begin, size_t end)
{
    const unigram_model *u = &w->t->unigram;
    const size_t n = end - begin;

    TRY(grow(&w->scratch[0], &w->room_scratch[0], (n + 1) * sizeof(best_path), 1));
    TRY(grow(&w->scratch[1], &w->room_scratch[1], (n + 1) * sizeof(bpe_symbol), 1));
    best_path *best = w->scratch[0];
    uint32_t *ends = w->scratch[1], k = 0;
    TRY(find_best(w->t, w->view.v + begin, n, best));
    for (size_t at = n; at > 0; at = best[at].begin)
        ends[k++] = (uint32_t)at;
    while (k > 0) {
        const best_path *path = &best[ends[--k]];
        const size_t from = path->begin;
        if (path->id != u->unknown) {
            TRY(work_emit(w, path->id, begin + from, begin + ends[k]));
            continue;
        }
        while (k > 0 && best[ends[k - 1]].id == u->unknown)
            k--;
        TRY(emit_unknown(w, begin + from, begin + ends[k]));
    }
    return STATUS_OK;
}

void byte_tokens(const vocabulary *words, int32_t ids[256])
{
    for (int byte = 0; byte < 256; byte++) {
        char name[8];
        const int n = snprintf(name, sizeof name, "<0x%02X>", byte);
        ids[byte] = vocabulary_find(words, name, (size_t)n);
    }
}

status unigram_open(arena *a, tokenizer *t, double *scores, double lowest, int32_t unknown,
                    bool byte_fallback, const bool *use)
{
    static const token_model kind = {"Unigram", encode};
    unigram_model *u = &t->unigram;

    *u = (unigram_model){.scores = scores,
                         .unknown = unknown,
                         .unknown_score = lowest - UNKNOWN_PENALTY,
                         .byte_fallback = byte_fallback};
    byte_tokens(&t->words, u->bytes);
    TRY(piece_trie_open(a, &t->words, use, &u->trie));
    t->model = &kind;
    return STATUS_OK;
}
