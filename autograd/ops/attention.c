/* attention: y = softmax(scale q k^T under the mask) v, and the log-sum-exp of the scores
 *
 * With s' = cap tanh(s / cap) (or s), p = exp(s' - lse), g = sum_d dy[d] y[d]:
 *     dv[j] += sum_i p[i,j] dy[i],  dp[i,j] = dy[i] . v[j]
 *     ds    = p (dp - g + dlse) (1 - (s' / cap)^2)
 *     dq[i] += scale sum_j ds[i,j] k[j],  dk[j] += scale sum_i ds[i,j] q[i]
 * A bias table adds bias[bucket(j - i), h] to s; its gradient is the sum of the ds of that bucket and head.
 *
 * The softmax is taken online over tiles of keys (Milakov and Gimelshein 2018; Dao et al. 2022).
 * A group is GROUP query rows that read one key head: (query, head) pairs of a sequence, query by
 * query. Scores lie turned, [keys, rows], so that keys and values are read from where they are, one
 * number at a time against vectors of rows, and maxima and sums go down the lanes. */
#include "autograd/ops/attention_few.h"
#include "autograd/ops/attention_parts.h"
#include "autograd/ops/tile.h"

/* Products of q and k, when decoding, that other threads are called for. */
enum { WORTH_THREADS = 32 << 10 };

status op_attention_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *q = a->in[0], *k = a->in[1];
    const int32_t H = a->attr->attention.heads, Hk = a->attr->attention.kv_heads;

    TRY(attention_want_heads("attention", a));
    TRY(op_want_matrix("attention", "q", q));
    TRY(op_want_matrix("attention", "k", k));
    if (q->s.d[1] % H != 0 || k->s.d[1] != q->s.d[1] / H * Hk)
        return fail(STATUS_SHAPE, "attention: q is %s with %d heads, k %s with %d; heads must have one "
                    "size", shape_text(q->s), H, shape_text(k->s), Hk);
    TRY(op_want_real("attention", "v", a->in[2], k->s));
    TRY(attention_want_offsets("attention", a, 3));
    if (a->in[7])
        TRY(relative_want("attention", a->in[7], REAL_TYPE, H, a->attr->attention.reach,
                          a->attr->attention.both));
    if (a->in[7] && a->attr->attention.softcap > 0)
        return fail(STATUS_UNSUPPORTED, "attention: a bias table and a cap of scores do not go together");
    out[0] = q->s;
    out[1] = shape_2(q->s.d[0], H);
    *n_aux = 0;
    return STATUS_OK;
}

/* plain[r, d] = scale * x[r, d], zero to the next whole vector and past the rows */
static void load_plain(const group *g, const real *x, real scale, int64_t Dp, real *RESTRICT plain)
{
    const int64_t D = g->w->D;

    if (g->rows < GROUP || Dp > D)
        memset(plain, 0, (size_t)(GROUP * Dp) * sizeof *plain);
    for (int64_t r = 0; r < g->rows; r++) {
        const real *row = x + place_of(g, r);
        for (int64_t d = 0; d < D; d++)
            plain[r * Dp + d] = scale * row[d];
    }
}

/* turned[d, r] = plain[r, d] */
static void turn_over(const real *plain, int64_t D, int64_t Dp, real *RESTRICT turned)
{
#ifdef REAL_IS_F64
    for (int64_t r = 0; r < GROUP; r++)
        for (int64_t d = 0; d < D; d++)
            turned[d * GROUP + r] = plain[r * Dp + d];
#else
    path_tiles()->copy_rows(plain, TYPE_F32, Dp, true, D, GROUP, turned, GROUP);
#endif
}

static void add_bias(const group *g, const keys *t, real *s)
{
    const int64_t H = g->w->H;
    const real   *bias[GROUP];
    tile_buckets  b;

    find_buckets(g, t, &b);
    for (int64_t r = 0; r < GROUP; r++)
        bias[r] = g->w->bias + head_of(g, r);
    for (int64_t j = 0; j < t->n; j++)
        for (int64_t r = 0; r < GROUP; r++)
            s[j * GROUP + r] += bias[r][b.bucket[j + b.behind[r]] * H];
}

/* s[j, r] = capped or biased scores of the tile's keys */
static void scores(const group *g, const keys *t, const real *q_turned, real *s)
{
    tile_run(&(tile){.m = t->n, .n = GROUP, .k = g->w->D, .a = t->k, .sm = g->w->Hk * g->w->D, .sk = 1,
                     .b = q_turned, .ldb = GROUP, .c = s, .ldc = GROUP});
    if (g->cap > 0) {
        const real cap = g->cap, inverse = 1 / g->cap;
        for (int64_t i = 0; i < t->n * GROUP; i++)
            s[i] = cap * real_tanh(s[i] * inverse);
    }
    if (g->w->bias)
        add_bias(g, t, s);
}

static bool all_visible(const group *g, const keys *t)
{
    return t->first >= g->full_from && t->first + t->n <= g->full_to;
}

/* ---- forward ------------------------------------------------------------------------------------ */

typedef struct online {
    real m[GROUP], sum[GROUP]; /* largest score so far; sum of exp(s - m) */
    real s[KEYS * GROUP];
} online;

static void mask_scores(const group *g, const keys *t, real *RESTRICT s)
{
    for (int32_t j = 0; j < (int32_t)t->n; j++)
        for (int r = 0; r < GROUP; r++) {
            const int32_t key = t->first + j;
            s[j * GROUP + r] = (key >= g->lo[r]) & (key <= g->hi[r]) ? s[j * GROUP + r] : -(real)INFINITY;
        }
}

/* s becomes exp(s - m) for the new maxima m; what was summed so far (sum, y[D, GROUP]) is rescaled. */
static void take_tile(online *o, int64_t n, int64_t D, real *RESTRICT y)
{
    real m[GROUP], base[GROUP], shrink[GROUP], sum[GROUP] = {0};
    bool grown = false;

    for (int r = 0; r < GROUP; r++)
        m[r] = o->m[r];
    for (int64_t j = 0; j < n; j++)
        for (int r = 0; r < GROUP; r++)
            m[r] = o->s[j * GROUP + r] > m[r] ? o->s[j * GROUP + r] : m[r];
    for (int r = 0; r < GROUP; r++) {
        base[r] = m[r] == -(real)INFINITY ? 0 : m[r];
        grown |= m[r] > o->m[r];
    }
    for (int64_t j = 0; j < n; j++)
        for (int r = 0; r < GROUP; r++) {
            const real p = real_exp(o->s[j * GROUP + r] - base[r]);
            o->s[j * GROUP + r] = p;
            sum[r] += p;
        }
    if (grown) {
        for (int r = 0; r < GROUP; r++) {
            shrink[r] = real_exp(o->m[r] - base[r]);
            o->sum[r] *= shrink[r];
            o->m[r] = m[r];
        }
        for (int64_t d = 0; d < D; d++)
            for (int r = 0; r < GROUP; r++)
                y[d * GROUP + r] *= shrink[r];
    }
    for (int r = 0; r < GROUP; r++)
        o->sum[r] += sum[r];
}

static void write_group(const group *g, const online *o, const real *y_turned)
{
    const int64_t D = g->w->D;
    real         *y = g->a->out[0]->v, *lse = g->a->out[1]->v;

    for (int64_t r = 0; r < g->rows; r++) {
        const real     inverse = o->sum[r] > 0 ? 1 / o->sum[r] : o->sum[r];
        real *RESTRICT row = y + place_of(g, r);
        for (int64_t d = 0; d < D; d++)
            row[d] = y_turned[d * GROUP + r] * inverse;
        lse[row_of(g, r) * g->w->H + head_of(g, r)] = o->m[r] + REAL_LOG(o->sum[r]);
    }
}

static void forward_group(const group *g)
{
    const int64_t D = g->w->D, Dp = whole_vectors(D);
    real         *q = threads_scratch(0, (size_t)((2 * D + Dp) * GROUP) * sizeof *q), *y = q + D * GROUP;
    real         *plain = y + D * GROUP;
    online        o = {.s = {0}};

    load_plain(g, g->a->in[0]->v, g->scale, Dp, plain);
    turn_over(plain, D, Dp, q);
    memset(y, 0, (size_t)(D * GROUP) * sizeof *y);
    for (int r = 0; r < GROUP; r++)
        o.m[r] = -(real)INFINITY;
    for (int32_t j = g->from; j < g->to;) {
        const keys t = keys_at(g, j, KEYS);
        j += (int32_t)t.n;
        scores(g, &t, q, o.s);
        if (!all_visible(g, &t))
            mask_scores(g, &t, o.s);
        take_tile(&o, t.n, D, y);
        tile_run(&(tile){.m = D, .n = GROUP, .k = t.n, .a = t.v, .sm = 1, .sk = g->w->Hk * D,
                         .b = o.s, .ldb = GROUP, .c = y, .ldc = GROUP, .add = true});
    }
    write_group(g, &o, y);
}

typedef struct attention_job {
    const op_args *a;
    attention_view w;
    int64_t       *starts; /* [S+1]: groups (backward: parts) before each sequence */
    int32_t       *turns;  /* [S, Hk], backward */
    bool           in_order; /* decoding on one thread */
    relative       near;
    real          *dbias; /* [pieces, buckets, G], backward: sums of every piece; NULL: not wanted */
} attention_job;

static void open_job(attention_job *j, const op_args *a)
{
    *j = (attention_job){.a = a};
    j->w = attention_view_of(a, 3, a->in[0]->s.d[1] / a->attr->attention.heads);
    if (!a->in[7])
        return;
    j->w.bias = a->in[7]->v;
    j->w.buckets = shape_count(a->in[7]->s) / j->w.H;
    j->w.near = &j->near;
    relative_open(&j->near, j->w.buckets, a->attr->attention.reach, a->attr->attention.both);
}

/* Room for the starts, and `more` bytes behind them. */
static void open_starts(attention_job *j, size_t more, int64_t count(const attention_view *w, int64_t s))
{
    const int64_t n = j->a->in[3]->s.d[0] + 1;

    j->starts = threads_scratch(SLOT_SHARED, (size_t)n * sizeof *j->starts + more);
    j->starts[0] = 0;
    for (int64_t s = 0; s < j->w.S; s++) {
        CHECK(attention_queries(&j->w, s) >= 0 && attention_keys(&j->w, s) >= 0);
        j->starts[s + 1] = j->starts[s] + count(&j->w, s);
    }
}

/* The last sequence that begins at or before `number`. */
static int64_t sequence_at(const attention_job *j, int64_t number)
{
    int64_t lo = 0, hi = j->w.S;

    while (hi - lo > 1) {
        const int64_t middle = (lo + hi) / 2;
        if (j->starts[middle] <= number)
            lo = middle;
        else
            hi = middle;
    }
    return lo;
}

static void forward_piece(void *context, int64_t piece)
{
    const attention_job *j = context;
    const int64_t        number = piece / j->w.Hk, s = sequence_at(j, number);
    group                g;

    open_group(&g, j->a, &j->w, s, piece % j->w.Hk, number - j->starts[s]);
#ifndef REAL_IS_F64
    if (j->a->run->decoding && g.rows <= DOT_ROWS && !j->w.bias) {
        forward_few(&g, j->in_order);
        return;
    }
#endif
    forward_group(&g);
}

void op_attention_fwd_cpu(const op_args *a)
{
    attention_job j;

    open_job(&j, a);
    if (j.w.S < 1)
        return;
    open_starts(&j, 0, groups_of);
    CHECK(j.w.q_offsets[0] >= 0 && j.w.q_offsets[j.w.S] <= rows_in_use(a->in[0]));
    const int64_t pieces = j.starts[j.w.S] * j.w.Hk;
    j.in_order = a->run->decoding && (threads_count() == 1 ||
                                      j.w.k_offsets[j.w.S] * a->in[0]->s.d[1] < WORTH_THREADS);
    if (j.in_order)
        for (int64_t i = 0; i < pieces; i++)
            forward_piece(&j, i);
    else
        threads_run(pieces, forward_piece, &j);
}

/* ---- backward ----------------------------------------------------------------------------------- */

/* Memory of one part of a (sequence, key head): rows of a group both ways, sums of keys' gradients. */
typedef struct gradients {
    int64_t Dp;                               /* D rounded up to whole vectors */
    int32_t from, to;                         /* keys that the part sees */
    real   *q_turned, *dy_turned, *dq_turned; /* [D, GROUP] */
    real   *q, *dy;                           /* [GROUP, Dp] */
    real   *p, *ds;                           /* [KEYS, GROUP] */
    real   *dk, *dv;                          /* [keys, Dp] */
    real   *dbias;                            /* [buckets, G] or NULL */
    real    lse[GROUP], shift[GROUP];         /* shift: g - dlse */
} gradients;

static void open_gradients(gradients *b, const op_args *a, const attention_view *w)
{
    const int64_t Dp = whole_vectors(w->D), turned = w->D * GROUP, plain = GROUP * Dp;
    const int64_t most = a->in[6] ? w->n_blocks * PAGE : a->in[1]->s.d[0];
    const int64_t n = 3 * turned + 2 * plain + 2 * KEYS * GROUP + 2 * most * Dp;
    real         *at = threads_scratch(0, (size_t)n * sizeof *at);

    b->Dp = Dp;
    b->q_turned = at;
    b->dy_turned = b->q_turned + turned;
    b->dq_turned = b->dy_turned + turned;
    b->q = b->dq_turned + turned;
    b->dy = b->q + plain;
    b->p = b->dy + plain;
    b->ds = b->p + KEYS * GROUP;
    b->dk = b->ds + KEYS * GROUP;
    b->dv = b->dk + most * Dp;
}

static void load_group(const group *g, gradients *b)
{
    const op_args *a = g->a;
    const int64_t  D = g->w->D;
    const real    *dy = op_value(a->gout[0]), *dlse = op_value(a->gout[1]), *y = a->out[0]->v;

    load_plain(g, a->in[0]->v, g->scale, b->Dp, b->q);
    turn_over(b->q, D, b->Dp, b->q_turned);
    memset(b->dq_turned, 0, (size_t)(D * GROUP) * sizeof *b->dq_turned);
    if (dy) {
        load_plain(g, dy, 1, b->Dp, b->dy);
        turn_over(b->dy, D, b->Dp, b->dy_turned);
    }
    for (int64_t r = 0; r < GROUP; r++) {
        b->lse[r] = b->shift[r] = 0;
        if (r >= g->rows)
            continue;
        const int64_t at = row_of(g, r) * g->w->H + head_of(g, r);
        const real    lse = ((const real *)a->out[1]->v)[at];
        b->lse[r] = lse == -(real)INFINITY ? 0 : lse; /* nothing visible: every p is masked */
        b->shift[r] = (dy ? op_dot(dy + at * D, y + at * D, D) : 0) - (dlse ? dlse[at] : 0);
    }
}

/* p from the scores (in b->p) and ds from dp (in b->ds) */
static void finish_tile(const group *g, const keys *t, gradients *b)
{
    const real inverse = g->cap > 0 ? 1 / g->cap : 0; /* no cap: the last factor is 1 */

    for (int32_t j = 0; j < (int32_t)t->n; j++) {
        real *RESTRICT p = b->p + j * GROUP, *RESTRICT ds = b->ds + j * GROUP;
        const int32_t  key = t->first + j;
        for (int r = 0; r < GROUP; r++) {
            const real s = p[r], e = real_exp(s - b->lse[r]), tanh_s = s * inverse;
            const real now = (key >= g->lo[r]) & (key <= g->hi[r]) ? e : 0;
            p[r] = now;
            ds[r] = now * (ds[r] - b->shift[r]) * (1 - tanh_s * tanh_s);
        }
    }
}

/* Masked pairs have ds = 0. */
static void add_to_buckets(const group *g, const keys *t, const gradients *b)
{
    const int64_t G = g->w->G;
    tile_buckets  of;

    find_buckets(g, t, &of);
    for (int64_t j = 0; j < t->n; j++)
        for (int64_t r = 0; r < g->rows; r++)
            b->dbias[of.bucket[j + of.behind[r]] * G + (g->first + r) % G] += b->ds[j * GROUP + r];
}

static void backward_tile(const group *g, const keys *t, gradients *b)
{
    const int64_t D = g->w->D, Dp = b->Dp, stride = g->w->Hk * D, at = (int64_t)t->first * Dp;
    const bool    dy = g->a->gout[0] != NULL;

    scores(g, t, b->q_turned, b->p);
    if (dy)
        tile_run(&(tile){.m = t->n, .n = GROUP, .k = D, .a = t->v, .sm = stride, .sk = 1,
                         .b = b->dy_turned, .ldb = GROUP, .c = b->ds, .ldc = GROUP});
    else
        memset(b->ds, 0, (size_t)(t->n * GROUP) * sizeof *b->ds);
    finish_tile(g, t, b);
    if (b->dbias)
        add_to_buckets(g, t, b);
    if (g->a->gin[2] && dy)
        tile_run(&(tile){.m = t->n, .n = Dp, .k = g->rows, .a = b->p, .sm = GROUP, .sk = 1, .b = b->dy,
                         .ldb = Dp, .c = b->dv + at, .ldc = Dp, .add = true});
    if (g->a->gin[1])
        tile_run(&(tile){.m = t->n, .n = Dp, .k = g->rows, .a = b->ds, .sm = GROUP, .sk = 1, .b = b->q,
                         .ldb = Dp, .c = b->dk + at, .ldc = Dp, .add = true});
    if (g->a->gin[0])
        tile_run(&(tile){.m = D, .n = GROUP, .k = t->n, .a = t->k, .sm = 1, .sk = stride, .b = b->ds,
                         .ldb = GROUP, .c = b->dq_turned, .ldc = GROUP, .add = true});
}

static void backward_group(const group *g, gradients *b)
{
    const int64_t D = g->w->D;

    load_group(g, b);
    for (int32_t j = g->from; j < g->to;) {
        const keys t = keys_at(g, j, KEYS);
        j += (int32_t)t.n;
        backward_tile(g, &t, b);
    }
    for (int64_t r = 0; g->a->gin[0] && r < g->rows; r++) {
        real *RESTRICT dq = (real *)g->a->gin[0]->v + place_of(g, r);
        for (int64_t d = 0; d < D; d++)
            dq[d] += g->scale * b->dq_turned[d * GROUP + r];
    }
}

/* Adds the sums of the part's keys to the gradient `to`. */
static void add_keys(const attention_view *w, int64_t s, int64_t kv, const gradients *b, const real *from,
                     const tensor *to)
{
    for (int32_t j = b->from; to && j < b->to; j++) {
        real *RESTRICT row = (real *)to->v + (attention_key_row(w, s, j) * w->Hk + kv) * w->D;
        for (int64_t d = 0; d < w->D; d++)
            row[d] += from[j * b->Dp + d];
    }
}

/* A part of one key head of one sequence; its sums are added when the parts before it have added theirs. */
typedef struct part {
    int64_t  s, kv, number, n;
    int32_t *turn; /* parts of (s, kv) that have been added; NULL: there is but one */
    int64_t  sums; /* its place in dbias */
} part;

/* What the part's first row sees, to what its last row sees: both ends only grow from row to row. */
static void open_keys(const attention_view *w, int64_t s, int64_t from, int64_t to, gradients *b)
{
    const int64_t pairs = attention_queries(w, s) * w->G, end = to * GROUP < pairs ? to * GROUP : pairs;
    int32_t       none;

    b->from = b->to = 0;
    if (from * GROUP >= end)
        return;
    attention_range(w, s, from * GROUP / w->G, &b->from, &none);
    attention_range(w, s, (end - 1) / w->G, &none, &b->to);
    b->from &= ~(KEYS - 1);
    b->to++;
    if (b->to <= b->from)
        return;
    const int64_t at = b->from * b->Dp, n = (b->to - b->from) * b->Dp;
    memset(b->dk + at, 0, (size_t)n * sizeof *b->dk);
    memset(b->dv + at, 0, (size_t)n * sizeof *b->dv);
}

static void backward_part(const attention_job *j, const part *p)
{
    gradients b;
    int64_t   from, to;

    part_groups(&j->w, p->s, p->number, p->n, &from, &to);
    open_gradients(&b, j->a, &j->w);
    b.dbias = j->dbias ? j->dbias + p->sums * j->w.buckets * j->w.G : NULL;
    open_keys(&j->w, p->s, from, to, &b);
    for (int64_t i = from; i < to; i++) {
        group g;
        open_group(&g, j->a, &j->w, p->s, p->kv, i);
        backward_group(&g, &b);
    }
    if (p->turn)
        threads_await(p->turn, (int32_t)p->number);
    add_keys(&j->w, p->s, p->kv, &b, b.dk, j->a->gin[1]);
    add_keys(&j->w, p->s, p->kv, &b, b.dv, j->a->gin[2]);
    if (p->turn)
        threads_pass(p->turn);
}

/* Pieces: sequence by sequence, part by part, key head by key head; a part waits for smaller pieces only. */
static void backward_piece(void *context, int64_t piece)
{
    const attention_job *j = context;
    const int64_t        Hk = j->w.Hk, number = piece / Hk, kv = piece % Hk, s = sequence_at(j, number);

    backward_part(j, &(part){.s = s, .kv = kv, .number = number - j->starts[s],
                             .n = j->starts[s + 1] - j->starts[s], .turn = j->turns + s * Hk + kv,
                             .sums = piece});
}

/* Sequences may share pages: one thread for all of a key head. */
static void backward_paged(void *context, int64_t kv)
{
    const attention_job *j = context;

    for (int64_t s = 0; s < j->w.S; s++)
        backward_part(j, &(part){.s = s, .kv = kv, .n = 1, .sums = kv});
}

/* Adds the sums of the pieces, in their order, to the table's gradient. */
static void add_tables(const attention_job *j, int64_t pieces)
{
    const int64_t G = j->w.G, H = j->w.H;
    const real   *from = j->dbias;

    for (int64_t piece = 0; j->dbias && piece < pieces; piece++)
        for (int64_t b = 0; b < j->w.buckets; b++)
            for (int64_t g = 0; g < G; g++)
                ((real *)j->a->gin[7]->v)[b * H + piece % j->w.Hk * G + g] += *from++;
}

void op_attention_bwd_cpu(const op_args *a)
{
    attention_job j;
    const int64_t S = a->in[3]->s.d[0];

    open_job(&j, a);
    if (j.w.S < 1)
        return;
    /* starts, turns, sums: as many as there can be, so that all steps take the same */
    const int64_t turns = (S * j.w.Hk + 1) & ~(int64_t)1;
    const int64_t sums = a->gin[7] ? (j.w.blocks ? 1 : S * PARTS_MAX) * j.w.H * j.w.buckets : 0;
    open_starts(&j, (size_t)turns * sizeof *j.turns + (size_t)sums * sizeof *j.dbias, parts_of);
    j.turns = (int32_t *)(j.starts + S + 1);
    j.dbias = a->gin[7] ? (real *)(j.turns + turns) : NULL;
    const int64_t pieces = j.w.blocks ? j.w.Hk : j.starts[j.w.S] * j.w.Hk;
    memset(j.turns, 0, (size_t)turns * sizeof *j.turns);
    if (j.dbias)
        memset(j.dbias, 0, (size_t)(pieces * j.w.G * j.w.buckets) * sizeof *j.dbias);
    threads_run(pieces, j.w.blocks ? backward_paged : backward_piece, &j);
    add_tables(&j, pieces);
}
