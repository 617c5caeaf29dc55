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

void matmul_columns(const matmul *p, const tile_set *s, const stretch *t, const float *panels, const stretch *thin,
                    const float *thin_panels, int64_t c0, int64_t j0, int64_t n, int64_t from, int64_t to)
{
    for (int64_t j = 0; j < n; j += s->width) {
        const int64_t columns = smaller(s->width, n - j), w = panel_width(s, columns);
        matmul_panel(p, s, t, panels, c0, j0 + j, columns, from, to);
        panels += t->ldb ? columns : t->k * w;
        if (!thin)
            continue;
        matmul_panel(p, s, thin, thin_panels, c0, j0 + j, columns, from, to);
        thin_panels += thin->k * w;
    }
}

void matmul_pack_thin(const matmul_thin *t, const tile_set *s, int64_t n0, int64_t n, float *scratch, float *out)
{
    s->pack(&(pack_group){.b = t->b, .type = TYPE_F32, .ldb = t->ldb, .turned = t->b_turned, .k = t->k, .n0 = n0,
                          .n = n, .out = out, .scratch = scratch});
}

stretch matmul_thin_from(const matmul_thin *t, int64_t row)
{
    return (stretch){.a = (const float *)t->a + row * t->lda, .lda = t->lda, .k = t->k, .alpha = (float)t->alpha};
}
