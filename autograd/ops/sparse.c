/* sparse: y' = y + x S^T, S [M, K] zero but for v[e] at row places[0,e] and column places[1,e], in the order
 * of rows and then columns, none twice
 *
 * dy += dy', dx[n,k] += sum of dy'[n,m] v[e], dv[e] += sum_n dy'[n,m] x[n,k]; the work grows with the number
 * of v. Tokens are turned over in tiles, so that a value of S meets many of them side by side. */
#include "autograd/ops/kernel.h"

enum { TILE = 32, CHUNK = 512, PIECE_ENTRIES = 64 };

status op_sparse_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *y = a->in[0], *x = a->in[1], *v = a->in[2];

    TRY(op_want_matrix("sparse", "y", y));
    TRY(op_want_matrix("sparse", "x", x));
    TRY(op_want_real("sparse", "v", v, shape_1(shape_count(v->s))));
    TRY(op_want_ints("sparse", "places", a->in[3], shape_2(2, shape_count(v->s))));
    if (x->s.d[0] != y->s.d[0])
        return fail(STATUS_SHAPE, "sparse: x has %lld rows, y %lld", (long long)x->s.d[0],
                    (long long)y->s.d[0]);
    *out = y->s;
    *n_aux = 0;
    return STATUS_OK;
}

/* to[c][TILE] = rows from .. of x [., C], zero past `to` */
static void turn_tile(const real *x, int64_t C, int64_t from, int64_t to, real *turned)
{
    for (int64_t l = 0; l < TILE; l++)
        for (int64_t c = 0; c < C; c++)
            turned[c * TILE + l] = from + l < to ? x[(from + l) * C + c] : 0;
}

/* Tiles from .. to-1 of tokens. */
static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  N = rows_in_use(a->out[0]), M = a->out[0]->s.d[1], K = a->in[1]->s.d[1],
                   E = a->in[2]->s.d[0];
    const int32_t *m = a->in[3]->v, *k = m + E;
    const real    *v = a->in[2]->v;
    real          *y = a->out[0]->v, *x = threads_scratch(SLOT_WEIGHT, (size_t)(K * TILE) * sizeof *x);

    for (int64_t tile = from; tile < to; tile++) {
        const int64_t n0 = tile * TILE, n = N - n0 < TILE ? N - n0 : TILE;
        turn_tile(a->in[1]->v, K, n0, N, x);
        for (int64_t e = 0; e < E;) {
            const int64_t row = m[e];
            real          sum[TILE] = {0};
            for (; e < E && m[e] == row; e++)
                for (int l = 0; l < TILE; l++)
                    sum[l] += v[e] * x[k[e] * TILE + l];
            for (int64_t l = 0; l < n; l++)
                y[(n0 + l) * M + row] += sum[l];
        }
    }
}

void op_sparse_fwd_cpu(const op_args *a)
{
    op_pass(a);
    op_over(a, (rows_in_use(a->out[0]) + TILE - 1) / TILE, 1, forward);
}

static void backward_x(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  N = rows_in_use(a->gout[0]), M = a->gout[0]->s.d[1], K = a->gin[1]->s.d[1],
                   E = a->in[2]->s.d[0];
    const int32_t *m = a->in[3]->v, *k = m + E;
    const real    *v = a->in[2]->v;
    real          *dy = threads_scratch(SLOT_WEIGHT, (size_t)((M + K) * TILE) * sizeof *dy);
    real          *dx = a->gin[1]->v, *sum = dy + M * TILE;

    for (int64_t tile = from; tile < to; tile++) {
        const int64_t n0 = tile * TILE, n = N - n0 < TILE ? N - n0 : TILE;
        turn_tile(a->gout[0]->v, M, n0, N, dy);
        memset(sum, 0, (size_t)(K * TILE) * sizeof *sum);
        for (int64_t e = 0; e < E; e++)
            for (int l = 0; l < TILE; l++)
                sum[k[e] * TILE + l] += v[e] * dy[m[e] * TILE + l];
        for (int64_t l = 0; l < n; l++)
            for (int64_t c = 0; c < K; c++)
                dx[(n0 + l) * K + c] += sum[c * TILE + l];
    }
}

/* dv of a chunk of rows, which lie turned over as x [K, rows] and dy [M, rows]. */
typedef struct chunk {
    const op_args *a;
    int64_t        first, rows;
    real          *x, *dy;
} chunk;

static void turn_columns(const real *x, int64_t C, const chunk *c, int64_t from, int64_t to, real *turned)
{
    for (int64_t n = 0; n < c->rows; n++)
        for (int64_t i = from; i < to && i < C; i++)
            turned[i * c->rows + n] = x[(c->first + n) * C + i];
}

static void turn_piece(void *context, int64_t piece)
{
    const chunk  *c = context;
    const int64_t from = piece * PIECE_COLUMNS;

    turn_columns(c->a->in[1]->v, c->a->in[1]->s.d[1], c, from, from + PIECE_COLUMNS, c->x);
    turn_columns(c->a->gout[0]->v, c->a->gout[0]->s.d[1], c, from, from + PIECE_COLUMNS, c->dy);
}

static void entries_piece(void *context, int64_t piece)
{
    const chunk   *c = context;
    const int64_t  E = shape_count(c->a->gin[2]->s), from = piece * PIECE_ENTRIES;
    const int32_t *m = c->a->in[3]->v, *k = m + E;
    real          *dv = c->a->gin[2]->v;

    for (int64_t e = from; e < E && e < from + PIECE_ENTRIES; e++)
        dv[e] += op_dot(c->dy + m[e] * c->rows, c->x + k[e] * c->rows, c->rows);
}

static void backward_v(const op_args *a)
{
    const int64_t N = rows_in_use(a->gout[0]), M = a->gout[0]->s.d[1], K = a->in[1]->s.d[1];
    const int64_t E = shape_count(a->gin[2]->s),
                  most = a->gout[0]->s.d[0] < CHUNK ? a->gout[0]->s.d[0] : CHUNK;
    chunk         c = {.a = a};

    c.x = threads_scratch(SLOT_SHARED, (size_t)((M + K) * most) * sizeof *c.x);
    for (c.first = 0; c.first < N; c.first += CHUNK) {
        c.rows = N - c.first < CHUNK ? N - c.first : CHUNK;
        c.dy = c.x + K * c.rows;
        threads_run(((M > K ? M : K) + PIECE_COLUMNS - 1) / PIECE_COLUMNS, turn_piece, &c);
        threads_run((E + PIECE_ENTRIES - 1) / PIECE_ENTRIES, entries_piece, &c);
    }
}

void op_sparse_bwd_cpu(const op_args *a)
{
    if (a->gin[1])
        op_over(a, (rows_in_use(a->gout[0]) + TILE - 1) / TILE, 1, backward_x);
    if (a->gin[2])
        backward_v(a);
    op_pass_back(a);
}
