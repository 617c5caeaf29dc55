/* matmul_tiles: a panel of b times rows of a, tile by tile; what the drivers of the product share */
#ifndef CORE_CPU_MATMUL_TILES_H
#define CORE_CPU_MATMUL_TILES_H

#include "core/cpu/matmul.h"
#include "core/cpu/tile.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SLOT_OWN = 2, SLOT_ALL = 3, SLOT_TURNED = 4, /* of threads_scratch: a thread's, and what all threads read */
    COLUMNS = 96,          /* groups are multiples of this: whole panels, whole small blocks */
    MATMUL_PARTIAL_K = 256 /* products summed in a register; partial sums keep the rounding small */
};

/* A stretch of k: rows of a, and what they meet of b. */
typedef struct stretch {
    const float *a;
    int64_t      lda, k;
    bool         packed; /* a is in strips of the tile set, see matmul_strip; lda says nothing */
    int64_t      ldb;    /* b lies as it is; 0: it is in panels */
    float        alpha;
    bool         first;  /* nothing has been put into c yet */
} stretch;

/* Rows from .. to-1 of the stretch times n <= a panel's width columns: c from row c0 + from and column j0 on.
 * b: the panel, or b itself at column j0. */
void matmul_panel(const matmul *p, const tile_set *s, const stretch *t, const float *b, int64_t c0, int64_t j0,
                  int64_t n, int64_t from, int64_t to);

static inline float *matmul_c(const matmul *p, int64_t i, int64_t j)
{
    return (float *)p->c + i * p->ldc + j;
}

/* c = (c or 0) + bias + tile, [m, n] at (i0, j0); the tile's rows are ld apart. */
void matmul_put(const matmul *p, const float *tile, int64_t ld, int64_t i0, int64_t m, int64_t j0, int64_t n, bool add,
                bool bias);

/* The same over all panels of n columns, one after another in `panels` (or b itself), and after each over the
 * thin product's panel where `thin` is not NULL. */
void matmul_columns(const matmul *p, const tile_set *s, const stretch *t, const float *panels, const stretch *thin,
                    const float *thin_panels, int64_t c0, int64_t j0, int64_t n, int64_t from, int64_t to);

/* Packs the thin product's columns n0 .. n0+n-1 into `out`; the stretch of it whose row 0 is row `row`. */
void    matmul_pack_thin(const matmul_thin *t, const tile_set *s, int64_t n0, int64_t n, float *scratch, float *out);
stretch matmul_thin_from(const matmul_thin *t, int64_t row);

/* Values of a packed strip: s->strip rows of k values, k times the rows of one value each. */
static inline int64_t matmul_strip(const tile_set *s, int64_t k)
{
    return k * panel_width(s, s->strip);
}

/* Columns that are packed together: whole blocks of b's type, when b is not turned. */
static inline int64_t matmul_group(const matmul *p)
{
    const int64_t block = dtype_block(p->type_b);

    return !p->b_turned && block > 32 ? block : (int64_t)COLUMNS;
}

/* Rows of a are copied before use: they are turned over, not f32, or a multiple of 4 KB apart, where they
 * would share the sets of the first-level cache. */
static inline bool matmul_copies(const matmul *p)
{
    return p->a_turned || p->type_a != TYPE_F32 || (p->lda * 4 % 4096 == 0 && p->n > COLUMNS && p->m > 4);
}

/* Large products: b is packed for all threads, blocks of a's rows by the thread that takes them. */
bool matmul_in_blocks(const matmul *p);
void matmul_blocks(const matmul *p, const tile_set *s, int64_t kc);

#ifdef __cplusplus
}
#endif
#endif
