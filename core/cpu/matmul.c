/* matmul: the driver of the packed product
 *
 * Columns are cut into groups (one or several panels), groups are packed by the thread that uses them
 * and meet all rows of a, tile by tile. k is cut into blocks whose borders depend on k alone; a thread
 * goes through them in order. What remains after every thread had the same number of groups is cut
 * along the rows too, so that no thread waits. Rows of a are read where they lie, unless they are
 * turned over, not f32, or so far apart (whole pages) that they would push each other out of the cache:
 * then they are first copied, a slab at a time; large products of that kind pack both operands instead
 * (matmul_blocks.c). Every way gives the same bits. */
#include "core/cpu/matmul.h"

#include "core/cpu/matmul_decode.h"
#include "core/cpu/matmul_tiles.h"
#include "core/cpu/path.h"
#include "core/quant.h"
#include "core/threads.h"

#include <string.h>

enum {
    BLOCK_K = 1024,                /* rows of a panel at most */
    GROUP = 48 << 10,              /* values of a group's panels: 192 KB, well within a second-level cache */
    PANELS = GROUP + (16 << 10) + PACK_SCRATCH, /* values of scratch that most products need */
    FEW_ROWS = 48,                 /* up to here b is read as it lies, if it can be */
    FEW_COLUMNS = 64,              /* up to here a product with a turned over is made as its transpose */
    THIN_K = MATMUL_PARTIAL_K,     /* a longer thin product is one of its own */
    SLAB = 1 << 20,                /* values of a that are copied at once */
    ROW_STEP = 8,                  /* cuts along the rows are whole tiles */
    TOGETHER = 24,                 /* rows of a that meet all panels of a group together: whole tiles */
    ROWS_MIN = 48                  /* rows of a piece, when groups are cut along the rows */
};

typedef struct product {
    const matmul   *p;
    const tile_set *s;
    const float    *a;      /* row-major f32 rows of this slab */
    int64_t         lda;
    int64_t         m0, m;  /* rows of c in this slab */
    int64_t         group;  /* columns of a group */
    int64_t         kc, n_k;
    int64_t         whole;  /* groups that are one piece each */
    int64_t         cuts;   /* pieces of each of the other groups */
} product;

/* At least `usual` values, so that products of other sizes later find what they need. */
static float *scratch(int slot, int64_t values, int64_t usual)
{
    return threads_scratch(slot, (size_t)(values > usual ? values : usual) * sizeof(float));
}

/* b needs no panels where few rows would pay for them and its own rows can be read as they lie. */
static bool b_as_it_is(const product *x, int64_t n, int64_t rows)
{
    return rows <= FEW_ROWS && x->p->type_b == TYPE_F32 && !x->p->b_turned && n % x->s->width == 0;
}

/* Rows from .. to-1 of the slab times the columns of one group. */
static void run_group(const product *x, int64_t g, int64_t from, int64_t to)
{
    const matmul *p = x->p;
    const int64_t j0 = g * x->group, n = smaller(x->group, p->n - j0), k_thin = p->thin ? p->thin->k : 0;
    float        *panels = scratch(SLOT_OWN, (x->kc + k_thin) * x->group + PACK_SCRATCH, PANELS);
    pack_group    pack = {.b = p->b, .type = p->type_b, .ldb = p->ldb, .turned = p->b_turned, .n0 = j0,
                          .n = n, .scratch = panels, .out = panels + PACK_SCRATCH};
    float        *thin_panels = pack.out + x->kc * x->group;
    stretch       thin;

    if (p->thin) {
        matmul_pack_thin(p->thin, x->s, j0, n, panels, thin_panels);
        thin = matmul_thin_from(p->thin, x->m0);
    }
    for (int64_t b = 0; b < x->n_k; b++) {
        pack.k0 = b * x->kc;
        pack.k = smaller(x->kc, p->k - pack.k0);
        stretch      t = {.a = x->a + pack.k0, .lda = x->lda, .k = pack.k, .alpha = (float)p->alpha, .first = b == 0};
        const float *of_b = pack.out;
        if (b_as_it_is(x, n, to - from)) {
            of_b = (const float *)p->b + pack.k0 * p->ldb + j0;
            t.ldb = p->ldb;
        } else
            x->s->pack(&pack);
        const stretch *also = p->thin && b == x->n_k - 1 ? &thin : NULL;
        for (int64_t i = from; i < to; i += TOGETHER)
            matmul_columns(p, x->s, &t, of_b, also, thin_panels, x->m0, j0, n, i, smaller(to, i + TOGETHER));
    }
}

static void run_piece(void *context, int64_t i)
{
    const product *x = context;

    if (i < x->whole) { /* threads start far apart: neighbours' columns share lines that are fetched ahead */
        const int64_t threads = threads_count();
        run_group(x, i % threads * (x->whole / threads) + i / threads, 0, x->m);
        return;
    }
    const int64_t g = x->whole + (i - x->whole) / x->cuts, cut = (i - x->whole) % x->cuts;
    const int64_t tile = ROW_STEP, rows = divide_up(divide_up(x->m, x->cuts), tile) * tile;
    const int64_t from = cut * rows, to = smaller(x->m, from + rows);
    if (from < to)
        run_group(x, g, from, to);
}

static int64_t common(int64_t a, int64_t b)
{
    return b ? common(b, a % b) : a;
}

static void run_slab(product *x)
{
    const int64_t groups = divide_up(x->p->n, x->group), threads = threads_count();
    const int64_t rest = groups % threads;
    int64_t       cuts = rest ? threads / common(rest, threads) : 1;

    cuts = smaller(cuts, divide_up(x->m, ROWS_MIN));
    x->whole = groups - rest;
    x->cuts = cuts;
    threads_run(x->whole + rest * cuts, run_piece, x);
}

/* ---- rows of a ---------------------------------------------------------------------------------------- */

typedef struct copying {
    const product *x;
    float         *out;
} copying;

static void copy_piece(void *context, int64_t i)
{
    const copying *c = context;
    const product *x = c->x;
    const matmul  *p = x->p;
    const int64_t  from = x->m0 + i * ROWS_MIN, to = smaller(x->m0 + x->m, from + ROWS_MIN);
    const int64_t  offset = p->a_turned ? from : from * p->lda;

    x->s->copy_rows((const char *)p->a + offset * dtype_block_bytes(p->type_a), p->type_a, p->lda,
                    p->a_turned, to - from, p->k, c->out + (from - x->m0) * x->lda, x->lda);
}

static void copy_rows(product *x, float *out)
{
    copying       c = {x, out};
    const int64_t pieces = divide_up(x->m, ROWS_MIN);

    x->a = out;
    if (x->m * x->p->k > 1 << 15)
        threads_run(pieces, copy_piece, &c);
    else
        for (int64_t i = 0; i < pieces; i++)
            copy_piece(&c, i);
}

static void run_copied(product *x)
{
    const matmul *p = x->p;

    x->lda = divide_up(p->k, 16) * 16 + 16;
    if (x->lda % 1024 == 0)
        x->lda += 16;
    const int64_t most = SLAB / x->lda / ROWS_MIN * ROWS_MIN, rows = most > 0 ? most : ROWS_MIN;
    float        *out = scratch(SLOT_ALL, smaller(rows, p->m) * x->lda, SLAB);
    for (x->m0 = 0; x->m0 < p->m; x->m0 += rows) {
        x->m = smaller(rows, p->m - x->m0);
        copy_rows(x, out);
        run_slab(x);
    }
}

/* ---- the product --------------------------------------------------------------------------------------- */

/* k = 0: c = bias, or as it was. */
static void run_empty(const matmul *p)
{
    const float zero = 0;

    if (p->accumulate && !p->bias)
        return;
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++)
            matmul_put(p, &zero, 1, i, 1, j, 1, p->accumulate, p->bias != NULL);
}

/* Blocks of k: of equal size, whole blocks of b's type; a bf16 c is rounded once, after all of k. */
static void cut_k(product *x)
{
    const matmul *p = x->p;
    const int64_t block = dtype_block(p->type_b);
    const int64_t n = p->type_c == TYPE_BF16 ? 1 : divide_up(p->k, BLOCK_K);

    x->kc = divide_up(p->k, n);
    if (n > 1)
        x->kc = divide_up(x->kc, block > 16 ? block : 16) * (block > 16 ? block : 16);
    x->n_k = divide_up(p->k, x->kc);
}

/* As many columns as the cache holds panels of: a tile's rows of a meet them all while they are near. */
static int64_t group_columns(const matmul *p, int64_t kc)
{
    const int64_t least = matmul_group(p), n = GROUP / kc / COLUMNS * COLUMNS;

    return least != COLUMNS || n < COLUMNS ? least : n > 4 * COLUMNS ? 4 * COLUMNS : n;
}

/* c[m, n] += alpha a^T b with few columns n: computed as its transpose [n, m], whose panels are rows of a
 * as they lie, instead of turning all of a over. */
static bool better_turned(const matmul *p)
{
    return p->a_turned && !p->b_turned && p->n <= FEW_COLUMNS && p->m >= 4 * p->n && p->type_a == TYPE_F32 &&
           p->type_b == TYPE_F32 && p->type_c == TYPE_F32 && !p->bias && !p->thin;
}

static void run_turned(const matmul *p)
{
    float       *t = scratch(SLOT_TURNED, p->n * p->m, 0);
    const matmul q = {.m = p->n, .n = p->m, .k = p->k, .a = p->b, .type_a = TYPE_F32, .lda = p->ldb,
                      .a_turned = true, .b = p->a, .type_b = TYPE_F32, .ldb = p->lda, .c = t,
                      .type_c = TYPE_F32, .ldc = p->m, .alpha = p->alpha};

    matmul_run(&q);
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            float *c = matmul_c(p, i, j);
            *c = p->accumulate ? *c + t[j * p->m + i] : t[j * p->m + i];
        }
}

/* A thin product that is too long to ride along. */
static void run_thin(const matmul *p)
{
    const matmul_thin *t = p->thin;
    matmul             q = *p;

    q.thin = NULL;
    matmul_run(&q);
    q = (matmul){.m = p->m, .n = p->n, .k = t->k, .a = t->a, .type_a = TYPE_F32, .lda = t->lda, .b = t->b,
                 .type_b = TYPE_F32, .ldb = t->ldb, .b_turned = t->b_turned, .c = p->c,
                 .type_c = TYPE_F32, .ldc = p->ldc, .alpha = t->alpha, .accumulate = true};
    matmul_run(&q);
}

/* bf16 times bf16 in pairs along k: a and c stay as they are, k and the strides of a count pairs. */
static bool as_pairs(const matmul *p, matmul *q)
{
    if (!path_pairs() || p->type_a != TYPE_BF16 || p->type_b != TYPE_BF16 || p->a_turned || p->thin ||
        p->k % 2 || p->lda % 2 || (p->b_turned && p->ldb % 2) || (uintptr_t)p->a % 4 || (uintptr_t)p->b % 4)
        return false;
    *q = *p;
    q->type_a = TYPE_F32;
    q->k = p->k / 2;
    q->lda = p->lda / 2;
    return true;
}

void matmul_run(const matmul *p)
{
    matmul  pairs;
    product x = {.p = p, .s = path_tiles(), .a = p->a, .lda = p->lda, .m = p->m};

    CHECK(p->type_a == TYPE_F32 || p->type_a == TYPE_BF16);
    CHECK(p->type_c == TYPE_F32 || p->type_c == TYPE_BF16);
    CHECK(!p->low_rank || matmul_decodes(p));
    CHECK(!p->thin || p->type_c == TYPE_F32);
    if (p->m <= 0 || p->n <= 0)
        return;
    if (matmul_decodes(p)) {
        matmul_decode(p);
        return;
    }
    if (p->thin && (p->thin->k > THIN_K || p->k <= 0)) {
        run_thin(p);
        return;
    }
    if (better_turned(p)) {
        run_turned(p);
        return;
    }
    if (p->k <= 0) {
        run_empty(p);
        return;
    }
    if (as_pairs(p, &pairs)) {
        x.p = p = &pairs;
        x.s = path_pairs();
        x.lda = p->lda;
    }
    cut_k(&x);
    if (matmul_in_blocks(p)) {
        matmul_blocks(p, x.s, x.kc);
        return;
    }
    x.group = group_columns(p, x.kc);
    if (matmul_copies(p))
        run_copied(&x);
    else
        run_slab(&x);
}
