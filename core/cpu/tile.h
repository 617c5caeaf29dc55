/* tile: what the product's driver and the files compiled once per instruction set share.
 *
 * A panel holds k rows of w columns of b, w a multiple of the vector, at 64-byte borders. A tile is
 * up to `rows` rows of a times one panel. Every value of a tile is summed over k one after another
 * in its own lane, so it depends neither on the tile's height nor on its neighbours. */
#ifndef CORE_CPU_TILE_H
#define CORE_CPU_TILE_H

#include "core/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TILE_ROWS_MAX = 16, TILE_COLUMNS_MAX = 48, PACK_STEP = 256 };

/* c[rows, w] = alpha a[rows, k] b[k, w], added to c when `add`. b is a panel (ldb = w) or lies as it is. */
typedef struct tile_args {
    int64_t      k, lda, ldb, ldc;
    int64_t      step;  /* values from one k to the next in a: 1, or else its rows are one value apart */
    const float *a;
    const float *b;
    float       *c;
    float        alpha;
    bool         add;
} tile_args;

typedef void tile_function(const tile_args *t);

/* A tile of `rows` rows and `vectors` vectors of columns. */
typedef struct tile_row {
    int            vectors, rows;
    tile_function *run;
} tile_row;

/* A group of columns of b [k, n] (or [n, k] when turned) to be packed: panels of `width` columns one
 * after another, the last one narrower, its missing columns zero. */
typedef struct pack_group {
    const void *b;
    dtype       type;
    int64_t     ldb;
    bool        turned;
    int64_t     k0, k;     /* rows of the panel; whole blocks when turned */
    int64_t     n0, n;     /* columns; whole blocks when not turned */
    float      *out;       /* panels */
    float      *scratch;   /* PACK_SCRATCH values */
} pack_group;

enum { PACK_SCRATCH = 16 * (PACK_STEP + 16) };

enum { DOT_ROWS = 8, DOT_STEP = 32 };

/* A few rows of a against rows of a stored weight b [n, k]: out[i, j] = sum_k a[i, k] b[j, k]. Values of
 * b are expanded in registers, one expansion for all rows of a. Lanes of k are summed in an order that
 * depends on k alone. */
typedef struct dot_args {
    int64_t      m, n, k;  /* m <= DOT_ROWS; k whole blocks of b */
    const float *a;        /* [steps of k][m][DOT_STEP], zeros behind k */
    const void  *b;
    dtype        type;
    int64_t      row;      /* bytes from one row of b to the next */
    float       *out;
    int64_t      ldo;
    void (*expand)(dtype t, const void *blocks, int64_t n, float *out);
} dot_args;

/* One instruction set. */
typedef struct tile_set {
    const char *name;
    int         lanes;     /* f32 values of a vector */
    int         width;     /* columns of a full panel */
    int         strip;     /* rows of a that are packed together: whole tiles */
    const tile_row *rows;  /* by vectors ascending, then rows descending; ends with vectors 0 */
    void (*pack)(const pack_group *g);   /* of b */
    void (*pack_strip)(const pack_group *g); /* of strips of a, whose rows are the columns */
    /* out[m, k] (row stride ldo) = rows of a, which is [k, m] when turned, in f32 or bf16 */
    void (*copy_rows)(const void *a, dtype type, int64_t lda, bool turned, int64_t m, int64_t k,
                      float *out, int64_t ldo);
    void (*expand)(dtype t, const void *blocks, int64_t n, float *out);
    void (*dot)(const dot_args *d);
} tile_set;

static inline int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Width of the panel that holds n columns: whole vectors, at most a full panel. */
static inline int64_t panel_width(const tile_set *s, int64_t n)
{
    const int64_t w = (n + s->lanes - 1) / s->lanes * s->lanes;

    return w < s->width ? w : s->width;
}

#ifdef __cplusplus
}
#endif
#endif
