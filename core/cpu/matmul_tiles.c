/* matmul_tiles: a panel of b times rows of a, tile by tile */
#include "core/cpu/matmul_tiles.h"

#include "core/quant.h"

void matmul_put(const matmul *p, const float *tile, int64_t ld, int64_t i0, int64_t m, int64_t j0, int64_t n, bool add,
                bool bias)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float v = tile[i * ld + j];
            if (bias)
                v += p->bias[j0 + j];
            if (p->type_c == TYPE_BF16) {
                uint16_t *c = (uint16_t *)p->c + (i0 + i) * p->ldc + j0 + j;
                *c = f32_to_bf16(add ? bf16_to_f32(*c) + v : v);
            } else {
                float *c = matmul_c(p, i0 + i, j0 + j);
                *c = add ? *c + v : v;
            }
        }
}

/* The first tile of `vectors` vectors; further rows follow it. */
static const tile_row *tiles_of(const tile_set *s, int64_t vectors)
{
    const tile_row *r = s->rows;

    while (r->vectors != vectors)
        r++;
    return r;
}

/* Where row i of the stretch lies, and how to go on along k. */
static const float *row_of(const tile_set *s, const stretch *t, int64_t i, int64_t rows, int64_t *step)
{
    *step = 1;
    if (!t->packed)
        return t->a + i * t->lda;
    const int64_t first = i / s->strip * s->strip, here = smaller(s->strip, rows - first);
    *step = panel_width(s, here);
    return t->a + first / s->strip * matmul_strip(s, t->k) + i % s->strip;
}

void matmul_panel(const matmul *p, const tile_set *s, const stretch *t, const float *b, int64_t c0, int64_t j0,
                  int64_t n, int64_t from, int64_t to)
{
    const int64_t         w = panel_width(s, n);
    const tile_row *const tallest = tiles_of(s, w / s->lanes), *r;
    const bool            add = p->accumulate || !t->first, bias = p->bias && t->first;
    const bool            direct = n == w && p->type_c == TYPE_F32 && !bias;
    float ALIGNED(64) buffer[TILE_ROWS_MAX * TILE_COLUMNS_MAX];

    for (int64_t i = from; i < to; i += r->rows) {
        const int64_t left = t->packed ? smaller(to - i, s->strip - i % s->strip) : to - i;
        tile_args     g = {.lda = t->lda, .ldb = t->ldb ? t->ldb : w, .c = direct ? matmul_c(p, c0 + i, j0) : buffer,
                           .ldc = direct ? p->ldc : w, .alpha = t->alpha, .add = direct && add};
        const float  *a = row_of(s, t, i, to, &g.step);
        for (r = tallest; r->rows > left;)
            r++;
        for (int64_t k = 0; k < t->k; k += MATMUL_PARTIAL_K) {
            g.k = smaller(MATMUL_PARTIAL_K, t->k - k);
            g.a = a + k * g.step;
            g.b = b + k * g.ldb;
            r->run(&g);
            g.add = true;
        }
        if (!direct)
            matmul_put(p, buffer, w, c0 + i, r->rows, j0, n, add, bias);
    }
}
