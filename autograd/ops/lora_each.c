/* lora_each: lora with factors of every sequence's own: for the rows n of sequence s
 * y'[n] = y[n] + factor h[n] b[s], h[n] = x[n] a[s], a [S, K, R], b [S, R, M]   (aux: h)
 *
 * dy += dy', dh[n] = factor dy'[n] b[s]^T, db[s] += factor h^T dy', da[s] += x^T dh, dx[n] += dh[n] a[s]^T */
#include "autograd/ops/kernel.h"

status op_lora_each_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *y = a->in[0], *x = a->in[1], *low = a->in[2], *offsets = a->in[4];

    TRY(op_want_matrix("lora_each", "y", y));
    TRY(op_want_matrix("lora_each", "x", x));
    TRY(op_want_real("lora_each", "x", x, shape_2(y->s.d[0], x->s.d[1])));
    const int64_t S = low->s.n ? low->s.d[0] : 1, R = shape_last(low->s);
    TRY(op_want_real("lora_each", "a", low, shape_3(S, x->s.d[1], R)));
    TRY(op_want_real("lora_each", "b", a->in[3], shape_3(S, R, y->s.d[1])));
    TRY(op_want_ints("lora_each", "offsets", offsets, shape_1(S + 1)));
    *out = y->s;
    *n_aux = y->s.d[0] * R;
    return STATUS_OK;
}

/* The rows of a sequence and its factors. */
typedef struct own {
    int64_t first, n, K, R, M;
    const real *a, *b;
} own;

static own own_of(const op_args *a, const tensor *y, int64_t s)
{
    const int32_t *offsets = a->in[4]->v;
    const int64_t  K = a->in[1]->s.d[1], R = shape_last(a->in[2]->s), M = y->s.d[1];
    const real    *low = a->in[2]->v, *high = a->in[3]->v;

    CHECK(offsets[s] >= 0 && offsets[s] <= offsets[s + 1] && offsets[s + 1] <= rows_in_use(y));
    return (own){offsets[s], offsets[s + 1] - offsets[s], K, R, M, low ? low + s * K * R : NULL,
                 high ? high + s * R * M : NULL};
}

static int64_t sequences(const op_args *a)
{
    return rows_in_use(a->in[4]) - 1;
}

/* c[m,n] (+)= alpha a[m,k] b[k,n]; a and b may be given turned: [k,m], [n,k] */
static void multiply(const real *a, bool a_turned, const real *b, bool b_turned, int64_t m, int64_t n, int64_t k,
                     real *c, double alpha, bool accumulate)
{
    const matmul p = {.m = m, .n = n, .k = k, .a = a, .type_a = REAL_TYPE, .lda = a_turned ? m : k,
                      .a_turned = a_turned, .b = b, .type_b = REAL_TYPE, .ldb = b_turned ? k : n,
                      .b_turned = b_turned, .c = c, .type_c = REAL_TYPE, .ldc = n, .alpha = alpha,
                      .accumulate = accumulate};

    op_matmul(&p);
}

void op_lora_each_fwd_cpu(const op_args *a)
{
    const int64_t S = sequences(a);
    const real   *x = a->in[1]->v;
    real         *y = a->out[0]->v;

    op_pass(a);
    for (int64_t s = 0; s < S; s++) {
        const own o = own_of(a, a->out[0], s);
        real     *h = a->aux + o.first * o.R;
        multiply(x + o.first * o.K, false, o.a, false, o.n, o.R, o.K, h, 1, false);
        multiply(h, false, o.b, false, o.n, o.M, o.R, y + o.first * o.M, a->attr->lora.factor, true);
    }
}

static void backward(const op_args *a, int64_t s)
{
    const double factor = a->attr->lora.factor;
    const own    o = own_of(a, a->gout[0], s);
    const real  *dy = (const real *)a->gout[0]->v + o.first * o.M, *x = a->in[1]->v;
    real        *dx = op_value(a->gin[1]), *da = op_value(a->gin[2]), *db = op_value(a->gin[3]);

    if (db)
        multiply(a->aux + o.first * o.R, true, dy, false, o.R, o.M, o.n, db + s * o.R * o.M, factor, true);
    if (!da && !dx)
        return;
    real *dh = threads_scratch(SLOT_SHARED, (size_t)(a->gout[0]->s.d[0] * o.R) * sizeof *dh);
    multiply(dy, false, o.b, true, o.n, o.R, o.M, dh, factor, false);
    if (da)
        multiply(x + o.first * o.K, true, dh, false, o.K, o.R, o.n, da + s * o.K * o.R, 1, true);
    if (dx)
        multiply(dh, false, o.a, true, o.n, o.K, o.R, dx + o.first * o.K, 1, true);
}

void op_lora_each_bwd_cpu(const op_args *a)
{
    const bool    any = a->gin[1] || a->gin[2] || a->gin[3]; /* else the offsets are not there */
    const int64_t S = any ? sequences(a) : 0;

    for (int64_t s = 0; s < S; s++)
        backward(a, s);
    op_pass_back(a);
}
