/* cross_entropy_head: cross_entropy of the logits x w^T + b, which are never stored
 *
 * With g = (dsum + deach) (softmax - onehot): dx += g w, dw += g^T x, db += column sums of g.
 *
 * The vocabulary goes by in chunks of LOSS_WORDS words, for HEAD_ROWS rows at a time: one buffer of 4 MB
 * (f32), made in the first run, whatever T and V are.
 *
 * Where only x's gradient is wanted, forward makes it on the way, but for the upstream factor of the row
 * (aux: [T, C]): as attention with words for keys, s = sum_v exp(x_v - m) w_v over the words beside the
 * target, rescaled when m grows; then (s - others w_target) / total, since p_target - 1 = -others / total.
 * Else backward makes each chunk's logits again (aux: largest logit and log of the sum of
 * exp(logit - largest), by row).
 *
 * With a cap, z = cap tanh((x w^T + b) / cap) takes the place of the logits, and g is multiplied with
 * dz / dlogit = 1 - (z / cap)^2. */
#include "autograd/ops/cross_entropy.h"

enum { HEAD_ROWS = 512 };

/* x's gradient is made by forward. */
static bool on_the_way(const op_args *a)
{
    return a->wanted[0] && !a->wanted[1] && !a->wanted[2];
}

status op_cross_entropy_head_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *x = a->in[0], *w = a->in[1], *b = a->in[2];

    TRY(op_want_matrix("cross_entropy_head", "x", x));
    TRY(op_want_weight("cross_entropy_head", "w", w, -1, x->s.d[1]));
    if (b)
        TRY(op_want_real("cross_entropy_head", "b", b, shape_1(w->s.d[0])));
    TRY(op_want_ints("cross_entropy_head", "targets", a->in[3], shape_1(x->s.d[0])));
    out[0] = shape_1(1);
    out[1] = shape_1(x->s.d[0]);
    *n_aux = on_the_way(a) ? x->s.d[0] * x->s.d[1] : a->wanted[1] || a->wanted[2] ? 2 * x->s.d[0] : 0;
    return STATUS_OK;
}

/* One chunk: rows first .. first + n_rows - 1, words word .. word + n_words - 1. */
typedef struct chunk {
    const op_args *a;
    int64_t        C, V, T;
    const uint8_t *w; /* the chunk's rows of the weight */
    dtype          type;
    real          *logits; /* [n_rows, n_words]; then their exp or gradient */
    loss_row      *rows;   /* forward only, [T] */
    int64_t        first, n_rows, word, n_words;
} chunk;

static chunk open_chunks(const op_args *a, bool rows)
{
    chunk         c = {.a = a, .C = a->in[0]->s.d[1], .V = a->in[1]->s.d[0],
                       .T = loss_rows(a->in[0], a->in[3])};
    const int64_t capacity = a->in[0]->s.d[0], most = capacity < HEAD_ROWS ? capacity : HEAD_ROWS;
    const int64_t words = c.V < LOSS_WORDS ? c.V : LOSS_WORDS;
    const size_t  bytes = (size_t)capacity * sizeof *c.rows + (size_t)(most * words) * sizeof(real);

    c.rows = threads_scratch(SLOT_SHARED, bytes + 64);
    c.logits = (real *)(c.rows + capacity);
    for (int64_t t = 0; rows && t < c.T; t++)
        c.rows[t] = loss_start();
    return c;
}

static void chunk_logits(chunk *c, const void *w)
{
    const real *x = (const real *)c->a->in[0]->v + c->first * c->C;
    const real *b = op_value(c->a->in[2]);

    c->w = (const uint8_t *)w + c->word * dtype_row_bytes(c->type, c->C);
    op_matmul(&(matmul){.m = c->n_rows, .n = c->n_words, .k = c->C, .a = x, .type_a = REAL_TYPE,
                        .lda = c->C, .b = c->w, .type_b = c->type, .ldb = c->C, .b_turned = true,
                        .c = c->logits, .type_c = REAL_TYPE, .ldc = c->n_words, .alpha = 1,
                        .bias = (const void *)(b ? b + c->word : NULL)});
}

/* run(c) for every chunk, with its logits */
static void over_chunks(chunk *c, void (*run)(chunk *c))
{
    const void *w = op_weight(c->a->in[1], &c->type);

    for (c->first = 0; c->first < c->T; c->first += HEAD_ROWS)
        for (c->word = 0; c->word < c->V; c->word += LOSS_WORDS) {
            c->n_rows = c->T - c->first < HEAD_ROWS ? c->T - c->first : HEAD_ROWS;
            c->n_words = c->V - c->word < LOSS_WORDS ? c->V - c->word : LOSS_WORDS;
            chunk_logits(c, w);
            run(c);
        }
}

/* Logits become capped ones; slope, where it is not NULL, gets dz / dlogit. */
static void cap_row(const chunk *c, real *x, real *slope)
{
    const real cap = (real)c->a->attr->cross_entropy_head.softcap;

    for (int64_t i = 0; cap > 0 && i < c->n_words; i++) {
        const real t = real_tanh(x[i] / cap);
        x[i] = cap * t;
        if (slope)
            slope[i] = 1 - t * t;
    }
}

/* Room for the slopes of a row, NULL without a cap. */
static real *slope_room(const chunk *c)
{
    return c->a->attr->cross_entropy_head.softcap > 0
               ? threads_scratch(SLOT_PART, LOSS_WORDS * sizeof(real))
               : NULL;
}

static void times_slope(const chunk *c, real *RESTRICT x, const real *slope)
{
    for (int64_t i = 0; slope && i < c->n_words; i++)
        x[i] *= slope[i];
}

static int64_t target_in_chunk(const chunk *c, int64_t t)
{
    const int32_t target = ((const int32_t *)c->a->in[3]->v)[t];

    CHECK(target >= 0 && target < c->V);
    return target - c->word;
}

static void forward_row(void *context, int64_t i)
{
    const chunk  *c = context;
    const int64_t t = c->first + i;

    cap_row(c, c->logits + i * c->n_words, NULL);
    loss_take(&c->rows[t], c->logits + i * c->n_words, c->n_words, target_in_chunk(c, t), NULL);
}

static void forward_chunk(chunk *c)
{
    threads_run(c->n_rows, forward_row, c);
}

/* dx[n_rows, C] += logits (or what became of them) w */
static void add_words(const chunk *c, real *dx, bool accumulate)
{
    op_matmul(&(matmul){.m = c->n_rows, .n = c->C, .k = c->n_words, .a = c->logits, .type_a = REAL_TYPE,
                        .lda = c->n_words, .b = c->w, .type_b = c->type, .ldb = c->C, .c = dx,
                        .type_c = REAL_TYPE, .ldc = c->C, .alpha = 1, .accumulate = accumulate});
}

static void weigh_row(void *context, int64_t i)
{
    const chunk  *c = context;
    const int64_t t = c->first + i;
    real         *x = c->logits + i * c->n_words, *sum = c->a->aux + t * c->C, *slope = slope_room(c);

    cap_row(c, x, slope);
    const real shrink = (real)loss_take(&c->rows[t], x, c->n_words, target_in_chunk(c, t), x);
    times_slope(c, x, slope);
    for (int64_t k = 0; c->word > 0 && shrink != 1 && k < c->C; k++)
        sum[k] *= shrink;
}

static void weigh_chunk(chunk *c)
{
    threads_run(c->n_rows, weigh_row, c);
    add_words(c, c->a->aux + c->first * c->C, c->word > 0);
}

/* aux of rows from .. to-1: the sums become the gradient. */
static void finish_rows(const chunk *c, int64_t from, int64_t to)
{
    const double cap = c->a->attr->cross_entropy_head.softcap;
    real        *w = threads_scratch(SLOT_WEIGHT, (size_t)c->C * sizeof *w);

    for (int64_t t = from; t < to; t++) {
        const double   z = cap > 0 ? c->rows[t].target / cap : 0;
        const real     one = (real)(1 / loss_total(&c->rows[t])), others = (real)(c->rows[t].others * (1 - z * z));
        real *RESTRICT g = c->a->aux + t * c->C;
        op_weight_row(c->a->in[1], ((const int32_t *)c->a->in[3]->v)[t], w);
        for (int64_t k = 0; k < c->C; k++)
            g[k] = one * (g[k] - others * w[k]);
    }
}

static void finish_piece(void *context, int64_t piece)
{
    const chunk  *c = context;
    const int64_t from = piece * ROW_BLOCK, to = from + ROW_BLOCK;

    finish_rows(c, from, to < c->T ? to : c->T);
}

void op_cross_entropy_head_fwd_cpu(const op_args *a)
{
    chunk c = open_chunks(a, true);

    over_chunks(&c, on_the_way(a) ? weigh_chunk : forward_chunk);
    loss_write(a, c.rows, c.T);
    if (on_the_way(a))
        threads_run((c.T + ROW_BLOCK - 1) / ROW_BLOCK, finish_piece, &c);
    else if (a->wanted[1] || a->wanted[2])
        loss_keep(a, c.rows, c.T);
}

static void gradient_row(void *context, int64_t i)
{
    const chunk  *c = context;
    const int64_t t = c->first + i;
    const real   *aux = c->a->aux;
    real         *x = c->logits + i * c->n_words, *slope = slope_room(c);

    cap_row(c, x, slope);
    loss_gradient(x, c->n_words, target_in_chunk(c, t), aux[2 * t], aux[2 * t + 1], loss_upstream(c->a, t));
    times_slope(c, x, slope);
}

static void bias_piece(void *context, int64_t piece)
{
    const chunk  *c = context;
    const int64_t from = piece * PIECE_COLUMNS, to = from + PIECE_COLUMNS;

    op_add_column_sums(c->logits, c->n_rows, c->n_words, from, to < c->n_words ? to : c->n_words,
                       (real *)c->a->gin[2]->v + c->word);
}

static void backward_chunk(chunk *c)
{
    const op_args *a = c->a;

    threads_run(c->n_rows, gradient_row, c);
    if (a->gin[0])
        add_words(c, (real *)a->gin[0]->v + c->first * c->C, true);
    if (a->gin[1])
        op_matmul(&(matmul){.m = c->n_words, .n = c->C, .k = c->n_rows, .a = c->logits,
                            .type_a = REAL_TYPE, .lda = c->n_words, .a_turned = true,
                            .b = (const real *)a->in[0]->v + c->first * c->C, .type_b = REAL_TYPE,
                            .ldb = c->C, .c = (real *)a->gin[1]->v + c->word * c->C,
                            .type_c = REAL_TYPE, .ldc = c->C, .alpha = 1, .accumulate = true});
    if (a->gin[2])
        threads_run((c->n_words + PIECE_COLUMNS - 1) / PIECE_COLUMNS, bias_piece, c);
}

/* What forward made, times the upstream factors of the rows. */
static void spread(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = shape_last(a->gin[0]->s);

    for (int64_t t = from; t < to; t++) {
        const real     factor = loss_upstream(a, t);
        real *RESTRICT dx = (real *)a->gin[0]->v + t * C;
        for (int64_t k = 0; k < C; k++)
            dx[k] += factor * a->aux[t * C + k];
    }
}

void op_cross_entropy_head_bwd_cpu(const op_args *a)
{
    if (!a->gin[1] && !a->gin[2]) { /* on_the_way(a) in forward */
        if (a->gin[0])
            op_over(a, loss_rows(a->gin[0], a->in[3]), op_piece_rows(shape_last(a->gin[0]->s)), spread);
        return;
    }
    chunk c = open_chunks(a, false);
    over_chunks(&c, backward_chunk);
}
