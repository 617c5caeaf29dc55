/* lora_gated: y'[n] = y[n] + sum_e w[n,e] scales[e] B_e h_e[n], h_e[n] = A_e x[n], over the experts e (experts.h)
 * whose w[n,e] is not zero, at most `most` in a row   (aux: h, of a row's experts in their order)
 *
 * dy += dy', dw[n,e] += scales[e] <B_e^T dy'[n], h_e[n]>, dh_e[n] = w[n,e] scales[e] B_e^T dy'[n],
 * dx[n] += A_e^T dh_e[n], dA_e += sum_n dh_e[n] x[n]^T, dB_e += sum_n w[n,e] scales[e] dy'[n] h_e[n]^T
 *
 * Pairs of a row and an expert are sorted by expert; the rows of each are gathered and go through its factors. */
#include "autograd/ops/experts.h"
#include "autograd/ops/kernel.h"

status op_lora_gated_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *y = a->in[0], *x = a->in[1], *values = a->in[2], *w = a->in[3];
    const int64_t rank = a->attr->experts.rank, most = a->attr->experts.most;

    TRY(op_want_matrix("lora_gated", "y", y));
    TRY(op_want_matrix("lora_gated", "x", x));
    TRY(op_want_matrix("lora_gated", "w", w));
    TRY(op_want_real("lora_gated", "x", x, shape_2(y->s.d[0], x->s.d[1])));
    TRY(op_want_real("lora_gated", "values", values, shape_1(shape_count(values->s))));
    TRY(op_want_real("lora_gated", "w", w, shape_2(y->s.d[0], w->s.d[1])));
    TRY(op_want_ints("lora_gated", "table", a->in[4], shape_2(w->s.d[1], 3)));
    TRY(op_want_real("lora_gated", "scales", a->in[5], shape_1(w->s.d[1])));
    if (most < 1 || most > w->s.d[1] || rank < 1)
        return fail(STATUS_SHAPE, "lora_gated: %lld experts in a row and rank %lld, must be 1..%lld and above 0",
                    (long long)most, (long long)rank, (long long)w->s.d[1]);
    *out = y->s;
    *n_aux = y->s.d[0] * most * rank;
    return STATUS_OK;
}

/* Pairs in the order of experts and then rows: of expert e those from first[e] to first[e + 1]. */
typedef struct pairs {
    const op_args *a;
    int64_t        N, E, K, M, rank, most;
    int64_t       *first; /* [E + 1] */
    int32_t       *row, *slot; /* slot: which of its row's experts it is */
    real          *room;       /* N rows of `width` values */
    int64_t        width;
} pairs;

static pairs pairs_of(const op_args *a, const tensor *y, int64_t width)
{
    const int64_t N = rows_in_use(y), all = y->s.d[0], E = a->in[3]->s.d[1], most = a->attr->experts.most;
    const size_t  values = (size_t)(all * width) * sizeof(real), ints = (size_t)(all * most) * sizeof(int32_t);
    pairs         p = {.a = a, .N = N, .E = E, .K = a->in[1]->s.d[1], .M = y->s.d[1], .rank = a->attr->experts.rank,
                       .most = most, .width = width};

    p.first = threads_scratch(SLOT_SHARED, (size_t)(E + 1) * sizeof *p.first + values + 2 * ints + 64);
    p.room = (real *)(p.first + E + 1);
    p.row = (int32_t *)(p.room + all * width);
    p.slot = p.row + all * most;
    return p;
}

static void sort_pairs(pairs *p)
{
    const real *w = p->a->in[3]->v;

    memset(p->first, 0, (size_t)(p->E + 1) * sizeof *p->first);
    for (int64_t i = 0; i < p->N * p->E; i++)
        p->first[i % p->E + 1] += w[i] != 0;
    for (int64_t e = 0; e < p->E; e++)
        p->first[e + 1] += p->first[e];
    for (int64_t n = 0; n < p->N; n++) {
        int32_t slot = 0;
        for (int64_t e = 0; e < p->E; e++)
            if (w[n * p->E + e] != 0) {
                CHECK(slot < p->most);
                p->row[p->first[e]] = (int32_t)n;
                p->slot[p->first[e]++] = slot++;
            }
    }
    for (int64_t e = p->E; e > 0; e--)
        p->first[e] = p->first[e - 1];
    p->first[0] = 0;
}

/* One expert and its pairs. */
typedef struct expert {
    const pairs   *p;
    int64_t        e, n, rank;
    const int32_t *row, *slot;
    real           factor;    /* scales[e] */
    int64_t        low, high; /* places of A and B */
    const real    *from;      /* what is gathered or scattered, how wide it is, and how it counts */
    real          *to;
    int64_t        C;
    bool           weighted;
} expert;

static expert expert_of(const pairs *p, int64_t e)
{
    const int32_t *table = p->a->in[4]->v;

    CHECK(expert_rank(table, e) >= 0 && expert_rank(table, e) <= p->rank);
    return (expert){.p = p, .e = e, .n = p->first[e + 1] - p->first[e], .rank = expert_rank(table, e),
                    .row = p->row + p->first[e], .slot = p->slot + p->first[e],
                    .factor = ((const real *)p->a->in[5]->v)[e], .low = expert_low(table, e),
                    .high = expert_high(table, e)};
}

static real weight_of(const expert *x, int64_t i)
{
    return ((const real *)x->p->a->in[3]->v)[x->row[i] * x->p->E + x->e] * x->factor;
}

enum { ROWS_AT_ONCE = 8 };

static void gather_piece(void *context, int64_t piece)
{
    const expert *x = context;

    for (int64_t i = piece * ROWS_AT_ONCE; i < x->n && i < (piece + 1) * ROWS_AT_ONCE; i++)
        memcpy(x->to + i * x->C, x->from + x->row[i] * x->C, (size_t)x->C * sizeof(real));
}

static void gather(expert x, const real *from, int64_t C, real *to)
{
    x.from = from, x.to = to, x.C = C;
    threads_run((x.n + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE, gather_piece, &x);
}

static void scatter_piece(void *context, int64_t piece)
{
    const expert *x = context;

    for (int64_t i = piece * ROWS_AT_ONCE; i < x->n && i < (piece + 1) * ROWS_AT_ONCE; i++) {
        const real     f = x->weighted ? weight_of(x, i) : 1;
        const real    *v = x->from + i * x->C;
        real *RESTRICT d = x->to + x->row[i] * x->C;
        for (int64_t c = 0; c < x->C; c++)
            d[c] += f * v[c];
    }
}

/* to[row] += factor * from, the factor being the pair's weight where `weighted` */
static void scatter(expert x, const real *from, int64_t C, bool weighted, real *to)
{
    x.from = from, x.to = to, x.C = C, x.weighted = weighted;
    threads_run((x.n + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE, scatter_piece, &x);
}

/* h of the pairs to or from their places among the rows'. */
static void move_h(const expert *x, real *h, bool out)
{
    for (int64_t i = 0; i < x->n; i++) {
        real *aux = x->p->a->aux + (x->row[i] * x->p->most + x->slot[i]) * x->p->rank;
        memcpy(out ? aux : h + i * x->rank, out ? h + i * x->rank : aux, (size_t)x->rank * sizeof *h);
    }
}

/* c[m,n] (+)= a[m,k] b[k,n]; a and b may be given turned: [k,m], [n,k] */
static void multiply(const pairs *p, const real *a, bool a_turned, const real *b, bool b_turned, int64_t m, int64_t n,
                     int64_t k, real *c, bool accumulate)
{
    const matmul x = {.m = m, .n = n, .k = k, .a = a, .type_a = REAL_TYPE, .lda = a_turned ? m : k,
                      .a_turned = a_turned, .b = b, .type_b = REAL_TYPE, .ldb = b_turned ? k : n,
                      .b_turned = b_turned, .c = c, .type_c = REAL_TYPE, .ldc = n, .alpha = 1,
                      .accumulate = accumulate, .decode = p->a->run->decoding};

    op_matmul(&x);
}

void op_lora_gated_fwd_cpu(const op_args *a)
{
    const int64_t K = a->in[1]->s.d[1], M = a->out[0]->s.d[1], R = a->attr->experts.rank;
    pairs         p = pairs_of(a, a->out[0], (K > M ? K : M) + R);
    const real   *values = a->in[2]->v;

    op_pass(a);
    sort_pairs(&p);
    for (int64_t e = 0; e < p.E; e++) {
        const expert x = expert_of(&p, e);
        real        *rows = p.room, *h = p.room + a->out[0]->s.d[0] * (p.width - R);
        if (x.n == 0 || x.rank == 0)
            continue;
        gather(x, a->in[1]->v, K, rows);
        multiply(&p, rows, false, values + x.low, true, x.n, x.rank, K, h, false);
        move_h(&x, h, true);
        multiply(&p, h, false, values + x.high, true, x.n, M, x.rank, rows, false);
        scatter(x, rows, M, true, a->out[0]->v);
    }
}

/* Of a gathered dy: dh = B^T dy, dw, then dh times the weight. */
static void inner_gradients(const expert *x, const real *dy, const real *h, real *dh, real *dw)
{
    const pairs *p = x->p;

    multiply(p, dy, false, (const real *)p->a->in[2]->v + x->high, false, x->n, x->rank, p->M, dh, false);
    for (int64_t i = 0; i < x->n; i++) {
        const real w = weight_of(x, i);
        if (dw)
            dw[x->row[i] * p->E + x->e] += x->factor * op_dot(dh + i * x->rank, h + i * x->rank, x->rank);
        for (int64_t r = 0; r < x->rank; r++)
            dh[i * x->rank + r] *= w;
    }
}

static void backward(const expert *x, const real *dy, real *rows, real *h, real *dh)
{
    const pairs   *p = x->p;
    const op_args *a = p->a;
    real          *dx = op_value(a->gin[1]), *values = op_value(a->gin[2]), *dw = op_value(a->gin[3]);

    gather(*x, dy, p->M, rows);
    if (dw || values)
        move_h(x, h, false);
    inner_gradients(x, rows, h, dh, dw);
    if (values) {
        for (int64_t i = 0; i < x->n; i++)
            for (int64_t r = 0; r < x->rank; r++)
                h[i * x->rank + r] *= weight_of(x, i);
        multiply(p, rows, true, h, false, p->M, x->rank, x->n, values + x->high, true);
        gather(*x, a->in[1]->v, p->K, rows);
        multiply(p, dh, true, rows, false, x->rank, p->K, x->n, values + x->low, true);
    }
    if (dx) {
        multiply(p, dh, false, (const real *)a->in[2]->v + x->low, false, x->n, p->K, x->rank, rows, false);
        scatter(*x, rows, p->K, false, dx);
    }
}

void op_lora_gated_bwd_cpu(const op_args *a)
{
    const int64_t R = a->attr->experts.rank, K = a->in[1]->s.d[1], M = a->gout[0]->s.d[1];
    const int64_t width = (K > M ? K : M) + 2 * R;

    op_pass_back(a);
    if (!a->gin[1] && !a->gin[2] && !a->gin[3])
        return;
    pairs p = pairs_of(a, a->gout[0], width);
    sort_pairs(&p);
    for (int64_t e = 0; e < p.E; e++) {
        const expert  x = expert_of(&p, e);
        const int64_t all = a->gout[0]->s.d[0];
        real         *h = p.room + all * (width - 2 * R), *dh = h + all * R;
        if (x.n > 0 && x.rank > 0)
            backward(&x, a->gout[0]->v, p.room, h, dh);
    }
}
