/* piece_trie: the vocabulary as a trie over bytes, level by level: the children of a node lie side
 * by side in the order of their bytes, and where they end the next node's begin. */
#include "data/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

typedef struct sort_key {
    uint64_t head; /* the first 8 bytes, so that most comparisons end here */
    const char *text;
    uint32_t n;
    int32_t id;
} sort_key;

static int by_text(const void *a, const void *b)
{
    const sort_key *x = a, *y = b;

    if (x->head != y->head)
        return x->head < y->head ? -1 : 1;
    const int order = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);
    if (order != 0)
        return order;
    return x->n != y->n ? (x->n < y->n ? -1 : 1) : (x->id > y->id) - (x->id < y->id);
}

/* Keys [first, end) share their first `depth` bytes; what waits to become a node. */
typedef struct branch {
    uint32_t first, end, depth;
} branch;

typedef struct builder {
    sort_key *keys;
    branch *queue; /* [nodes] */
    piece_trie *trie;
} builder;

/* Nodes and their labels below node `at`; the key that ends here, if any, is its token. */
static void expand(builder *b, uint32_t at)
{
    const branch here = b->queue[at];
    piece_trie *trie = b->trie;
    uint32_t first = here.first;

    trie->nodes[at] = (piece_node){trie->n, -1};
    while (first < here.end && b->keys[first].n == here.depth)
        trie->nodes[at].id = b->keys[first++].id;
    while (first < here.end) {
        const char byte = b->keys[first].text[here.depth];
        uint32_t end = first + 1;
        while (end < here.end && b->keys[end].text[here.depth] == byte)
            end++;
        trie->labels[trie->n] = (uint8_t)byte;
        b->queue[trie->n++] = (branch){first, end, here.depth + 1};
        first = end;
    }
}

/* Sorted keys of the tokens in use, and how many nodes they make at most. */
static uint32_t collect(const vocabulary *words, const bool *use, sort_key *keys, size_t *nodes)
{
    uint32_t n = 0;

    *nodes = 1;
    for (int32_t id = 0; id < words->n_ids; id++) {
        if (!vocabulary_has(words, id) || (use && !use[id]))
            continue;
        sort_key *key = &keys[n++];
        *key = (sort_key){0, words->bytes + words->at[id], words->length[id], id};
        for (uint32_t i = 0; i < 8; i++)
            key->head = key->head << 8 | (i < key->n ? (uint8_t)key->text[i] : 0);
    }
    qsort(keys, n, sizeof *keys, by_text);
    for (uint32_t k = 0; k < n; k++) {
        uint32_t same = 0;
        while (k > 0 && same < keys[k].n && same < keys[k - 1].n &&
               keys[k].text[same] == keys[k - 1].text[same])
            same++;
        *nodes += keys[k].n - same;
    }
    return n;
}

status piece_trie_open(arena *a, const vocabulary *words, const bool *use, piece_trie *trie)
{
    builder b = {.trie = trie};
    size_t nodes;

    b.keys = malloc(((size_t)words->n_ids + 1) * sizeof *b.keys);
    if (!b.keys)
        return fail(STATUS_MEMORY, "tokenizer: no memory to sort %d tokens", words->n_ids);
    const uint32_t n = collect(words, use, b.keys, &nodes);
    b.queue = malloc(nodes * sizeof *b.queue);
    *trie = (piece_trie){.n = 1,
                         .nodes = arena_take(a, nodes + 1, sizeof *trie->nodes),
                         .labels = arena_take(a, nodes, 1)};
    if (b.queue && trie->nodes && trie->labels) {
        b.queue[0] = (branch){0, n, 0};
        trie->labels[0] = 0;
        for (uint32_t at = 0; at < trie->n; at++)
            expand(&b, at);
        CHECK(trie->n == nodes);
        trie->nodes[nodes] = (piece_node){trie->n, -1};
        for (uint32_t at = trie->nodes[0].first; at < trie->nodes[1].first; at++)
            trie->roots[trie->labels[at]] = at;
    }
    free(b.keys);
    free(b.queue);
    return b.queue && trie->nodes && trie->labels
               ? STATUS_OK
               : fail(STATUS_MEMORY, "tokenizer: no memory for a trie of %zu nodes", nodes);
}
