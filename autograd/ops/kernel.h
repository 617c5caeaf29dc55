/* kernel: what the operation files share: rows in use, pieces of work, vectors, checks of inputs.
 *
 * Work is cut into pieces whose borders depend on the shapes only. A sum over rows is made by one
 * thread for its columns, in blocks of ROW_BLOCK rows; a sum along a row is made in lanes. */
#ifndef AUTOGRAD_OPS_KERNEL_H
#define AUTOGRAD_OPS_KERNEL_H

#include "autograd/op.h"
#include "core/quant.h"

#include <string.h>

enum { PIECE_VALUES = 16384, PIECE_COLUMNS = 64, ROW_BLOCK = 32 };

/* Scratch slots of operations; see threads_scratch. A matrix product may read or write the first two. */
enum { SLOT_WEIGHT = 0, SLOT_SHARED = 1, SLOT_PART = 4 };

/* The widest vector of the instruction set. */
#if defined(__AVX512F__)
#define LANE_BYTES 64
#elif defined(__AVX__)
#define LANE_BYTES 32
#else
#define LANE_BYTES 16
#endif
enum { LANES = LANE_BYTES / (int)sizeof(real) };
typedef VECTOR(real, LANE_BYTES) lanes;

#define LOAD(to, from) memcpy(&(to), (from), sizeof(lanes))
#define STORE(to, from) memcpy((to), &(from), sizeof(lanes))

/* Leading rows in use. */
static inline int64_t rows_in_use(const tensor *t)
{
    const int64_t capacity = t->s.n ? t->s.d[0] : 1;

    if (!t->rows)
        return capacity;
    CHECK(*t->rows >= 0 && *t->rows <= capacity);
    return *t->rows;
}

/* Values in use. */
static inline int64_t values_in_use(const tensor *t)
{
    int64_t n = rows_in_use(t);

    for (int i = 1; i < t->s.n; i++)
        n *= t->s.d[i];
    return n;
}

/* Rows of the last size in use. */
static inline int64_t vectors_in_use(const tensor *t)
{
    const int64_t last = shape_last(t->s);

    return last ? values_in_use(t) / last : 0;
}

static inline real *op_value(const tensor *t)
{
    return t ? t->v : NULL;
}

/* A part of an operation: values, rows or columns from .. to-1. */
typedef void op_body(const op_args *a, int64_t from, int64_t to);

typedef struct op_job {
    const op_args *a;
    op_body       *body;
    int64_t        n, piece;
} op_job;

static inline void op_job_piece(void *context, int64_t i)
{
    const op_job *j = context;
    const int64_t from = i * j->piece, to = from + j->piece;

    j->body(j->a, from, to < j->n ? to : j->n);
}

/* body for 0 .. n-1 in pieces, on all threads */
static inline void op_over(const op_args *a, int64_t n, int64_t piece, op_body *body)
{
    op_job j = {a, body, n, piece};

    threads_run((n + piece - 1) / piece, op_job_piece, &j);
}

static inline void op_copy_values(const op_args *a, int64_t from, int64_t to)
{
    memcpy((real *)a->out[0]->v + from, (const real *)a->in[0]->v + from, (size_t)(to - from) * sizeof(real));
}

static inline void op_add_upstream_values(const op_args *a, int64_t from, int64_t to)
{
    const real    *dy = a->gout[0]->v;
    real *RESTRICT dx = a->gin[0]->v;

    for (int64_t i = from; i < to; i++)
        dx[i] += dy[i];
}

/* For y' = y + more: input 0 as the result, which may lie in its place; and its gradient. */
static inline void op_pass(const op_args *a)
{
    if (a->out[0]->v != a->in[0]->v)
        op_over(a, values_in_use(a->out[0]), PIECE_VALUES, op_copy_values);
}

static inline void op_pass_back(const op_args *a)
{
    if (a->gin[0])
        op_over(a, values_in_use(a->gout[0]), PIECE_VALUES, op_add_upstream_values);
}

/* Rows of `columns` values that make a piece of about PIECE_VALUES. */
static inline int64_t op_piece_rows(int64_t columns)
{
    const int64_t rows = PIECE_VALUES / (columns > 0 ? columns : 1);

    return rows > 0 ? rows : 1;
}

/* sum of x[i] * y[i], in lanes that are added in a fixed order */
static inline real op_dot(const real *x, const real *y, int64_t n)
{
    lanes   s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, a, b;
    int64_t i = 0;

    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        LOAD(a, x + i), LOAD(b, y + i), s0 += a * b;
        LOAD(a, x + i + LANES), LOAD(b, y + i + LANES), s1 += a * b;
        LOAD(a, x + i + 2 * LANES), LOAD(b, y + i + 2 * LANES), s2 += a * b;
        LOAD(a, x + i + 3 * LANES), LOAD(b, y + i + 3 * LANES), s3 += a * b;
    }
    for (; i + LANES <= n; i += LANES)
        LOAD(a, x + i), LOAD(b, y + i), s0 += a * b;
    s0 = (s0 + s1) + (s2 + s3);

    real sum = 0, rest = 0;
    for (int l = 0; l < LANES; l++)
        sum += s0[l];
    for (; i < n; i++)
        rest += x[i] * y[i];
    return sum + rest;
}

/* sum of x[i], likewise */
static inline real op_total(const real *x, int64_t n)
{
    lanes   s0 = {0}, s1 = {0}, a;
    int64_t i = 0;

    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        LOAD(a, x + i), s0 += a;
        LOAD(a, x + i + LANES), s1 += a;
    }
    s0 += s1;

    real sum = 0, rest = 0;
    for (int l = 0; l < LANES; l++)
        sum += s0[l];
    for (; i < n; i++)
        rest += x[i];
    return sum + rest;
}

/* sum[c] += sum over rows of x[n, C] for columns from .. to-1 */
static inline void op_add_column_sums(const real *x, int64_t n, int64_t C, int64_t from, int64_t to,
                                      real *sum)
{
    for (int64_t first = 0; first < n; first += ROW_BLOCK) {
        const int64_t last = first + ROW_BLOCK < n ? first + ROW_BLOCK : n;
        real          block[PIECE_COLUMNS] = {0};

        for (int64_t r = first; r < last; r++)
            for (int64_t c = from; c < to; c++)
                block[c - from] += x[r * C + c];
        for (int64_t c = from; c < to; c++)
            sum[c] += block[c - from];
    }
}

/* A weight as the matrix product wants it: in f32 as it is stored, in f64 expanded into scratch. */
static inline const void *op_weight(const tensor *w, dtype *type)
{
    *type = w->type;
#ifdef REAL_IS_F64
    if (w->type != TYPE_F64) {
        const int64_t K = shape_last(w->s), M = shape_rows(w->s);
        const int64_t row = dtype_row_bytes(w->type, K);
        double       *out = threads_scratch(SLOT_WEIGHT, (size_t)(M * K) * 8 + (size_t)K * 4);
        float        *part = (float *)(out + M * K);

        for (int64_t m = 0; m < M; m++) {
            quant_expand(w->type, (const uint8_t *)w->v + m * row, K, part);
            for (int64_t k = 0; k < K; k++)
                out[m * K + k] = part[k];
        }
        *type = TYPE_F64;
        return out;
    }
#endif
    return w->v;
}

/* out[K] = row i of a weight, expanded */
static inline void op_weight_row(const tensor *w, int64_t i, real *out)
{
    const int64_t  K = shape_last(w->s), bytes = dtype_row_bytes(w->type, K);
    const uint8_t *row = (const uint8_t *)w->v + i * bytes;

#ifdef REAL_IS_F64
    if (w->type == TYPE_F64) {
        memcpy(out, row, (size_t)bytes);
        return;
    }
    float *part = threads_scratch(SLOT_PART, (size_t)K * sizeof *part);
    quant_expand(w->type, row, K, part);
    for (int64_t k = 0; k < K; k++)
        out[k] = part[k];
#else
    quant_expand(w->type, row, K, out);
#endif
}

/* ---- for shape rules -------------------------------------------------------------------------- */

static inline status op_want_ints(const char *op, const char *name, const tensor *t, shape s)
{
    if (t->type != TYPE_I32 || !shape_equal(t->s, s))
        return fail(STATUS_SHAPE, "%s: %s is %s %s, must be i32 %s", op, name, dtype_name(t->type),
                    shape_text(t->s), shape_text(s));
    return STATUS_OK;
}

static inline status op_want_real(const char *op, const char *name, const tensor *t, shape s)
{
    if (t->type != REAL_TYPE || !shape_equal(t->s, s))
        return fail(STATUS_SHAPE, "%s: %s is %s %s, must be %s %s", op, name, dtype_name(t->type),
                    shape_text(t->s), dtype_name(REAL_TYPE), shape_text(s));
    return STATUS_OK;
}

/* A matrix of activations. */
static inline status op_want_matrix(const char *op, const char *name, const tensor *t)
{
    if (t->type != REAL_TYPE || t->s.n != 2)
        return fail(STATUS_SHAPE, "%s: %s is %s %s, must be %s with two sizes", op, name,
                    dtype_name(t->type), shape_text(t->s), dtype_name(REAL_TYPE));
    return STATUS_OK;
}

/* A weight [rows, columns] of any type a product can read; rows -1: any. */
static inline status op_want_weight(const char *op, const char *name, const tensor *t, int64_t rows,
                                    int64_t columns)
{
    const bool type = t->type == TYPE_F64 ? REAL_TYPE == TYPE_F64 : quant_is_real(t->type);

    if (!type || t->s.n != 2 || t->s.d[1] != columns || (rows >= 0 && t->s.d[0] != rows))
        return fail(STATUS_SHAPE, "%s: %s is %s %s, must hold real numbers, %s rows of %lld", op, name,
                    dtype_name(t->type), shape_text(t->s),
                    rows < 0 ? "any" : shape_text(shape_1(rows)), (long long)columns);
    if (columns % dtype_block(t->type) != 0)
        return fail(STATUS_SHAPE, "%s: %s is %s with rows of %lld values, must be a multiple of %lld",
                    op, name, dtype_name(t->type), (long long)columns,
                    (long long)dtype_block(t->type));
    return STATUS_OK;
}

#endif
