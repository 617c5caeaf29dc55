/* matmul_blocks: large products, where both operands are packed
 *
 * Columns go by in chunks, k in the blocks of the driver. All threads pack the chunk's panels of b into one
 * place; then each takes blocks of a's rows, packs them so that a tile reads one line after another, and
 * meets all panels with them while they lie in its second-level cache. Sums are those of the driver. */
#include "core/cpu/matmul_tiles.h"

#include "core/threads.h"

enum {
    LEAST_COLUMNS = 384, /* packing a must pay */
    LEAST_ROWS = 64,
    LONG_K = 2048,       /* (of pairs: pairs) shorter rows of a are read as well from where they lie */
    SHARED = 1 << 20,    /* values of b's panels at once: 4 MB, within a third-level cache */
    BLOCK = 64 << 10     /* values of a block of rows: 256 KB, well within a second-level cache */
};

typedef struct chunk {
    const matmul   *p;
    const tile_set *s;
    int64_t         k0, k;   /* of k */
    int64_t         j0, n;   /* columns */
    int64_t         group, blocks;
    float          *panels, *thin_panels;
} chunk;

bool matmul_in_blocks(const matmul *p)
{
    if (p->n < LEAST_COLUMNS || p->m < LEAST_ROWS)
        return false;
    if (p->a_turned && p->type_a == TYPE_F32) /* strips of columns would be read a line a page */
        return false;
    return p->k >= LONG_K || matmul_copies(p);
}

/* A thread's scratch: what packing needs, and behind it a block of rows. */
static float *thread_scratch(int64_t block)
{
    const int64_t n = block > BLOCK ? block : BLOCK;

    return threads_scratch(SLOT_OWN, (size_t)(PACK_SCRATCH + n) * sizeof(float));
}

static void pack_piece(void *context, int64_t piece)
{
    const chunk  *x = context;
    const matmul *p = x->p;
    const int64_t j = piece * x->group;
    const pack_group g = {.b = p->b, .type = p->type_b, .ldb = p->ldb, .turned = p->b_turned, .k0 = x->k0, .k = x->k,
                       .n0 = x->j0 + j, .n = smaller(x->group, x->n - j), .out = x->panels + j * x->k,
                       .scratch = thread_scratch(0)};

    x->s->pack(&g);
    if (x->thin_panels)
        matmul_pack_thin(p->thin, x->s, g.n0, g.n, g.scratch, x->thin_panels + j * p->thin->k);
}

/* Rows from .. to-1 of a in strips: a [m, k] is to packing what a turned b [n, k] is. */
static void pack_block(const chunk *x, int64_t from, int64_t to, float *scratch, float *out)
{
    const matmul *p = x->p;

    for (int64_t i = from; i < to; i += x->s->strip, out += matmul_strip(x->s, x->k))
        x->s->pack_strip(&(pack_group){.b = p->a, .type = p->type_a, .ldb = p->lda, .turned = !p->a_turned, .k0 = x->k0,
                                 .k = x->k, .n0 = i, .n = smaller(x->s->strip, to - i), .out = out,
                                 .scratch = scratch});
}

static void run_block(void *context, int64_t block)
{
    const chunk  *x = context;
    const matmul *p = x->p;
    const int64_t strip = x->s->strip, strips = divide_up(p->m, strip);
    const int64_t from = block * strips / x->blocks * strip;
    const int64_t to = smaller(p->m, (block + 1) * strips / x->blocks * strip), rows = to - from;
    float        *scratch = thread_scratch(divide_up(rows, strip) * matmul_strip(x->s, x->k));
    const stretch t = {.a = scratch + PACK_SCRATCH, .k = x->k, .packed = true, .alpha = (float)p->alpha,
                       .first = x->k0 == 0};
    stretch       thin = {0};

    pack_block(x, from, to, scratch, scratch + PACK_SCRATCH);
    if (x->thin_panels)
        thin = matmul_thin_from(p->thin, from);
    for (int64_t j = 0; j < x->n; j += x->group) {
        const float *thin_panels = x->thin_panels ? x->thin_panels + j * thin.k : NULL;
        matmul_columns(p, x->s, &t, x->panels + j * x->k, thin_panels ? &thin : NULL, thin_panels, from, x->j0 + j,
                       smaller(x->group, x->n - j), 0, rows);
    }
}

/* Blocks of rows: no larger than the cache wants them, as many for one thread as for another. */
static int64_t blocks_of(const chunk *x)
{
    const int64_t strips = divide_up(x->p->m, x->s->strip), threads = threads_count();
    const int64_t least = divide_up(strips * matmul_strip(x->s, x->k), BLOCK);

    return smaller(strips, divide_up(least, threads) * threads);
}

static void run_chunk(chunk *x, int64_t kc)
{
    const matmul *p = x->p;

    for (x->k0 = 0; x->k0 < p->k; x->k0 += kc) {
        x->k = smaller(kc, p->k - x->k0);
        const bool    last = x->k0 + x->k == p->k;
        const int64_t whole = divide_up(x->n, x->s->lanes) * x->s->lanes, k_thin = p->thin && last ? p->thin->k : 0;
        const int64_t values = whole * (x->k + k_thin);
        x->panels = threads_scratch(SLOT_ALL, (size_t)(values > SHARED ? values : SHARED) * sizeof(float));
        x->thin_panels = k_thin ? x->panels + whole * x->k : NULL;
        x->blocks = blocks_of(x);
        threads_run(divide_up(x->n, x->group), pack_piece, x);
        threads_run(x->blocks, run_block, x);
    }
}

void matmul_blocks(const matmul *p, const tile_set *s, int64_t kc)
{
    chunk         x = {.p = p, .s = s, .group = matmul_group(p)};
    const int64_t most = SHARED / (kc + (p->thin ? p->thin->k : 0)) / x.group * x.group;
    const int64_t chunks = divide_up(p->n, most > x.group ? most : x.group);
    const int64_t columns = divide_up(divide_up(p->n, chunks), x.group) * x.group;

    for (x.j0 = 0; x.j0 < p->n; x.j0 += columns) {
        x.n = smaller(columns, p->n - x.j0);
        run_chunk(&x, kc);
    }
}
