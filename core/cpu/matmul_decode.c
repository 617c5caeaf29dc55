/* matmul_decode: rows of the weight in pieces, each of them against all rows of a
 *
 * Pieces are cut by the weight's size alone. Within a piece, blocks of rows that stay in the first-level
 * cache meet the rows of a, at most DOT_ROWS at a time. */
#include "core/cpu/matmul_decode.h"

#include "core/cpu/path.h"
#include "core/threads.h"

#include <string.h>

enum {
    SLOT_ROWS = 3,    /* of threads_scratch */
    PIECE = 32 << 10, /* weights of a piece: about 1.5 microseconds */
    BLOCK = 16        /* rows of b that are together in the first-level cache */
};

typedef struct decoding {
    const matmul   *p;
    const tile_set *s;
    const float    *a;     /* groups of rows, each as dot_args wants it */
    int64_t         steps; /* of k */
    int64_t         rows;  /* of b, in a piece */
    int64_t         group; /* rows of a that go together */
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
    const int64_t row = dtype_row_bytes(p->type_b, p->ldb);
    float ALIGNED(64) sums[DOT_ROWS * BLOCK];

    for (int64_t i = 0; i < p->m; i += x->group) {
        const int64_t m = smaller(x->group, p->m - i);
        x->s->dot(&(dot_args){.m = m, .n = n, .k = p->k, .a = x->a + i * x->steps * DOT_STEP,
                              .b = (const uint8_t *)p->b + j * row, .type = p->type_b, .row = row,
                              .out = sums, .ldo = BLOCK, .expand = x->s->expand});
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

/* One group of rows: step by step, the last one filled up with zeros. */
static void order_group(const matmul *p, int64_t i0, int64_t m, float *out)
{
    for (int64_t i = 0; i < m; i++) {
        const float *row = (const float *)p->a + (i0 + i) * p->lda;
        float       *to = out + i * DOT_STEP;
        int64_t      k = 0;
        for (; k + DOT_STEP <= p->k; k += DOT_STEP, to += m * DOT_STEP)
            memcpy(to, row + k, DOT_STEP * sizeof *to);
        if (k < p->k) {
            memset(to, 0, DOT_STEP * sizeof *to);
            memcpy(to, row + k, (size_t)(p->k - k) * sizeof *to);
        }
    }
}

/* One row without a rest is read where it lies. */
static void order_rows(decoding *x)
{
    const matmul *p = x->p;
    const int64_t row = x->steps * DOT_STEP;

    x->a = p->a;
    if (p->m == 1 && p->k == row)
        return;
    float *out = threads_scratch(SLOT_ROWS, (size_t)(p->m * row) * sizeof *out);
    for (int64_t i = 0; i < p->m; i += x->group)
        order_group(p, i, smaller(x->group, p->m - i), out + i * row);
    x->a = out;
}

void matmul_decode(const matmul *p)
{
    const int64_t groups = (p->m + DOT_ROWS - 1) / DOT_ROWS, rows = PIECE / p->k / BLOCK * BLOCK;
    decoding      x = {.p = p, .s = path_tiles(), .steps = (p->k + DOT_STEP - 1) / DOT_STEP};

    x.group = (p->m + groups - 1) / groups;
    x.rows = rows > BLOCK ? rows : BLOCK;
    order_rows(&x);
    threads_run((p->n + x.rows - 1) / x.rows, run_piece, &x);
}
