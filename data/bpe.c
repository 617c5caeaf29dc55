/* bpe: byte pair encoding of a piece.
 *
 * The piece begins as one token a byte; the neighbouring pair with the lowest rank, the leftmost
 * among equals, becomes one token, until no pair is in the table. Short pieces are searched again
 * after each merge; long ones keep their pairs in a heap, so a piece of n bytes costs n log n. */
#include "data/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

enum { SHORT_MAX = 40 };

static status bpe_encode(tokenizer_work *w, size_t begin, size_t end);

static inline const bpe_merge *find_merge(const bpe_model *b, int32_t left, int32_t right)
{
    const uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;

    for (uint64_t at = key * 0x9E3779B97F4A7C15u >> b->shift;; at = (at + 1) & b->mask) {
        const bpe_merge *m = &b->slots[at];
        if (m->left == (uint32_t)left && m->right == (uint32_t)right)
            return m;
        if (m->left == UINT32_MAX)
            return NULL;
    }
}

bool bpe_merges(const bpe_model *b, int32_t left, int32_t right)
{
    return find_merge(b, left, right) != NULL;
}

status bpe_open(arena *a, size_t merges, bpe_model *b)
{
    int bits = 4;

    CHECK(merges < (size_t)1 << 28);
    while ((size_t)1 << bits < 2 * merges)
        bits++;
    b->mask = ((uint64_t)1 << bits) - 1;
    b->shift = 64 - bits;
    b->unknown = -1;
    TRY_TAKE(b->slots, a, b->mask + 1);
    memset(b->slots, 0xFF, (size_t)(b->mask + 1) * sizeof *b->slots);
    TRY_TAKE(b->cache, a, BPE_CACHE_SLOTS);
    memset(b->cache, 0, BPE_CACHE_SLOTS * sizeof *b->cache);
    return STATUS_OK;
}

status bpe_add_merge(tokenizer *t, const char *left, size_t n_left, const char *right,
                     size_t n_right)
{
    bpe_model *b = &t->bpe;
    const size_t cut = n_right < b->n_prefix ? n_right : b->n_prefix; /* of the right one */
    const size_t n = n_left + n_right - cut;
    const int32_t l = vocabulary_find(&t->words, left, n_left);
    const int32_t r = vocabulary_find(&t->words, right, n_right);
    char small[256], *whole = small;

    if (l < 0 || r < 0)
        return fail(STATUS_FORMAT, "%s: merge %u is \"%.*s\" + \"%.*s\", \"%.*s\" is not a token",
                    t->what, b->n_merges, (int)n_left, left, (int)n_right, right,
                    (int)(l < 0 ? n_left : n_right), l < 0 ? left : right);
    if (n > sizeof small && !(whole = malloc(n)))
        return fail(STATUS_MEMORY, "%s: no memory for a token of %zu bytes", t->what, n);
    memcpy(whole, left, n_left);
    memcpy(whole + n_left, right + cut, n_right - cut);
    const int32_t id = vocabulary_find(&t->words, whole, n);
    if (whole != small)
        free(whole);
    if (id < 0)
        return fail(STATUS_FORMAT, "%s: merge %u is \"%.*s\" + \"%.*s\", which is not a token",
                    t->what, b->n_merges, (int)n_left, left, (int)n_right, right);

    const uint64_t key = (uint64_t)(uint32_t)l << 32 | (uint32_t)r;
    uint64_t at = key * 0x9E3779B97F4A7C15u >> b->shift;
    while (b->slots[at].left != UINT32_MAX &&
           (b->slots[at].left != (uint32_t)l || b->slots[at].right != (uint32_t)r))
        at = (at + 1) & b->mask;
    b->slots[at] = (bpe_merge){(uint32_t)l, (uint32_t)r, b->n_merges++, (uint32_t)id};
    return STATUS_OK;
}

void bpe_finish(tokenizer *t)
{
    static const token_model kind = {"BPE", bpe_encode};

    t->model = &kind;
    if (!t->byte_level) {
        byte_tokens(&t->words, t->bpe.byte_ids);
        return;
    }
    for (int byte = 0; byte < 256; byte++) {
        char text[4];
        const char one = (char)byte;
        const size_t n = byte_stand_ins(&one, 1, text);
        t->bpe.byte_ids[byte] = vocabulary_find(&t->words, text, n);
    }
}

/* Symbols of the piece's bytes; *dropped when a byte has none. */
static size_t begin_symbols(const bpe_model *b, const char *piece, size_t n, bpe_symbol *v,
                            bool *dropped)
{
    size_t to = 0;

    *dropped = false;
    for (size_t i = 0; i < n; i++) {
        int32_t id = b->byte_ids[(uint8_t)piece[i]];
        if (id < 0 && b->unknown >= 0) {
            id = b->unknown;
            if (b->fuse_unknown && to > 0 && i > 0 && b->byte_ids[(uint8_t)piece[i - 1]] < 0) {
                v[to - 1].end = (uint32_t)i + 1;
                continue;
            }
        }
        if (id < 0) {
            *dropped = true;
            continue;
        }
        v[to++] = (bpe_symbol){.id = id, .begin = (uint32_t)i, .end = (uint32_t)i + 1};
    }
    return to;
}

static size_t merge_short(const bpe_model *b, bpe_symbol *v, size_t n)
{
    uint32_t ranks[SHORT_MAX], ids[SHORT_MAX]; /* of the pair i, i + 1 */

#define LOOK(i)                                                                                    \
    do {                                                                                           \
        const bpe_merge *m_ = find_merge(b, v[i].id, v[(i) + 1].id);                               \
        ranks[i] = m_ ? m_->rank : UINT32_MAX;                                                     \
        ids[i] = m_ ? m_->id : 0;                                                                  \
    } while (0)
    for (size_t i = 0; i + 1 < n; i++)
        LOOK(i);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == UINT32_MAX)
            break;
        v[best].id = (int32_t)ids[best];
        v[best].end = v[best + 1].end;
        n--;
        memmove(v + best + 1, v + best + 2, (n - best - 1) * sizeof *v);
        memmove(ranks + best, ranks + best + 1, (n - best - 1) * sizeof *ranks);
        memmove(ids + best, ids + best + 1, (n - best - 1) * sizeof *ids);
        if (best + 1 < n)
            LOOK(best);
        if (best > 0)
            LOOK(best - 1);
    }
#undef LOOK
    return n;
}

/* A heap of rank << 32 | place, the smallest first. */
typedef struct pair_heap {
    uint64_t *v;
    size_t n;
} pair_heap;

static void heap_push(pair_heap *h, uint64_t x)
{
    size_t at = h->n++;

    for (; at > 0 && h->v[(at - 1) / 2] > x; at = (at - 1) / 2)
        h->v[at] = h->v[(at - 1) / 2];
    h->v[at] = x;
}

static uint64_t heap_pop(pair_heap *h)
{
    const uint64_t top = h->v[0], x = h->v[--h->n];
    size_t at = 0;

    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= h->n)
            break;
        if (child + 1 < h->n && h->v[child + 1] < h->v[child])
            child++;
        if (h->v[child] >= x)
            break;
        h->v[at] = h->v[child];
        at = child;
    }
    h->v[at] = x;
    return top;
}

static void look_pair(const bpe_model *b, pair_heap *h, const bpe_symbol *v, uint32_t at)
{
    if (v[at].next == UINT32_MAX)
        return;
    const bpe_merge *m = find_merge(b, v[at].id, v[v[at].next].id);
    if (m)
        heap_push(h, (uint64_t)m->rank << 32 | at);
}

static status merge_long(tokenizer_work *w, const bpe_model *b, bpe_symbol *v, size_t *count)
{
    const size_t n = *count;

    /* n - 1 pairs at first, at most two new ones a merge */
    TRY(grow(&w->scratch[2], &w->room_scratch[2], 3 * n * sizeof(uint64_t), 1));
    pair_heap heap = {w->scratch[2], 0};
    for (size_t i = 0; i < n; i++) {
        v[i].next = i + 1 < n ? (uint32_t)i + 1 : UINT32_MAX;
        v[i].previous = i > 0 ? (uint32_t)i - 1 : UINT32_MAX;
    }
    for (size_t i = 0; i < n; i++)
        look_pair(b, &heap, v, (uint32_t)i);
    while (heap.n > 0) {
        const uint64_t top = heap_pop(&heap);
        const uint32_t at = (uint32_t)top, next = v[at].next;
        if (v[at].id < 0 || next == UINT32_MAX)
            continue;
        const bpe_merge *m = find_merge(b, v[at].id, v[next].id);
        if (!m || m->rank != top >> 32)
            continue; /* one of the two was merged since */
        v[at].id = (int32_t)m->id;
        v[at].end = v[next].end;
        v[at].next = v[next].next;
        v[next].id = -1;
        if (v[at].next != UINT32_MAX)
            v[v[at].next].previous = at;
        look_pair(b, &heap, v, at);
        if (v[at].previous != UINT32_MAX)
            look_pair(b, &heap, v, v[at].previous);
    }
    size_t to = 0;
    for (size_t i = 0; i < n; i++)
        if (v[i].id >= 0)
            v[to++] = v[i];
    *count = to;
    return STATUS_OK;
}

/* Places after bytes were dropped: the reference counts the stand-ins of the tokens that are left
 * from the start of the piece, so everything behind a dropped byte is shifted. */
static void shift_places(const vocabulary *words, const char *piece, size_t n, bpe_symbol *v,
                         size_t count)
{
    size_t byte = 0, at = 0, end = 0; /* stand-ins before `byte` end at `at` */

    for (size_t i = 0; i < count; i++) {
        const size_t begin = end;
        end += words->length[v[i].id];
        while (byte < n && at + (byte_stand_in((uint8_t)piece[byte]) < 0x80 ? 1 : 2) <= begin)
            at += byte_stand_in((uint8_t)piece[byte++]) < 0x80 ? 1 : 2;
        v[i].begin = (uint32_t)byte;
        size_t to = byte, to_at = at;
        while (to < n && to_at < end)
            to_at += byte_stand_in((uint8_t)piece[to++]) < 0x80 ? 1 : 2;
        v[i].end = (uint32_t)to;
    }
}

static bpe_cached *cache_slot(const bpe_model *b, const char *piece, size_t n)
{
    uint64_t words[4] = {0};

    memcpy(words, piece, n);
    uint64_t h = (words[0] ^ n) * 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 29 ^ words[1]) * 0xD6E8FEB86659FD93u;
    h = (h ^ h >> 32 ^ words[2]) * 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 29 ^ words[3]) * 0xD6E8FEB86659FD93u;
    return &b->cache[h >> 49];
}

static bool cache_lock(bpe_cached *slot)
{
    return !__atomic_test_and_set(&slot->busy, __ATOMIC_ACQUIRE);
}

static void cache_unlock(bpe_cached *slot)
{
    __atomic_clear(&slot->busy, __ATOMIC_RELEASE);
}

/* The piece from the cache, or *hit false. */
static status cache_take(tokenizer_work *w, bpe_cached *slot, size_t begin, size_t n, bool *hit)
{
    status s = STATUS_OK;

    *hit = false;
    if (!cache_lock(slot))
        return STATUS_OK;
    if (slot->length == n && memcmp(slot->piece, w->view.v + begin, n) == 0) {
        *hit = true;
        for (int i = 0; i < slot->n && s == STATUS_OK; i++)
            s = work_emit(w, slot->ids[i], begin + (i > 0 ? slot->ends[i - 1] : 0),
                          begin + slot->ends[i]);
    }
    cache_unlock(slot);
    return s;
}

static void cache_put(bpe_cached *slot, const char *piece, size_t n, const bpe_symbol *v, size_t count)
{
    if (!cache_lock(slot))
        return;
    slot->length = (uint8_t)n;
    slot->n = (uint8_t)count;
    memcpy(slot->piece, piece, n);
    for (size_t i = 0; i < count; i++) {
        slot->ids[i] = v[i].id;
        slot->ends[i] = (uint8_t)v[i].end;
    }
    cache_unlock(slot);
}

/* ignore_merges: a piece that is a token as a whole. */
static int32_t whole_token(const tokenizer *t, const char *piece, size_t n)
{
    char text[512];

    if (!t->bpe.ignore_merges)
        return -1;
    if (!t->byte_level)
        return vocabulary_find(&t->words, piece, n);
    return n > sizeof text / 2
               ? -1
               : vocabulary_find(&t->words, text, byte_stand_ins(piece, n, text));
}

/* The tokens of a piece; *v is small, or lies in w when there may be more than SHORT_MAX. */
static status encode_piece(tokenizer_work *w, const char *piece, size_t n, bpe_symbol **v,
                           size_t *count, bool *dropped)
{
    const tokenizer *t = w->t;
    const bpe_model *b = &t->bpe;
    const size_t room = t->byte_level ? n : bpe_chars_room(b, n);

    if (room > SHORT_MAX) {
        TRY(grow(&w->scratch[1], &w->room_scratch[1], room * sizeof(bpe_symbol), 1));
        *v = w->scratch[1];
    }
    *dropped = false;
    *count = t->byte_level ? begin_symbols(b, piece, n, *v, dropped)
                           : bpe_chars_begin(t, piece, n, *v);
    if (*count > SHORT_MAX)
        TRY(merge_long(w, b, *v, count));
    else
        *count = merge_short(b, *v, *count);
    if (*dropped)
        shift_places(&t->words, piece, n, *v, *count);
    return STATUS_OK;
}

static status bpe_encode(tokenizer_work *w, size_t begin, size_t end)
{
    const tokenizer *t = w->t;
    const size_t n = end - begin;
    const char *piece = w->view.v + begin;
    bpe_cached *slot = n <= BPE_CACHE_BYTES ? cache_slot(&t->bpe, piece, n) : NULL;
    bpe_symbol small[SHORT_MAX], *v = small;
    size_t count;
    bool hit, dropped;

    if (slot) {
        TRY(cache_take(w, slot, begin, n, &hit));
        if (hit)
            return STATUS_OK;
    }
    const int32_t whole = whole_token(t, piece, n);
    if (whole >= 0)
        return work_emit(w, whole, begin, end);
    TRY(encode_piece(w, piece, n, &v, &count, &dropped));
    for (size_t i = 0; i < count; i++)
        TRY(work_emit(w, v[i].id, begin + v[i].begin, begin + v[i].end));
    if (slot && !dropped && count <= BPE_CACHE_TOKENS)
        cache_put(slot, piece, n, v, count);
    return STATUS_OK;
}
