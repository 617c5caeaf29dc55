/* spm_bpe: BPE as SentencePiece does it. There is no list of merges: of all neighbouring parts that
 * make a piece together, those that make the one with the best score become one, the leftmost among
 * equals. A part that is no piece becomes the tokens of its bytes, or the unknown token. */
#include "core/compiler.h"
#include "data/tokenizer_parts.h"

#include <string.h>

/* A pair on the heap: the part at `at` and the next one, `n` bytes together. */
typedef struct pair {
    float score;
    uint32_t at, n;
} pair;

typedef struct merger {
    const tokenizer *t;
    const char *text;
    bpe_symbol *v; /* id: only -1 for parts that were swallowed */
    pair *heap;
    size_t n;
} merger;

static bool before(const pair *a, const pair *b)
{
    return a->score > b->score || (a->score == b->score && a->at < b->at);
}

static void push(merger *m, pair x)
{
    size_t at = m->n++;

    for (; at > 0 && before(&x, &m->heap[(at - 1) / 2]); at = (at - 1) / 2)
        m->heap[at] = m->heap[(at - 1) / 2];
    m->heap[at] = x;
}

static pair pop(merger *m)
{
    const pair top = m->heap[0], x = m->heap[--m->n];
    size_t at = 0;

    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= m->n)
            break;
        if (child + 1 < m->n && before(&m->heap[child + 1], &m->heap[child]))
            child++;
        if (!before(&m->heap[child], &x))
            break;
        m->heap[at] = m->heap[child];
        at = child;
    }
    m->heap[at] = x;
    return top;
}

static int32_t find(const tokenizer *t, const char *text, size_t n)
{
    const int32_t id = n <= t->spm.longest ? vocabulary_find(&t->words, text, n) : -1;

    return id >= 0 && t->spm.use[id] ? id : -1;
}

static void look(merger *m, uint32_t at)
{
    const bpe_symbol *left = &m->v[at];

    if (at == UINT32_MAX || left->next == UINT32_MAX)
        return;
    const uint32_t n = m->v[left->next].end - left->begin;
    const int32_t id = find(m->t, m->text + left->begin, n);
    if (id >= 0)
        push(m, (pair){m->t->spm.scores[id], at, n});
}

static void merge(merger *m)
{
    while (m->n > 0) {
        const pair top = pop(m);
        bpe_symbol *left = &m->v[top.at];
        if (left->id < 0 || left->next == UINT32_MAX ||
            m->v[left->next].end - left->begin != top.n)
            continue; /* one of the two was merged since */
        bpe_symbol *right = &m->v[left->next];
        left->end = right->end;
        left->next = right->next;
        right->id = -1;
        if (left->next != UINT32_MAX)
            m->v[left->next].previous = top.at;
        if (left->previous != UINT32_MAX)
            look(m, left->previous);
        look(m, top.at);
    }
}

static uint32_t begin_symbols(const char *text, size_t n, bpe_symbol *v)
{
    uint32_t k = 0;

    for (size_t at = 0; at < n; k++) {
        const size_t begin = at;
        do
            at++;
        while (at < n && ((uint8_t)text[at] & 0xC0) == 0x80);
        v[k] = (bpe_symbol){.begin = (uint32_t)begin,
                            .end = (uint32_t)at,
                            .next = at < n ? k + 1 : UINT32_MAX,
                            .previous = k > 0 ? k - 1 : UINT32_MAX};
    }
    return k;
}

/* Parts [begin, end) of the view that are no piece: neighbours have one unknown token. */
static status emit(tokenizer_work *w, size_t begin, size_t end, bool *after_unknown)
{
    const spm_bpe_model *m = &w->t->spm;
    const int32_t id = find(w->t, w->view.v + begin, end - begin);

    if (id < 0 && !m->byte_fallback && *after_unknown) {
        w->tokens[w->n_tokens - 1].end = (uint32_t)view_to(&w->view, end - 1);
        return STATUS_OK;
    }
    *after_unknown = id < 0 && !m->byte_fallback;
    if (id >= 0 || !m->byte_fallback)
        return work_emit(w, id >= 0 ? id : m->unknown, begin, end);
    for (size_t i = begin; i < end; i++)
        TRY(work_emit(w, m->bytes[(uint8_t)w->view.v[i]], begin, end));
    return STATUS_OK;
}

static status encode(tokenizer_work *w, size_t begin, size_t end)
{
    const size_t n = end - begin;
    bool after_unknown = false;

    TRY(grow(&w->scratch[1], &w->room_scratch[1], n * sizeof(bpe_symbol), 1));
    TRY(grow(&w->scratch[2], &w->room_scratch[2], 3 * n * sizeof(pair), 1));
    merger m = {w->t, w->view.v + begin, w->scratch[1], w->scratch[2], 0};
    const uint32_t parts = begin_symbols(m.text, n, m.v);
    for (uint32_t i = 0; i < parts; i++)
        look(&m, i);
    merge(&m);
    for (uint32_t i = 0; i != UINT32_MAX; i = m.v[i].next)
        TRY(emit(w, begin + m.v[i].begin, begin + m.v[i].end, &after_unknown));
    return STATUS_OK;
}

status spm_bpe_open(tokenizer *t, float *scores, bool *use, int32_t unknown, bool byte_fallback)
{
    static const token_model kind = {"SentencePiece BPE", encode};
    spm_bpe_model *m = &t->spm;

    *m = (spm_bpe_model){
        .scores = scores, .use = use, .unknown = unknown, .byte_fallback = byte_fallback};
    for (int32_t id = 0; id < t->words.n_ids; id++)
        if (vocabulary_has(&t->words, id) && use[id] && t->words.length[id] > m->longest)
            m->longest = t->words.length[id];
    byte_tokens(&t->words, m->bytes);
    for (int byte = 0; byte < 256 && byte_fallback; byte++)
        if (m->bytes[byte] < 0)
            return fail(STATUS_FORMAT, "%s: byte fallback is on, and <0x%02X> is not a token",
                        t->what, (unsigned)byte);
    t->model = &kind;
    return STATUS_OK;
}
