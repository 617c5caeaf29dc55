/* attention: what a query may see, and where keys lie; for attention and its plain composition */
#ifndef AUTOGRAD_OPS_ATTENTION_H
#define AUTOGRAD_OPS_ATTENTION_H

#include "autograd/ops/kernel.h"
#include "autograd/ops/relative.h"

enum { PAGE = 32 };

typedef struct attention_view {
    int64_t        H, Hk, G, D, S; /* G = H / Hk query heads read one key head */
    const int32_t *q_offsets, *k_offsets, *q_start, *blocks;
    int64_t        n_blocks; /* of a sequence */
    bool           causal;
    int64_t        window;
    const real     *bias; /* [buckets, H], NULL: none; attention only */
    int64_t         buckets;
    const relative *near; /* which bucket a distance has */
} attention_view;

/* offsets: index of the input q_offsets; D: size of a head. */
static inline attention_view attention_view_of(const op_args *a, int offsets, int64_t D)
{
    const bool     start = offsets + 2 < a->n_in && a->in[offsets + 2];
    const bool     paged = offsets + 3 < a->n_in && a->in[offsets + 3];
    attention_view w = {.H = a->attr->attention.heads, .Hk = a->attr->attention.kv_heads, .D = D};

    w.G = w.H / w.Hk;
    w.S = rows_in_use(a->in[offsets]) - 1;
    w.q_offsets = a->in[offsets]->v;
    w.k_offsets = a->in[offsets + 1]->v;
    w.q_start = start ? a->in[offsets + 2]->v : NULL;
    w.blocks = paged ? a->in[offsets + 3]->v : NULL;
    w.n_blocks = paged ? a->in[offsets + 3]->s.d[1] : 0;
    w.causal = a->attr->attention.causal;
    w.window = a->attr->attention.window;
    return w;
}

static inline int64_t attention_queries(const attention_view *w, int64_t s)
{
    return w->q_offsets[s + 1] - w->q_offsets[s];
}

static inline int64_t attention_keys(const attention_view *w, int64_t s)
{
    return w->k_offsets[s + 1] - w->k_offsets[s];
}

/* Query i of sequence s sees keys *lo .. *hi of it; none when *hi < *lo. */
static inline void attention_range(const attention_view *w, int64_t s, int64_t i, int32_t *lo,
                                   int32_t *hi)
{
    const int64_t t = i + (w->q_start ? w->q_start[s] : 0), last = attention_keys(w, s) - 1;

    *lo = w->window && t - w->window + 1 > 0 ? (int32_t)(t - w->window + 1) : 0;
    *hi = (int32_t)((w->causal || w->window) && t < last ? t : last);
}

/* Row of key j of sequence s. */
static inline int64_t attention_key_row(const attention_view *w, int64_t s, int64_t j)
{
    if (!w->blocks)
        return w->k_offsets[s] + j;
    CHECK(j / PAGE < w->n_blocks);
    return (int64_t)w->blocks[s * w->n_blocks + j / PAGE] * PAGE + j % PAGE;
}

static inline status attention_want_heads(const char *op, const op_args *a)
{
    const int32_t H = a->attr->attention.heads, Hk = a->attr->attention.kv_heads;

    if (H < 1 || Hk < 1 || H % Hk != 0 || a->attr->attention.window < 0)
        return fail(STATUS_SHAPE, "%s: %d heads, %d key heads, window %d; key heads must divide heads, "
                    "the window be >= 0", op, H, Hk, a->attr->attention.window);
    return STATUS_OK;
}

/* q_offsets and k_offsets [S+1], q_start [S] or NULL, blocks [S, n] or NULL */
static inline status attention_want_offsets(const char *op, const op_args *a, int offsets)
{
    const tensor *q = a->in[offsets];
    const int64_t n = q->s.n ? q->s.d[0] : 0;

    if (n < 1)
        return fail(STATUS_SHAPE, "%s: q_offsets is %s, must be [sequences + 1]", op, shape_text(q->s));
    TRY(op_want_ints(op, "q_offsets", q, shape_1(n)));
    TRY(op_want_ints(op, "k_offsets", a->in[offsets + 1], shape_1(n)));
    if (offsets + 2 < a->n_in && a->in[offsets + 2])
        TRY(op_want_ints(op, "q_start", a->in[offsets + 2], shape_1(n - 1)));
    if (offsets + 3 < a->n_in && a->in[offsets + 3])
        TRY(op_want_ints(op, "blocks", a->in[offsets + 3],
                         shape_2(n - 1, shape_last(a->in[offsets + 3]->s))));
    return STATUS_OK;
}

#endif
