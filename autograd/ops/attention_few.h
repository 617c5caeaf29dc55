/* attention_few: the forward of a group with few rows, as in decoding: keys are read once, row by row
 *
 * Scores are products of a few rows with the keys' rows, the softmax is taken over all keys at once,
 * and values are added up in lanes of channels. In f32 only. */
#ifndef AUTOGRAD_OPS_ATTENTION_FEW_H
#define AUTOGRAD_OPS_ATTENTION_FEW_H

#include "autograd/ops/attention_group.h"
#include "core/cpu/path.h"

#ifndef REAL_IS_F64

/* Rows first .. first + m - 1 of a group; scores [m, ld], ld whole vectors. */
typedef struct few {
    const group *g;
    int64_t      first, m, ld;
    real        *q, *s;
    bool         in_order; /* one thread does all key heads: the first asks for the rows of all */
} few;

/* q[steps, m, DOT_STEP]: scaled, zeros behind D */
static inline void few_load(const few *f)
{
    const int64_t D = f->g->w->D;
    const real   *x = f->g->a->in[0]->v;

    for (int64_t d = 0; d < D; d += DOT_STEP)
        for (int64_t r = 0; r < f->m; r++) {
            const real *row = x + place_of(f->g, f->first + r) + d;
            real       *to = f->q + d * f->m + r * DOT_STEP;
            for (int64_t i = 0; i < DOT_STEP; i++)
                to[i] = d + i < D ? f->g->scale * row[i] : 0;
        }
}

/* Asks for `width` channels of n keys or values. */
static inline void few_ahead(const real *x, int64_t n, int64_t width, int64_t stride)
{
    for (int64_t i = 0; i < n; i++, x += stride)
        for (int64_t d = 0; d < width; d += 64 / (int64_t)sizeof *x)
            __builtin_prefetch(x + d);
}

static inline void few_scores(const few *f)
{
    const group    *g = f->g;
    const int64_t   D = g->w->D, n = g->to - g->from, stride = g->w->Hk * D;
    const int64_t   width = !f->in_order ? D : g->kv == 0 ? stride : 0; /* of rows to ask for */
    const tile_set *set = path_tiles();

    for (int32_t j = g->from; j < g->to; j += PAGE) {
        const keys t = keys_at(g, j, PAGE);
        if (width > 0) {
            few_ahead(t.v, t.n, width, stride);
            if (j + PAGE < g->to) {
                const keys next = keys_at(g, j + PAGE, PAGE);
                few_ahead(next.k, next.n, width, stride);
            }
        }
        set->dot(&(dot_args){.m = f->m, .n = t.n, .k = D, .a = (const float *)f->q, .b = t.k,
                             .type = TYPE_F32, .row = stride * (int64_t)sizeof(float),
                             .out = (float *)f->s + (j - g->from), .ldo = f->ld, .expand = set->expand});
    }
    for (int64_t r = 0; r < f->m; r++) {
        real         *s = f->s + r * f->ld;
        const int64_t lo = g->lo[f->first + r] - g->from, hi = g->hi[f->first + r] - g->from;
        if (g->cap > 0)
            for (int64_t j = 0; j < n; j++)
                s[j] = g->cap * real_tanh(s[j] * (1 / g->cap));
        for (int64_t j = 0; j < lo && j < n; j++)
            s[j] = -(real)INFINITY;
        for (int64_t j = hi + 1 > 0 ? hi + 1 : 0; j < f->ld; j++)
            s[j] = -(real)INFINITY;
    }
}

typedef VECTOR(int32_t, LANE_BYTES) bits;

/* s[n] becomes exp(s - largest); whole vectors. Returns the sum. */
static inline real few_softmax(real *RESTRICT s, int64_t n, real *largest)
{
    lanes m = (lanes){0} - (real)INFINITY, sum = {0}, x;
    real  most = -(real)INFINITY, total = 0;

    for (int64_t j = 0; j < n; j += LANES) {
        LOAD(x, s + j);
        m = (lanes)(((bits)x & (x > m)) | ((bits)m & ~(x > m)));
    }
    for (int l = 0; l < LANES; l++)
        most = m[l] > most ? m[l] : most;
    const real base = most == -(real)INFINITY ? 0 : most;
    for (int64_t j = 0; j < n; j++)
        s[j] = real_exp(s[j] - base);
    for (int64_t j = 0; j < n; j += LANES)
        LOAD(x, s + j), sum += x;
    for (int l = 0; l < LANES; l++)
        total += sum[l];
    *largest = most;
    return total;
}

enum { FEW_VECTORS = LANES >= 16 ? 4 : 2 }; /* of channels: four rows' sums stay in registers */

/* y[r, d ..] of up to four rows for some vectors of channels, the last of them `width` wide */
static ALWAYS_INLINE void few_mix_part(const few *f, int64_t r0, int64_t d, const int vectors, size_t width,
                                       const real inverse[])
{
    const group  *g = f->g;
    const int64_t stride = g->w->Hk * g->w->D, rows = f->m - r0 < 4 ? f->m - r0 : 4;
    const real   *s[4];
    lanes         sum[4][FEW_VECTORS];
    real         *y = g->a->out[0]->v;

    for (int64_t r = 0; r < 4; r++) {
        s[r] = f->s + (r0 + (r < rows ? r : rows - 1)) * f->ld;
        for (int c = 0; c < vectors; c++)
            sum[r][c] = (lanes){0};
    }
    for (int32_t j = g->from; j < g->to; j += PAGE) {
        const keys  t = keys_at(g, j, PAGE);
        const real *v = t.v + d;
        for (int64_t i = j - g->from; i < j - g->from + t.n; i++, v += stride)
#pragma GCC unroll 4
            for (int c = 0; c < vectors; c++) {
                lanes x = {0};
                memcpy(&x, v + c * LANES, vectors == 1 ? width * sizeof *v : sizeof x);
#pragma GCC unroll 4
                for (int r = 0; r < 4; r++)
                    sum[r][c] += x * s[r][i];
            }
    }
    for (int64_t r = 0; r < rows; r++)
        for (int c = 0; c < vectors; c++) {
            sum[r][c] *= inverse[r0 + r];
            memcpy(y + place_of(g, f->first + r0 + r) + d + c * LANES, &sum[r][c],
                   vectors == 1 ? width * sizeof *y : sizeof sum[r][c]);
        }
}

static inline void few_mix(const few *f, int64_t r0, const real inverse[])
{
    const int64_t D = f->g->w->D;
    int64_t       d = 0;

    for (; d + FEW_VECTORS * LANES <= D; d += FEW_VECTORS * LANES)
        few_mix_part(f, r0, d, FEW_VECTORS, LANES, inverse);
    for (; d + LANES <= D; d += LANES)
        few_mix_part(f, r0, d, 1, LANES, inverse);
    if (d < D)
        few_mix_part(f, r0, d, 1, (size_t)(D - d), inverse);
}

static inline void few_rows(const few *f)
{
    const group *g = f->g;
    real        *lse = g->a->out[1]->v, inverse[DOT_ROWS];

    few_load(f);
    few_scores(f);
    for (int64_t r = 0; r < f->m; r++) {
        real       largest;
        const real sum = few_softmax(f->s + r * f->ld, f->ld, &largest);
        inverse[r] = sum > 0 ? 1 / sum : sum;
        lse[row_of(g, f->first + r) * g->w->H + head_of(g, f->first + r)] = largest + REAL_LOG(sum);
    }
    for (int64_t r = 0; r < f->m; r += 4)
        few_mix(f, r, inverse);
}

static inline void forward_few(const group *g, bool in_order)
{
    const int64_t most = g->a->in[6] ? g->w->n_blocks * PAGE : g->a->in[1]->s.d[0];
    const int64_t D = (g->w->D + DOT_STEP - 1) / DOT_STEP * DOT_STEP, padded = whole_vectors(most);
    const int64_t n = g->to > g->from ? g->to - g->from : 0;
    real         *q = threads_scratch(0, (size_t)(DOT_ROWS * (D + padded)) * sizeof *q);
    few           f = {.g = g, .in_order = in_order, .q = q, .s = q + DOT_ROWS * D, .ld = whole_vectors(n)};

    for (; f.first < g->rows; f.first += DOT_ROWS) {
        f.m = g->rows - f.first < DOT_ROWS ? g->rows - f.first : DOT_ROWS;
        few_rows(&f);
    }
}

#endif
#endif
