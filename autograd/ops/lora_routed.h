/* lora_routed: its gathered form on the CPU, which reads the chosen rows of a and columns of b and no others */
#ifndef AUTOGRAD_OPS_LORA_ROUTED_H
#define AUTOGRAD_OPS_LORA_ROUTED_H

#include "autograd/ops/kernel.h"

/* What both forms work with: N rows in use, k experts a row. */
typedef struct routed {
    int64_t     N, K, M, R, k;
    real        factor;
    const real *x, *a, *b, *gates, *chosen;
    const real *dy;
    real       *y, *dx, *da, *db, *dgates;
    real       *h; /* [N, k]: x . a[chosen]; aux */
    real       *turned, *dh; /* scratch: b turned, [R, M]; factor * gates * (dy . b[chosen]), [N, k] */
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
    for (int64_t i = 0; i < n; i++)
        to[i] += factor * from[i];
}

/* h for rows from .. to-1 */
static void routed_inner(const routed *r, int64_t from, int64_t to)
{
    for (int64_t n = from; n < to; n++)
        for (int64_t j = 0; j < r->k; j++)
            r->h[n * r->k + j] = op_dot(r->x + n * r->K, r->a + routed_expert(r, n, j) * r->K, r->K);
}

/* Rows from .. to-1 of b into columns. */
static void routed_turn(const routed *r, int64_t from, int64_t to)
{
    for (int64_t e = 0; e < r->R; e++)
        for (int64_t m = from; m < to; m++)
            r->turned[e * r->M + m] = r->b[m * r->R + e];
}

/* Columns from .. to-1 of y, for all rows. */
static void routed_outer(const routed *r, int64_t from, int64_t to)
{
    for (int64_t n = 0; n < r->N; n++)
        for (int64_t j = 0; j < r->k; j++)
            routed_add(r->y + n * r->M + from, r->turned + routed_expert(r, n, j) * r->M + from,
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

static inline int64_t routed_rows(const routed *r, int64_t width)
{
    return op_piece_rows(r->k * width);
}

/* y += factor (gates * h) b[chosen]^T */
static inline void routed_forward(routed *r, bool few)
{
    routed_over(r, r->N, routed_rows(r, r->K), routed_inner);
    if (few) {
        routed_over(r, r->M, PIECE_COLUMNS, routed_outer_few);
        return;
    }
    r->turned = threads_scratch(SLOT_SHARED, (size_t)(r->R * r->M) * sizeof(real));
    routed_over(r, r->M, PIECE_COLUMNS, routed_turn);
    routed_over(r, r->M, PIECE_COLUMNS, routed_outer);
}

/* dgates, dh and dx of rows from .. to-1 */
static void routed_inner_back(const routed *r, int64_t from, int64_t to)
{
    for (int64_t n = from; n < to; n++)
        for (int64_t j = 0; j < r->k; j++) {
            const int64_t e = routed_expert(r, n, j), at = n * r->k + j;
            const real    t = r->factor * op_dot(r->dy + n * r->M, r->turned + e * r->M, r->M);
            if (r->dgates)
                r->dgates[at] += r->h[at] * t;
            if (r->dx || r->da)
                r->dh[at] = r->gates[at] * t;
            if (r->dx)
                routed_add(r->dx + n * r->K, r->a + e * r->K, r->dh[at], r->K);
        }
}

/* da of columns from .. to-1 */
static void routed_low_back(const routed *r, int64_t from, int64_t to)
{
    for (int64_t n = 0; n < r->N; n++)
        for (int64_t j = 0; j < r->k; j++)
            routed_add(r->da + routed_expert(r, n, j) * r->K + from, r->x + n * r->K + from, r->dh[n * r->k + j],
                       to - from);
}

/* Rows from .. to-1 of db: summed as columns, then turned. */
static void routed_high_back(const routed *r, int64_t from, int64_t to)
{
    const int64_t width = to - from;
    real         *sum = threads_scratch(SLOT_WEIGHT, (size_t)(r->R * width) * sizeof *sum);

    memset(sum, 0, (size_t)(r->R * width) * sizeof *sum);
    for (int64_t n = 0; n < r->N; n++)
        for (int64_t j = 0; j < r->k; j++)
            routed_add(sum + routed_expert(r, n, j) * width, r->dy + n * r->M + from,
                       r->factor * r->gates[n * r->k + j] * r->h[n * r->k + j], width);
    for (int64_t m = 0; m < width; m++)
        for (int64_t e = 0; e < r->R; e++)
            r->db[(from + m) * r->R + e] += sum[e * width + m];
}

static inline void routed_backward(routed *r)
{
    if (r->dgates || r->dx || r->da) {
        r->turned = threads_scratch(SLOT_SHARED, (size_t)(r->R * r->M + r->N * r->k) * sizeof(real));
        r->dh = r->turned + r->R * r->M;
        routed_over(r, r->M, PIECE_COLUMNS, routed_turn);
        routed_over(r, r->N, routed_rows(r, r->K + r->M), routed_inner_back);
    }
    if (r->da)
        routed_over(r, r->K, PIECE_COLUMNS, routed_low_back);
    if (r->db)
        routed_over(r, r->M, PIECE_COLUMNS, routed_high_back);
}

#endif
