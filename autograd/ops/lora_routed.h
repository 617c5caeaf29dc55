/* lora_routed: its gathered form on the CPU, which computes with the chosen ranks alone.
 *
 * A piece of work is a stretch of columns of x or y for all rows, so that its part of all ranks stays in the cache.
 * Products along the columns are summed up piece by piece, in their order. */
#ifndef AUTOGRAD_OPS_LORA_ROUTED_H
#define AUTOGRAD_OPS_LORA_ROUTED_H

#include "autograd/ops/kernel.h"

/* What both forms work with: N rows in use of at most `most`, k experts a row. */
typedef struct routed {
    int64_t     N, K, M, R, k, most;
    real        factor;
    const real *x, *a, *b, *gates, *chosen;
    const real *dy;
    real       *y, *dx, *da, *db, *dgates;
    real       *h;     /* [N, k]: x . a[chosen]; aux */
    real       *parts; /* scratch: a piece's [N, k], one piece behind another; masked: [N, R] of all ranks */
} routed;

typedef struct routed_job {
    routed r;
    void (*body)(const routed *r, int64_t from, int64_t to);
    int64_t n, piece;
} routed_job;

static inline void routed_piece(void *context, int64_t i)
{
    const routed_job *j = context;
    const int64_t     from = i * j->piece, to = from + j->piece;

    j->body(&j->r, from, to < j->n ? to : j->n);
}

static inline void routed_over(const routed *r, int64_t n, int64_t piece,
                               void (*body)(const routed *r, int64_t from, int64_t to))
{
    routed_job j = {*r, body, n, piece};

    threads_run((n + piece - 1) / piece, routed_piece, &j);
}

static inline int64_t routed_expert(const routed *r, int64_t n, int64_t j)
{
    const real e = r->chosen[n * r->k + j];

    CHECK(e >= 0 && e < (real)r->R);
    return (int64_t)e;
}

static ALWAYS_INLINE void routed_add(real *RESTRICT to, const real *RESTRICT from, real factor, int64_t n)
{
    if (n == PIECE_COLUMNS) { /* a number of vectors that is known */
        for (int64_t i = 0; i < PIECE_COLUMNS; i++)
            to[i] += factor * from[i];
        return;
    }
    for (int64_t i = 0; i < n; i++)
        to[i] += factor * from[i];
}

static inline int64_t routed_pieces(int64_t columns)
{
    return (columns + PIECE_COLUMNS - 1) / PIECE_COLUMNS;
}

/* The parts of the piece that begins at a column. */
static inline real *routed_parts(const routed *r, int64_t from)
{
    return r->parts + from / PIECE_COLUMNS * r->N * r->k;
}

static inline real *routed_take_parts(const routed *r, int64_t columns)
{
    return threads_scratch(SLOT_SHARED, (size_t)(routed_pieces(columns) * r->most * r->k) * sizeof(real));
}

/* Value i of [N, k], summed over the pieces of so many columns. */
static inline real routed_sum(const routed *r, int64_t columns, int64_t i)
{
    real sum = 0;

    for (int64_t p = 0; p < routed_pieces(columns); p++)
        sum += r->parts[p * r->N * r->k + i];
    return sum;
}

/* Rows from .. to-1 of b as columns, [R, to - from]; `more` values behind them for the caller. */
static inline real *routed_turn(const routed *r, int64_t from, int64_t to, int64_t more)
{
    const int64_t width = to - from;
    real         *turned = threads_scratch(SLOT_WEIGHT, (size_t)(r->R * width + more) * sizeof *turned);

    for (int64_t m = 0; m < width && r->b; m++)
        for (int64_t e = 0; e < r->R; e++)
            turned[e * width + m] = r->b[(from + m) * r->R + e];
    return turned;
}

/* ---- forward ------------------------------------------------------------------------------------------- */

/* h's part of columns from .. to-1 of x */
static void routed_inner(const routed *r, int64_t from, int64_t to)
{
    real *part = routed_parts(r, from);

    for (int64_t n = 0; n < r->N; n++)
        for (int64_t j = 0; j < r->k; j++)
            part[n * r->k + j] = op_dot(r->x + n * r->K + from, r->a + routed_expert(r, n, j) * r->K + from,
                                        to - from);
}

/* Values from .. to-1 of h */
static void routed_join_inner(const routed *r, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++)
        r->h[i] = routed_sum(r, r->K, i);
}

/* Columns from .. to-1 of y */
static void routed_outer(const routed *r, int64_t from, int64_t to)
{
    const real *turned = routed_turn(r, from, to, 0);

    for (int64_t n = 0; n < r->N; n++)
        for (int64_t j = 0; j < r->k; j++)
            routed_add(r->y + n * r->M + from, turned + routed_expert(r, n, j) * (to - from),
                       r->factor * r->gates[n * r->k + j] * r->h[n * r->k + j], to - from);
}

/* The same for few rows, where turning b costs more than it saves. */
static void routed_outer_few(const routed *r, int64_t from, int64_t to)
{
    for (int64_t n = 0; n < r->N; n++)
        for (int64_t m = from; m < to; m++) {
            real sum = 0;
            for (int64_t j = 0; j < r->k; j++)
                sum += r->gates[n * r->k + j] * r->h[n * r->k + j] * r->b[m * r->R + routed_expert(r, n, j)];
            r->y[n * r->M + m] += r->factor * sum;
        }
}

/* y += factor (gates * h) b[chosen]^T */
static inline void routed_forward(routed *r, bool few)
{
    r->parts = routed_take_parts(r, r->K);
    routed_over(r, r->K, PIECE_COLUMNS, routed_inner);
    routed_over(r, r->N * r->k, PIECE_VALUES, routed_join_inner);
    routed_over(r, r->M, PIECE_COLUMNS, few ? routed_outer_few : routed_outer);
}

/* ---- backward ------------------------------------------------------------------------------------------ */

/* Rows from .. to-1 of db: summed as columns, then turned. */
static inline void routed_add_high(const routed *r, real *sum, int64_t from, int64_t to)
{
    const int64_t width = to - from;

    memset(sum, 0, (size_t)(r->R * width) * sizeof *sum);
    for (int64_t n = 0; n < r->N; n++)
        for (int64_t j = 0; j < r->k; j++)
            routed_add(sum + routed_expert(r, n, j) * width, r->dy + n * r->M + from,
                       r->factor * r->gates[n * r->k + j] * r->h[n * r->k + j], width);
    for (int64_t m = 0; m < width; m++)
        for (int64_t e = 0; e < r->R; e++)
            r->db[(from + m) * r->R + e] += sum[e * width + m];
}

/* t's part of columns from .. to-1 of dy, and db there */
static void routed_outer_back(const routed *r, int64_t from, int64_t to)
{
    const int64_t width = to - from;
    real         *turned = routed_turn(r, from, to, r->R * width), *part = routed_parts(r, from);

    for (int64_t n = 0; n < r->N && (r->dgates || r->dx || r->da); n++)
        for (int64_t j = 0; j < r->k; j++)
            part[n * r->k + j] = op_dot(r->dy + n * r->M + from, turned + routed_expert(r, n, j) * width, width);
    if (r->db)
        routed_add_high(r, turned + r->R * width, from, to);
}

/* Values from .. to-1 of dgates and dh, which comes into the first piece's place. */
static void routed_join_outer(const routed *r, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++) {
        const real t = r->factor * routed_sum(r, r->M, i);
        if (r->dgates)
            r->dgates[i] += r->h[i] * t;
        if (r->dx || r->da)
            r->parts[i] = r->gates[i] * t;
    }
}

/* Columns from .. to-1 of dx and da */
static void routed_inner_back(const routed *r, int64_t from, int64_t to)
{
    for (int64_t n = 0; n < r->N; n++)
        for (int64_t j = 0; j < r->k; j++) {
            const int64_t at = routed_expert(r, n, j) * r->K + from;
            const real    dh = r->parts[n * r->k + j];
            if (r->dx)
                routed_add(r->dx + n * r->K + from, r->a + at, dh, to - from);
            if (r->da)
                routed_add(r->da + at, r->x + n * r->K + from, dh, to - from);
        }
}

static inline void routed_backward(routed *r)
{
    const bool inner = r->dgates || r->dx || r->da;

    r->parts = routed_take_parts(r, r->M);
    if (inner || r->db)
        routed_over(r, r->M, PIECE_COLUMNS, routed_outer_back);
    if (inner)
        routed_over(r, r->N * r->k, PIECE_VALUES, routed_join_outer);
    if (r->dx || r->da)
        routed_over(r, r->K, PIECE_COLUMNS, routed_inner_back);
}

#endif
