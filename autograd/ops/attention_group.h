/* attention_group: query rows that read one key head together, and the keys they see */
#ifndef AUTOGRAD_OPS_ATTENTION_GROUP_H
#define AUTOGRAD_OPS_ATTENTION_GROUP_H

#include "autograd/ops/attention.h"
#include "autograd/ops/vector_math.h"

#ifdef REAL_IS_F64
#define REAL_LOG log
#else
#define REAL_LOG logf
#endif

enum {
    GROUP = 2 * LANES, /* rows of a group */
    KEYS = 2 * PAGE    /* of a tile, where they do not lie in pages */
};

/* n rounded up to whole vectors */
static inline int64_t whole_vectors(int64_t n)
{
    return (n + LANES - 1) / LANES * LANES;
}

/* A group: its rows of q, what they see, where its keys are. */
typedef struct group {
    const op_args        *a;
    const attention_view *w;
    int64_t               s, kv, rows, first; /* first: index of row 0 among the pairs */
    int32_t               from, to;           /* keys that some row sees: from .. to-1 */
    int32_t               full_from, full_to; /* keys that all rows see */
    int32_t               lo[GROUP], hi[GROUP];
    real                  scale, cap;
} group;

static inline void open_group(group *g, const op_args *a, const attention_view *w, int64_t s, int64_t kv,
                       int64_t number)
{
    const int64_t pairs = attention_queries(w, s) * w->G;

    *g = (group){.a = a, .w = w, .s = s, .kv = kv, .first = number * GROUP};
    g->rows = pairs - g->first < GROUP ? pairs - g->first : GROUP;
    g->scale = (real)a->attr->attention.scale;
    g->cap = (real)a->attr->attention.softcap;
    g->from = g->full_to = INT32_MAX;
    for (int64_t r = 0; r < GROUP; r++) {
        const int64_t at = r < g->rows ? r : g->rows - 1; /* rows past the end see what the last does */
        attention_range(w, s, (g->first + at) / w->G, &g->lo[r], &g->hi[r]);
        if (g->lo[r] <= g->hi[r]) {
            g->from = g->lo[r] < g->from ? g->lo[r] : g->from;
            g->to = g->hi[r] + 1 > g->to ? g->hi[r] + 1 : g->to;
        }
        g->full_from = g->lo[r] > g->full_from ? g->lo[r] : g->full_from;
        g->full_to = g->hi[r] + 1 < g->full_to ? g->hi[r] + 1 : g->full_to;
    }
    g->from &= ~(KEYS - 1);
}

/* Row of the buffers and head of row r. */
static inline int64_t row_of(const group *g, int64_t r)
{
    return g->w->q_offsets[g->s] + (g->first + r) / g->w->G;
}

static inline int64_t head_of(const group *g, int64_t r)
{
    return g->kv * g->w->G + (g->first + r) % g->w->G;
}

/* Where row r's head begins in a [N, H*D] buffer. */
static inline int64_t place_of(const group *g, int64_t r)
{
    return (row_of(g, r) * g->w->H + head_of(g, r)) * g->w->D;
}

/* Position of row r among its keys; rows past the end are where the last one is. */
static inline int32_t position_of(const group *g, int64_t r)
{
    const int64_t at = r < g->rows ? r : g->rows - 1;

    return (int32_t)((g->first + at) / g->w->G + (g->w->q_start ? g->w->q_start[g->s] : 0));
}

/* Keys of one tile, at most `most`: rows one after another, all in one page if there are pages. */
typedef struct keys {
    int32_t     first;
    int64_t     n, row;
    const real *k, *v;
} keys;

static inline keys keys_at(const group *g, int32_t j, int32_t most)
{
    const attention_view *w = g->w;
    const int64_t         stride = w->Hk * w->D;
    const int32_t         tile = w->blocks ? PAGE : most;
    keys                  t = {.first = j, .n = g->to - j < tile ? g->to - j : tile};

    t.row = attention_key_row(w, g->s, j);
    CHECK(t.row >= 0 && t.row + t.n <= g->a->in[1]->s.d[0]);
    t.k = (const real *)g->a->in[1]->v + t.row * stride + g->kv * w->D;
    t.v = (const real *)g->a->in[2]->v + t.row * stride + g->kv * w->D;
    return t;
}

/* Of the keys of a tile and the rows of a group: key j and row r have bucket[j + behind[r]]. */
typedef struct tile_buckets {
    int32_t bucket[KEYS + GROUP], behind[GROUP];
} tile_buckets;

static inline void find_buckets(const group *g, const keys *t, tile_buckets *b)
{
    const int32_t last = position_of(g, GROUP - 1), n = (int32_t)t->n + last - position_of(g, 0);

    for (int32_t r = 0; r < GROUP; r++)
        b->behind[r] = last - position_of(g, r);
    for (int32_t i = 0; i < n; i++)
        b->bucket[i] = relative_bucket(g->w->near, t->first - last + i);
}

#endif
