/* linear: the products of linear, lora and linear_lora */
#ifndef AUTOGRAD_OPS_LINEAR_H
#define AUTOGRAD_OPS_LINEAR_H

#include "autograd/ops/kernel.h"

/* c[m,n] (+)= alpha a[m,k] b[n,k]^T */
static inline matmul product(const real *x, const void *w, dtype type, int64_t m, int64_t n,
                             int64_t k)
{
    return (matmul){.m = m, .n = n, .k = k, .a = x, .type_a = REAL_TYPE, .lda = k, .b = w,
                    .type_b = type, .ldb = k, .b_turned = true, .type_c = REAL_TYPE, .ldc = n,
                    .alpha = 1};
}

/* y[N,M] (+)= alpha x[N,K] w[M,K]^T */
static inline void product_turned(const real *x, const tensor *w, int64_t N, real *y, double alpha,
                                  bool accumulate)
{
    dtype       type;
    const void *v = op_weight(w, &type);
    matmul      p = product(x, v, type, N, w->s.d[0], w->s.d[1]);

    p.c = y;
    p.alpha = alpha;
    p.accumulate = accumulate;
    op_matmul(&p);
}

/* dx[N,K] (+)= alpha dy[N,M] w[M,K] (+ a thin product) */
static inline void product_plain(const real *dy, const tensor *w, int64_t N, real *dx, double alpha,
                                 bool accumulate, const matmul_thin *thin)
{
    dtype       type;
    const void *v = op_weight(w, &type);
    matmul      p = product(dy, v, type, N, w->s.d[1], w->s.d[0]);

    p.b_turned = false;
    p.ldb = w->s.d[1];
    p.c = dx;
    p.alpha = alpha;
    p.accumulate = accumulate;
    p.thin = thin;
    op_matmul(&p);
}

/* dw[M,K] += alpha dy[N,M]^T x[N,K] */
static inline void product_rows(const real *dy, const real *x, int64_t N, int64_t M, int64_t K,
                                real *dw, double alpha)
{
    matmul p = product(dy, x, REAL_TYPE, M, K, N);

    p.a_turned = true;
    p.lda = M;
    p.b_turned = false;
    p.ldb = K;
    p.c = dw;
    p.alpha = alpha;
    p.accumulate = true;
    op_matmul(&p);
}

/* Inputs x [N,K], w [M,K], b [M] or NULL. */
static inline status linear_shape(const char *op, const op_args *a, shape *out)
{
    const tensor *x = a->in[0], *w = a->in[1], *b = a->in[2];

    TRY(op_want_matrix(op, "x", x));
    TRY(op_want_weight(op, "w", w, -1, x->s.d[1]));
    if (b)
        TRY(op_want_real(op, "b", b, shape_1(w->s.d[0])));
    *out = shape_2(x->s.d[0], w->s.d[0]);
    return STATUS_OK;
}

static inline matmul linear_product(const op_args *a)
{
    dtype         type;
    const tensor *w = a->in[1];
    const void   *v = op_weight(w, &type);
    matmul        p = product(a->in[0]->v, v, type, rows_in_use(a->in[0]), w->s.d[0], w->s.d[1]);

    p.bias = a->in[2] ? a->in[2]->v : NULL;
    p.c = a->out[0]->v;
    p.decode = a->run->decoding;
    return p;
}

static inline void linear_forward(const op_args *a, const matmul_thin *thin)
{
    matmul p = linear_product(a);

    p.thin = thin;
    op_matmul(&p);
}

static inline void linear_bias_backward(const op_args *a, int64_t from, int64_t to)
{
    op_add_column_sums(a->gout[0]->v, rows_in_use(a->gout[0]), a->gout[0]->s.d[1], from, to,
                       a->gin[2]->v);
}

static inline void linear_backward(const op_args *a, const matmul_thin *thin)
{
    const tensor *dy = a->gout[0];
    const int64_t N = rows_in_use(dy), M = dy->s.d[1], K = a->in[0]->s.d[1];

    if (a->gin[0])
        product_plain(dy->v, a->in[1], N, a->gin[0]->v, 1, true, thin);
    if (a->gin[1])
        product_rows(dy->v, a->in[0]->v, N, M, K, a->gin[1]->v, 1);
    if (a->gin[2])
        op_over(a, M, PIECE_COLUMNS, linear_bias_backward);
}

/* ---- low rank ----------------------------------------------------------------------------------- */

/* A low-rank part of an operation: x [N,K], a [R,K], b [M,R], h = x a^T [N,R]. */
typedef struct low_rank {
    const tensor *x, *a, *b;
    tensor       *dx, *da, *db;
    real         *h;
    double        factor;
    bool          decode;
} low_rank;

static inline status low_rank_shape(const char *op, const tensor *x, const tensor *a, const tensor *b,
                                    int64_t M, int64_t *n_aux)
{
    TRY(op_want_matrix(op, "x", x));
    TRY(op_want_weight(op, "a", a, -1, x->s.d[1]));
    TRY(op_want_weight(op, "b", b, M, a->s.d[0]));
    *n_aux = x->s.d[0] * a->s.d[0];
    return STATUS_OK;
}

/* Decoding: the low-rank part in one run beside the product p, or alone when p has no b. False: it is
 * not decoding. */
static inline bool low_rank_decode(const low_rank *l, matmul p)
{
#ifndef REAL_IS_F64
    const matmul_low_rank low = {.a = l->a->v, .b = l->b->v, .rank = l->a->s.d[0], .factor = l->factor,
                                 .h = l->h};

    if (!matmul_decodes(&p) || l->a->type != TYPE_F32 || l->b->type != TYPE_F32)
        return false;
    p.low_rank = &low;
    op_matmul(&p);
    return true;
#else
    (void)l, (void)p;
    return false;
#endif
}

/* A product without b, for low_rank_decode to add to y. */
static inline matmul low_rank_alone(const low_rank *l, real *y)
{
    matmul p = product(l->x->v, NULL, REAL_TYPE, rows_in_use(l->x), l->b->s.d[0], l->x->s.d[1]);

    p.c = y;
    p.decode = l->decode;
    return p;
}

/* h = x a^T */
static inline void low_rank_inner(const low_rank *l)
{
    product_turned(l->x->v, l->a, rows_in_use(l->x), l->h, 1, false);
}

/* factor h b^T, to ride along with another product; b must be of the type being compiled */
static inline matmul_thin low_rank_outer(const low_rank *l)
{
    const int64_t R = l->a->s.d[0];

    return (matmul_thin){.k = R, .a = l->h, .lda = R, .b = l->b->v, .ldb = R, .b_turned = true,
                         .alpha = l->factor};
}

/* dh = factor dy b, as scratch; db += factor dy^T h; da += dh^T x */
static inline real *low_rank_gradients(const low_rank *l, const tensor *dy)
{
    const int64_t N = rows_in_use(dy), M = dy->s.d[1], K = l->x->s.d[1], R = l->a->s.d[0];

    if (l->db)
        product_rows(dy->v, l->h, N, M, R, l->db->v, l->factor);
    if (!l->da && !l->dx)
        return NULL;
    real *dh = threads_scratch(SLOT_SHARED, (size_t)(dy->s.d[0] * R) * sizeof *dh);
    product_plain(dy->v, l->b, N, dh, l->factor, false, NULL);
    if (l->da)
        product_rows(dh, l->x->v, N, R, K, l->da->v, 1);
    return dh;
}

#endif
