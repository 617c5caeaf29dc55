/* pack: b into panels, a into rows. Quantised values are expanded on the way, as their formats define
 * them; this file is compiled without fused multiply-add. */
#include "core/cpu/isa/names.h"
#include "core/quant.h" /* its functions are renamed by the build, to this instruction set's copy */

#include <string.h>

enum { L = TILE_LANES, W_FULL = L * TILE_VECTORS };
typedef VECTOR(int32_t, 4 * L) ivec;

#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (ivec){__VA_ARGS__})
#endif
#if TILE_LANES == 16
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif TILE_LANES == 8
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#endif

/* One perfect shuffle of L vectors; log2(L) of them turn the square over. */
static ALWAYS_INLINE void shuffle_step(const vec in[L], vec out[L])
{
#pragma GCC unroll 8
    for (int i = 0; i < L / 2; i++) {
        out[2 * i] = SHUFFLE(in[i], in[i + L / 2], LOW);
        out[2 * i + 1] = SHUFFLE(in[i], in[i + L / 2], HIGH);
    }
}

/* out[L, L] (stride ldo) = in[L, L]^T (stride ldi), rows of `in` from n on being zero */
static ALWAYS_INLINE void turn_square(const float *in, int64_t ldi, int n, float *out, int64_t ldo)
{
    vec x[L], y[L];

#pragma GCC unroll 16
    for (int i = 0; i < L; i++) {
        x[i] = (vec){0};
        if (i < n)
            memcpy(&x[i], in + i * ldi, sizeof x[i]);
    }
    shuffle_step(x, y);
    shuffle_step(y, x);
#if TILE_LANES >= 8
    shuffle_step(x, y);
#endif
#if TILE_LANES == 16
    shuffle_step(y, x);
#elif TILE_LANES == 8
    memcpy(x, y, sizeof x);
#endif
#pragma GCC unroll 16
    for (int i = 0; i < L; i++)
        memcpy(out + i * ldo, &x[i], sizeof x[i]);
}

/* out[columns, L] (stride ldo) = in[n, columns]^T (stride ldi), n <= L, missing rows of `in` zero */
static void turn_rows(const float *in, int64_t ldi, int n, int64_t columns, float *out, int64_t ldo)
{
    int64_t c = 0;

    if (n == L) /* the common case, without conditions */
        for (; c + L <= columns; c += L)
            turn_square(in + c, ldi, L, out + c * ldo, ldo);
    else
        for (; c + L <= columns; c += L)
            turn_square(in + c, ldi, n, out + c * ldo, ldo);
    for (; c < columns; c++)
        for (int i = 0; i < L; i++)
            out[c * ldo + i] = i < n ? in[i * ldi + c] : 0;
}

static int64_t width_of(int64_t n)
{
    const int64_t w = (n + L - 1) / L * L;

    return w < W_FULL ? w : W_FULL;
}

/* ---- b turned: rows of k values become columns --------------------------------------------------- */

/* n <= L rows of b become L columns of a panel of stride w. */
static void pack_turned(const pack_group *g, int64_t row, int n, float *out, int64_t w)
{
    const int64_t block = dtype_block(g->type), bytes = dtype_row_bytes(g->type, g->ldb);
    const int64_t ld = PACK_STEP + 16;

    if (g->type == TYPE_F32) {
        turn_rows((const float *)g->b + row * g->ldb + g->k0, g->ldb, n, g->k, out, w);
        return;
    }
    for (int64_t k = 0; k < g->k; k += PACK_STEP) {
        const int64_t step = g->k - k < PACK_STEP ? g->k - k : PACK_STEP;
        for (int i = 0; i < n; i++)
            quant_expand(g->type,
                                   (const char *)g->b + (row + i) * bytes +
                                       (g->k0 + k) / block * dtype_block_bytes(g->type),
                                   step, g->scratch + i * ld);
        turn_rows(g->scratch, ld, n, step, out + k * w, w);
    }
}

static void pack_group_turned(const pack_group *g)
{
    float *out = g->out;

    for (int64_t p = 0; p < g->n; p += W_FULL) {
        const int64_t n = g->n - p < W_FULL ? g->n - p : W_FULL, w = width_of(n);
        for (int64_t j = 0; j < n; j += L)
            pack_turned(g, g->n0 + p + j, n - j < L ? (int)(n - j) : L, out + j, w);
        out += g->k * w;
    }
}

/* ---- b as it is: rows of n values ----------------------------------------------------------------- */

/* Values `from` .. of row k into the panels of the group. */
static ALWAYS_INLINE void spread_row(const pack_group *g, const float *from, int64_t k)
{
    float *out = g->out;

    for (int64_t p = 0; p < g->n; p += W_FULL) {
        const int64_t n = g->n - p < W_FULL ? g->n - p : W_FULL, w = width_of(n);
        if (n == W_FULL) {
            memcpy(out + k * w, from + p, W_FULL * sizeof(float));
        } else {
            memcpy(out + k * w, from + p, (size_t)n * sizeof(float));
            memset(out + k * w + n, 0, (size_t)(w - n) * sizeof(float));
        }
        out += g->k * w;
    }
}

static void pack_group_plain(const pack_group *g)
{
    const int64_t block = dtype_block(g->type), bytes = dtype_row_bytes(g->type, g->ldb);

    for (int64_t k = 0; k < g->k; k++) {
        if (g->type == TYPE_F32) {
            spread_row(g, (const float *)g->b + (g->k0 + k) * g->ldb + g->n0, k);
            continue;
        }
        quant_expand(g->type,
                               (const char *)g->b + (g->k0 + k) * bytes +
                                   g->n0 / block * dtype_block_bytes(g->type),
                               g->n, g->scratch);
        spread_row(g, g->scratch, k);
    }
}

void ISA_NAME(pack_columns)(const pack_group *g)
{
    if (g->turned)
        pack_group_turned(g);
    else
        pack_group_plain(g);
}

/* ---- a -------------------------------------------------------------------------------------------- */

static void copy_rows_turned(const float *a, int64_t lda, int64_t m, int64_t k, float *out, int64_t ldo)
{
    int64_t i = 0;

    for (; i + L <= m; i += L) {
        int64_t j = 0;
        for (; j + L <= k; j += L)
            turn_square(a + j * lda + i, lda, L, out + i * ldo + j, ldo);
        for (; j < k; j++)
            for (int64_t r = i; r < i + L; r++)
                out[r * ldo + j] = a[j * lda + r];
    }
    for (; i < m; i++)
        for (int64_t j = 0; j < k; j++)
            out[i * ldo + j] = a[j * lda + i];
}

void ISA_NAME(copy_rows)(const void *a, dtype type, int64_t lda, bool turned, int64_t m, int64_t k,
                         float *out, int64_t ldo)
{
    if (turned && type == TYPE_F32) {
        copy_rows_turned(a, lda, m, k, out, ldo);
        return;
    }
    for (int64_t i = 0; i < m; i++) {
        if (turned) { /* bf16 [k, m] */
            for (int64_t j = 0; j < k; j++)
                quant_expand(type, (const uint16_t *)a + j * lda + i, 1, out + i * ldo + j);
        } else {
            quant_expand(type, (const char *)a + i * dtype_row_bytes(type, lda), k,
                                   out + i * ldo);
        }
    }
}
