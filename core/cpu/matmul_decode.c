/* matmul_decode: rows of the weight in pieces, each of them against all rows of a
 *
 * Pieces are cut by the weight's size alone. Within a piece, blocks of rows that stay in the first-level
 * cache meet the rows of a, at most DOT_ROWS at a time. */
#include "core/cpu/matmul_decode.h"

#include "core/cpu/path.h"
#include "core/threads.h"

enum {
    PIECE = 32 << 10, /* weights of a piece: about 1.5 microseconds */
    BLOCK = 16        /* rows of b that are together in the first-level cache */
};

typedef struct decoding {
    const matmul   *p;
    const tile_set *s;
    int64_t         rows;   /* of b, in a piece */
    int64_t         groups; /* of rows of a */
} decoding;

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* c = (c or 0) + bias + alpha * sums, n columns from j on */
static void put(const matmul *p, const float *sums, int64_t i0, int64_t m, int64_t j, int64_t n)
{
    const float  alpha = (float)p->alpha;
    const float *bias = p->bias;

    for (int64_t i = 0; i < m; i++) {
        const float *from = sums + i * BLOCK;
        float       *c = (float *)p->c + (i0 + i) * p->ldc;
        for (int64_t x = 0; x < n; x++) {
            const float v = alpha * from[x] + (bias ? bias[j + x] : 0);
            c[j + x] = p->accumulate ? c[j + x] + v : v;
        }
    }
}

static void run_block(const decoding *x, int64_t j, int64_t n)
{
    const matmul *p = x->p;
    const int64_t row = dtype_row_bytes(p->type_b, p->ldb), rows = (p->m + x->groups - 1) / x->groups;
    float ALIGNED(64) sums[DOT_ROWS * BLOCK];

    for (int64_t i = 0; i < p->m; i += rows) {
        const int64_t m = smaller(rows, p->m - i);
        x->s->dot(&(dot_args){.m = m, .n = n, .k = p->k, .a = (const float *)p->a + i * p->lda,
                              .lda = p->lda, .b = (const uint8_t *)p->b + j * row, .type = p->type_b,
                              .row = row, .out = sums, .ldo = BLOCK, .expand = x->s->expand});
        put(p, sums, i, m, j, n);
    }
}

static void run_piece(void *context, int64_t piece)
{
    const decoding *x = context;
    const int64_t   from = piece * x->rows, to = smaller(x->p->n, from + x->rows);

    for (int64_t j = from; j < to; j += BLOCK)
        run_block(x, j, smaller(BLOCK, to - j));
}

bool matmul_decodes(const matmul *p)
{
    return p->decode && p->b_turned && !p->a_turned && p->type_a == TYPE_F32 && p->type_c == TYPE_F32 &&
           p->m <= MATMUL_DECODE_ROWS && p->m > 0 && p->n > 0 && p->k > 0;
}

void matmul_decode(const matmul *p)
{
    decoding      x = {.p = p, .s = path_tiles(), .groups = (p->m + DOT_ROWS - 1) / DOT_ROWS};
    const int64_t rows = PIECE / p->k / BLOCK * BLOCK;

    x.rows = rows > BLOCK ? rows : BLOCK;
    threads_run((p->n + x.rows - 1) / x.rows, run_piece, &x);
}
