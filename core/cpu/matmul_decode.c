/* matmul_decode: rows of the weight in pieces, each of them against all rows of a
 *
 * Pieces are long runs of the weight, so that memory is read ahead well. Within a piece, blocks of rows
 * that stay in the first-level cache meet the rows of a, at most DOT_ROWS at a time.
 *
 * A low-rank part goes along in the same run: its first pieces make h = a A^T, and whoever has finished
 * rows of c waits for h and adds their share of h B^T. Pieces are taken in order, so h is on its way. */
#include "core/cpu/matmul_decode.h"

#include "core/cpu/path.h"
#include "core/threads.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

enum {
    SLOT_LOW = 2, SLOT_ROWS = 3, /* of threads_scratch */
    PIECE = 512 << 10,  /* weights of a piece at most: long runs of memory are read faster */
    SMALL = 8 << 10,    /* and at least */
    ASKED = 8 << 10,    /* values of B that are asked for early: 32 KB */
    ROWS = 4,           /* rows of b that kernels take at once */
    BLOCK = 16          /* rows of b that are together in the first-level cache */
};

typedef struct decoding {
    const matmul   *p;
    const tile_set *s;
    const float    *a;     /* groups of rows, each as dot_args wants it */
    int64_t         steps; /* of k */
    int64_t         rows;  /* of b, in a piece */
    int64_t         group; /* rows of a that go together */
} decoding;

typedef struct decode_job {
    decoding    whole, down, up; /* the product; h = a A^T; c += factor h B^T */
    int64_t     downs;           /* pieces of down; 0: no low-rank part */
    _Atomic int64_t left;        /* of them */
} decode_job;

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

static void run_rows(const decoding *x, int64_t piece)
{
    const int64_t from = piece * x->rows, to = smaller(x->p->n, from + x->rows);

    for (int64_t j = from; j < to; j += BLOCK)
        run_block(x, j, smaller(BLOCK, to - j));
}

bool matmul_decodes(const matmul *p)
{
    return p->decode && !p->thin && p->b_turned && !p->a_turned && p->type_a == TYPE_F32 && p->type_c == TYPE_F32 &&
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
static void order_rows(decoding *x, int slot)
{
    const matmul *p = x->p;
    const int64_t row = x->steps * DOT_STEP;

    x->a = p->a;
    if (p->m == 1 && p->k == row)
        return;
    float *out = threads_scratch(slot, (size_t)(p->m * row) * sizeof *out);
    for (int64_t i = 0; i < p->m; i += x->group)
        order_group(p, i, smaller(x->group, p->m - i), out + i * row);
    x->a = out;
}

/* As many pieces as there are threads, or a multiple: no sum goes over the border of a piece. */
static int64_t piece_rows(const matmul *p)
{
    const int64_t threads = threads_count(), weights = p->n * p->k;
    const int64_t pieces = 2 * threads * divide_up(weights, 2 * threads * PIECE), least = divide_up(SMALL, p->k);
    const int64_t rows = divide_up(divide_up(p->n, pieces), ROWS) * ROWS;

    return rows > least ? rows : least;
}

static decoding decoding_of(const matmul *p, int64_t rows)
{
    const int64_t groups = divide_up(p->m, DOT_ROWS);

    return (decoding){.p = p, .s = path_tiles(), .steps = divide_up(p->k, DOT_STEP), .rows = rows,
                      .group = divide_up(p->m, groups)};
}

/* Rows of B that will be wanted when those of the product are done. */
static void ask_for_rows(const decoding *x, int64_t piece)
{
    const float  *b = x->p->b;
    const int64_t from = piece * x->rows * x->p->k, to = smaller(x->p->n, (piece + 1) * x->rows) * x->p->k;

    for (int64_t i = from; i < to && i < from + ASKED; i += 16)
        __builtin_prefetch(b + i);
}

static void await_low_rank(decode_job *j)
{
    for (int round = 1; atomic_load_explicit(&j->left, memory_order_acquire) > 0; round++)
        if (round % 256 == 0)
            sched_yield();
}

static void run_piece(void *context, int64_t piece)
{
    decode_job *j = context;

    if (piece < j->downs) {
        run_rows(&j->down, piece);
        atomic_fetch_sub_explicit(&j->left, 1, memory_order_release);
        return;
    }
    if (j->downs > 0)
        ask_for_rows(&j->up, piece - j->downs);
    if (j->whole.p->b)
        run_rows(&j->whole, piece - j->downs);
    if (j->downs == 0)
        return;
    await_low_rank(j);
    decoding up = j->up;
    order_rows(&up, SLOT_LOW);
    run_rows(&up, piece - j->downs);
}

void matmul_decode(const matmul *p)
{
    const matmul_low_rank *l = p->low_rank;
    decode_job             j = {.whole = decoding_of(p, piece_rows(p))};
    matmul                 down, up;

    order_rows(&j.whole, SLOT_ROWS);
    if (l && l->rank > 0) {
        down = (matmul){.m = p->m, .n = l->rank, .k = p->k, .b = l->a, .type_b = TYPE_F32, .ldb = p->k,
                        .c = l->h, .ldc = l->rank, .alpha = 1};
        up = (matmul){.m = p->m, .n = p->n, .k = l->rank, .a = l->h, .lda = l->rank, .b = l->b,
                      .type_b = TYPE_F32, .ldb = l->rank, .c = p->c, .ldc = p->ldc, .alpha = l->factor,
                      .accumulate = true};
        j.down = decoding_of(&down, divide_up(divide_up(l->rank, threads_count()), ROWS) * ROWS);
        j.down.a = j.whole.a;
        j.up = decoding_of(&up, j.whole.rows);
        j.downs = divide_up(l->rank, j.down.rows);
        atomic_init(&j.left, j.downs);
    }
    threads_run(j.downs + divide_up(p->n, j.whole.rows), run_piece, &j);
}
