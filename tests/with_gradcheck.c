/* with_gradcheck: see the header */
#include "tests/with_gradcheck.h"

#include "core/quant.h"
#include "core/rng.h"
#include "tests/check.h"

#include <math.h>

enum { SAMPLES = 24, SMALL = 96 }; /* of an input larger than SMALL, SAMPLES values are differentiated */

#define SENTINEL (-123456.0) /* what outputs hold before a run */

/* ---- cases ------------------------------------------------------------------------------------ */

#define REAL1(a) {.kind = GRAD_REAL, .s = {1, {a}}, .used = -1}
#define REAL2(a, b) {.kind = GRAD_REAL, .s = {2, {a, b}}, .used = -1}
#define REAL3(a, b, c) {.kind = GRAD_REAL, .s = {3, {a, b, c}}, .used = -1}
#define REAL4(a, b, c, d) {.kind = GRAD_REAL, .s = {4, {a, b, c, d}}, .used = -1}
#define USED2(n, a, b) {.kind = GRAD_REAL, .s = {2, {a, b}}, .used = n}
#define USED3(n, a, b, c) {.kind = GRAD_REAL, .s = {3, {a, b, c}}, .used = n}
#define FIXED1(a) {.kind = GRAD_FIXED, .s = {1, {a}}, .used = -1}
#define FIXED2(a, b) {.kind = GRAD_FIXED, .s = {2, {a, b}}, .used = -1}
#define USED1(n, a) {.kind = GRAD_REAL, .s = {1, {a}}, .used = n}
#define FIXED_USED2(n, a, b) {.kind = GRAD_FIXED, .s = {2, {a, b}}, .used = n}
#define INTS1(n, a, ...) {.kind = GRAD_INTS, .s = {1, {a}}, .used = n, .ints = (const int32_t[]){__VA_ARGS__}}
#define INTS2(n, a, b, ...)                                                                        \
    {.kind = GRAD_INTS, .s = {2, {a, b}}, .used = n, .ints = (const int32_t[]){__VA_ARGS__}}
#define RANDOM1(n, a, limit_) {.kind = GRAD_RANDOM, .s = {1, {a}}, .used = n, .limit = limit_}
#define STORED2(type_, a, b)                                                                       \
    {.kind = GRAD_STORED, .s = {2, {a, b}}, .used = -1, .type = TYPE_##type_}
#define FIXED1(a) {.kind = GRAD_FIXED, .s = {1, {a}}, .used = -1}
#define CHOSEN2(n, a, b, limit_) {.kind = GRAD_CHOSEN, .s = {2, {a, b}}, .used = n, .limit = limit_}
#define SAME(i) {.kind = GRAD_SAME, .limit = i}
#define ABSENT {.kind = GRAD_ABSENT}
#define NONE {{0}}
#define GRAD(op_, label, attr_, ...)                                                               \
    {.name = #op_ ": " label, .op = OP_##op_, .attr = attr_, .in = {__VA_ARGS__}},

#define HEADS(h, hk, causal_, window_, scale_, cap)                                                \
    {.attention = {.heads = h, .kv_heads = hk, .causal = causal_, .window = window_, .scale = scale_,  \
                   .softcap = cap}}
#define BIASED(h, hk, causal_, window_, scale_, reach_, both_)                                     \
    {.attention = {.heads = h, .kv_heads = hk, .causal = causal_, .window = window_, .scale = scale_,  \
                   .reach = reach_, .both = both_}}
#define DROPOUT(p_, site_) {.dropout = {.p = p_, .site = site_}}
#define FACTOR(f) {.scale = {.factor = f}}
#define PLUS(e) {.rmsnorm = {.eps = e, .offset = 1}}
#define CAP(c) {.cross_entropy_head = {.softcap = c}}
#define SHARES(t, h, s) {.distillation = {.temperature = t, .hard = h, .soft = s}}
#define SKILLS(k, site_) {.skill_weights = {.skills = k, .site = site_}}
#define BESIDE(b) {.mix_skills = {.beside = b}}
#define ROUTE(k, in_weight_) {.route = {.active = k, .in_weight = in_weight_}}
#define ROUTED(f, form_) {.lora_routed = {.factor = f, .form = ROUTED_##form_}}
#define TOP(k_) {.top_gate = {.k = k_, .temperature = 3}}
#define TASKS(n) {.task_gates = {.tasks = n}}
#define EXPERTS(rank_, most_) {.experts = {.rank = rank_, .most = most_}}
#define STACK(r, in_, out_) {.stack_factors = {.ranks = r, .in = in_, .out = out_}}
#define CUT(rows_, columns_) {.cut = {.rows = rows_, .columns = columns_}}
#define CAYLEY(terms_, limit_) {.cayley = {.terms = terms_, .limit = limit_}}
#define REFLECT(o) {.householder = {.orthogonal = o}}
#define ROTATE(first_, blocks_) {.rotate = {.first = first_, .blocks = blocks_}}
#define TURNED(o) {.orthogonality = {.turned = o}}
#define CONTRAST(f, both_) {.contrast = {.factor = f, .both = both_}}
#define PREFER(beta_, smoothing_, squared_, by_token_)                                                             \
    {.preference = {.beta = beta_, .smoothing = smoothing_, .squared = squared_, .by_token = by_token_}}
#define EPS(e) {.rmsnorm = {.eps = e}}
#define KIND(k) {.gelu = {.kind = GELU_##k}}
#define FIRST(f) {.replace_rows = {.first = f}}
#define WHOLE {.attention_join = {.whole = true}}
#define COLUMNS(f, w) {.columns = {.from = f, .width = w}}

const grad_case grad_cases[] = {
#include "tests/grad_cases.def"
};
const int grad_case_count = (int)COUNT_OF(grad_cases);

/* ---- memory ----------------------------------------------------------------------------------- */

double grad_get(const tensor *t, int64_t i)
{
    return t->type == TYPE_F64 ? ((const double *)t->v)[i] : (double)((const float *)t->v)[i];
}

void grad_set(tensor *t, int64_t i, double value)
{
    if (t->type == TYPE_F64)
        ((double *)t->v)[i] = value;
    else
        ((float *)t->v)[i] = (float)value;
}

int64_t grad_used_values(const tensor *t)
{
    const int64_t n = shape_count(t->s);

    return t->rows && t->s.d[0] > 0 ? n / t->s.d[0] * *t->rows : n;
}

static tensor take(grad_setup *g, dtype type, shape s, const int32_t *rows)
{
    tensor t = {.s = s, .type = type, .rows = rows};

    t.v = arena_take(&g->memory, tensor_bytes(&t) + 64, 1);
    ck_assert(t.v != NULL);
    return t;
}

static double number(uint32_t stream, int64_t i)
{
    const rng_block b = rng_philox(rng_key_for(7, "gradcheck"), (uint32_t)i, stream, 0, 0);

    return 2.4 * (double)rng_unit(b.r[0]) - 1.2;
}

static void fill(tensor *t, uint32_t stream)
{
    const int64_t used = grad_used_values(t), n = shape_count(t->s);

    for (int64_t i = 0; i < n; i++)
        grad_set(t, i, i < used ? (double)(float)number(stream, i) : NAN);
}

static void fill_ints(tensor *t, const grad_input *in, uint32_t stream)
{
    const int64_t used = grad_used_values(t), n = shape_count(t->s);
    int32_t      *v = t->v;

    for (int64_t i = 0; i < n; i++)
        v[i] = i >= used                  ? INT32_MIN
               : in->kind == GRAD_INTS    ? in->ints[i]
                                          : (int32_t)((number(stream, i) + 1.2) / 2.4 * in->limit);
}

/* One of each of as many stretches as a row has values. */
static void fill_chosen(tensor *t, const grad_input *in, uint32_t stream)
{
    const int64_t used = grad_used_values(t), n = shape_count(t->s), k = shape_last(t->s);

    for (int64_t i = 0; i < n; i++) {
        const int64_t from = i % k * in->limit / k, to = (i % k + 1) * in->limit / k;
        const double  at = (double)from + floor((number(stream, i) + 1.2) / 2.4 * (double)(to - from));
        grad_set(t, i, i < used ? at : NAN);
    }
}

static void fill_stored(tensor *t, uint32_t stream)
{
    const int64_t n = shape_count(t->s), blocks = n / dtype_block(t->type);

    for (int64_t i = 0; t->type == TYPE_BF16 && i < n; i++)
        ((uint16_t *)t->v)[i] = f32_to_bf16((float)number(stream, i));
    for (int64_t b = 0; t->type == TYPE_Q8_0 && b < blocks; b++) { /* f16 step, 32 signed bytes */
        uint8_t       *block = (uint8_t *)t->v + b * 34;
        const uint16_t step = f32_to_f16(0.01f);
        memcpy(block, &step, 2);
        for (int64_t i = 0; i < 32; i++)
            block[2 + i] = (uint8_t)(int8_t)(100 * number(stream, b * 32 + i));
    }
    ck_assert(t->type == TYPE_BF16 || t->type == TYPE_Q8_0);
}

static void open_input(grad_setup *g, int i)
{
    const grad_input *in = &g->c->in[i];
    const int32_t    *rows = NULL;

    if (in->kind == GRAD_ABSENT || in->kind == GRAD_SAME)
        return;
    if (in->used >= 0) {
        g->used[i] = in->used;
        rows = &g->used[i];
    }
    const bool ints = in->kind == GRAD_INTS || in->kind == GRAD_RANDOM;
    g->in[i] = take(g, ints ? TYPE_I32 : in->kind == GRAD_STORED ? in->type : g->real, in->s, rows);
    if (ints)
        fill_ints(&g->in[i], in, (uint32_t)i);
    else if (in->kind == GRAD_CHOSEN)
        fill_chosen(&g->in[i], in, (uint32_t)i);
    else if (in->kind == GRAD_STORED)
        fill_stored(&g->in[i], (uint32_t)i);
    else
        fill(&g->in[i], (uint32_t)i);
    if (in->kind == GRAD_REAL) {
        g->gin[i] = take(g, g->real, in->s, rows);
        g->start[i] = take(g, g->real, in->s, rows);
        fill(&g->start[i], 100 + (uint32_t)i);
    }
}

/* The input that holds the value of input i. */
static int holder(const grad_setup *g, int i)
{
    return g->c->in[i].kind == GRAD_SAME ? g->c->in[i].limit : i;
}

static op_args arguments(grad_setup *g)
{
    op_args a = {.n_in = op_rows[g->c->op].n_in, .n_out = op_rows[g->c->op].n_out,
                 .attr = &g->c->attr, .run = &g->run, .aux = g->aux, .n_aux = g->n_aux};

    for (int i = 0; i < a.n_in; i++) {
        a.in[i] = g->c->in[i].kind == GRAD_ABSENT ? NULL : &g->in[holder(g, i)];
        a.wanted[i] = g->wanted >> i & 1;
    }
    for (int i = 0; i < a.n_out; i++)
        a.out[i] = &g->out[i];
    return a;
}

void grad_want(grad_setup *g, uint32_t wanted)
{
    shape out[OP_OUT_MAX] = {{0}};

    g->wanted = wanted;
    const op_args a = arguments(g);
    ck_assert_msg(g->f->shape(&a, out, &g->n_aux) == STATUS_OK, "%s: %s", g->c->name, status_text());
    g->aux = take(g, g->real, shape_1(g->n_aux + 1), NULL).v;
}

void grad_open(grad_setup *g, const grad_case *c, const op_functions *f, dtype real)
{
    shape out[OP_OUT_MAX] = {{0}};

    *g = (grad_setup){.c = c, .f = f, .real = real, .n_out = op_rows[c->op].n_out,
                      .run = {.seed = 5, .step = 3, .training = true}};
    MUST(arena_open(&g->memory, "gradcheck", (size_t)1 << 32));
    for (int i = 0; i < op_rows[c->op].n_in; i++)
        open_input(g, i);
    g->wanted = grad_all(g);

    op_args a = arguments(g);
    ck_assert_msg(f->shape(&a, out, &g->n_aux) == STATUS_OK, "%s: %s", c->name, status_text());
    for (int i = 0; i < g->n_out; i++) {
        const int from = op_rows[c->op].rows;
        g->out[i] = take(g, real, out[i], from == NO_ROWS ? NULL : g->in[from].rows);
        g->gout[i] = g->out[i];
        g->gout[i].v = take(g, real, out[i], NULL).v;
        fill(&g->gout[i], 200 + (uint32_t)i);
    }
    grad_want(g, g->wanted);
}

void grad_close(grad_setup *g)
{
    arena_close(&g->memory);
}

uint32_t grad_all(const grad_setup *g)
{
    uint32_t mask = 0;

    for (int i = 0; i < op_rows[g->c->op].n_in; i++)
        if (g->c->in[holder(g, i)].kind == GRAD_REAL)
            mask |= 1u << i;
    return mask;
}

/* ---- runs --------------------------------------------------------------------------------------- */

void grad_forward(grad_setup *g)
{
    op_args a = arguments(g);

    for (int i = 0; i < g->n_out; i++)
        for (int64_t k = 0; k < shape_count(g->out[i].s); k++)
            grad_set(&g->out[i], k, SENTINEL);
    if (g->elsewhere)
        g->elsewhere(g, &a, false);
    else
        g->f->forward(&a);
}

void grad_backward(grad_setup *g, uint32_t wanted, uint32_t arriving)
{
    op_args  a = arguments(g);
    tensor   bare_in[OP_IN_MAX], bare_out[OP_OUT_MAX];
    uint32_t reads = 0;

    ck_assert_uint_eq(wanted, g->wanted);
    for (int i = 0; i < a.n_in; i++)
        if (wanted & (1u << i))
            reads |= op_rows[g->c->op].reads[i];
    for (int i = 0; i < a.n_in; i++) {
        const int at = holder(g, i);
        if (g->gin[at].v)
            memcpy(g->gin[at].v, g->start[at].v, tensor_bytes(&g->gin[at]));
        a.gin[i] = wanted & (1u << i) ? &g->gin[at] : NULL;
        if (a.in[i] && !(reads & (uint32_t)(IN0 << i))) {
            bare_in[i] = *a.in[i];
            bare_in[i].v = NULL;
            a.in[i] = &bare_in[i];
        }
    }
    for (int i = 0; i < a.n_out; i++) {
        bare_out[i] = *a.out[i];
        bare_out[i].v = NULL;
        if (!(reads & (uint32_t)(OUT0 << i)))
            a.out[i] = &bare_out[i];
        a.gout[i] = arriving & (1u << i) ? &g->gout[i] : NULL;
    }
    if (!(reads & AUX))
        a.aux = NULL;
    if (g->elsewhere)
        g->elsewhere(g, &a, true);
    else
        g->f->backward(&a);
}

/* ---- the check ---------------------------------------------------------------------------------- */

/* L, and the sum of the sizes of its terms */
static double objective(grad_setup *g, uint32_t arriving, double *size)
{
    double sum = 0, terms = 0;

    grad_forward(g);
    for (int i = 0; i < g->n_out; i++)
        for (int64_t k = 0; (arriving & (1u << i)) && k < grad_used_values(&g->out[i]); k++) {
            const double term = grad_get(&g->out[i], k) * grad_get(&g->gout[i], k);
            sum += term;
            terms += fabs(term);
        }
    if (size)
        *size = terms;
    return sum;
}

static double derivative(grad_setup *g, tensor *x, int64_t k, uint32_t arriving)
{
    const double h = 0x1p-10, at = grad_get(x, k);
    double       l[4];

    for (int i = 0; i < 4; i++) {
        grad_set(x, k, at + h * (i < 2 ? i - 2 : i - 1));
        l[i] = objective(g, arriving, NULL);
    }
    grad_set(x, k, at);
    return (8 * (l[2] - l[1]) - (l[3] - l[0])) / (12 * h);
}

/* Values past those in use must be as they were. */
static bool untouched(const grad_setup *g, char why[256])
{
    for (int i = 0; i < g->n_out; i++)
        for (int64_t k = grad_used_values(&g->out[i]); k < shape_count(g->out[i].s); k++)
            if (grad_get(&g->out[i], k) != SENTINEL) {
                snprintf(why, 256, "%s: output %d, value %lld is past the rows in use and was written",
                         g->c->name, i, (long long)k);
                return false;
            }
    for (int i = 0; i < OP_IN_MAX; i++)
        if (g->gin[i].v) {
            const int64_t used = grad_used_values(&g->gin[i]), n = shape_count(g->gin[i].s);
            const size_t  size = g->real == TYPE_F64 ? 8 : 4;
            if (memcmp((char *)g->gin[i].v + (size_t)used * size,
                       (char *)g->start[i].v + (size_t)used * size, (size_t)(n - used) * size) != 0) {
                snprintf(why, 256, "%s: gradient of input %d was written past the rows in use",
                         g->c->name, i);
                return false;
            }
        }
    return true;
}

/* Gradients of the wanted inputs against the derivatives, which are kept in `numeric`. */
static bool compare(grad_setup *g, uint32_t wanted, uint32_t arriving, double **numeric, double size,
                    char why[256], double *worst)
{
    grad_want(g, wanted);
    objective(g, arriving, NULL);
    grad_backward(g, wanted, arriving);
    for (int i = 0; i < OP_IN_MAX; i++) {
        if (!(wanted & (1u << i)) || g->c->in[i].kind == GRAD_SAME)
            continue;
        const int64_t n = grad_used_values(&g->in[i]);
        for (int64_t k = 0; k < n; k++) {
            const double got = grad_get(&g->gin[i], k) - grad_get(&g->start[i], k);
            const double error = fabs(got - numeric[i][k]), bound = GRAD_BOUND * (size + 1);
            if (isnan(numeric[i][k]) && isfinite(got)) /* not sampled */
                continue;
            if (!(error <= bound)) {
                snprintf(why, 256,
                         "%s: gradient of input %d (wanted 0x%x, upstream 0x%x), value %lld is %.12g, must be "
                         "%.12g within %.2g",
                         g->c->name, i, wanted, arriving, (long long)k, got, numeric[i][k], bound);
                return false;
            }
            if (worst && error / bound > *worst)
                *worst = error / bound;
        }
    }
    return untouched(g, why);
}

static void differentiate(grad_setup *g, uint32_t arriving, double **numeric)
{
    for (int i = 0; i < OP_IN_MAX; i++) {
        if (!g->gin[i].v)
            continue;
        const int64_t n = grad_used_values(&g->in[i]), step = n <= SMALL ? 1 : n / SAMPLES;
        if (!numeric[i])
            numeric[i] = arena_take(&g->memory, (size_t)n + 1, sizeof *numeric[i]);
        ck_assert(numeric[i] != NULL);
        for (int64_t k = 0; k < n; k++)
            numeric[i][k] = NAN;
        for (int64_t k = step / 2; k < n; k += step)
            numeric[i][k] = derivative(g, &g->in[i], k, arriving);
    }
}

static bool finite_outputs(grad_setup *g, char why[256])
{
    grad_forward(g);
    for (int i = 0; i < g->n_out; i++)
        for (int64_t k = 0; k < grad_used_values(&g->out[i]); k++)
            if (!isfinite(grad_get(&g->out[i], k)) || grad_get(&g->out[i], k) == SENTINEL) {
                snprintf(why, 256, "%s: output %d, value %lld is %g", g->c->name, i, (long long)k,
                         grad_get(&g->out[i], k));
                return false;
            }
    return true;
}

/* The gradient masks of inputs that share one value come together. */
static bool whole(const grad_setup *g, uint32_t wanted)
{
    for (int i = 0; i < OP_IN_MAX; i++)
        if (g->c->in[i].kind == GRAD_SAME && !(wanted >> i & 1) != !(wanted >> g->c->in[i].limit & 1))
            return false;
    return true;
}

bool gradcheck(const grad_case *c, const op_functions *f, char why[256], double *worst)
{
    grad_setup g;
    double    *numeric[OP_IN_MAX] = {NULL};
    bool       good;

    grad_open(&g, c, f, TYPE_F64);
    const uint32_t all = grad_all(&g), outs = (1u << g.n_out) - 1;
    good = finite_outputs(&g, why);
    for (uint32_t arriving = 1; good && arriving <= outs; arriving++) {
        double size;
        objective(&g, arriving, &size);
        differentiate(&g, arriving, numeric);
        good = compare(&g, all, arriving, numeric, size, why, worst);
        for (int i = 0; good && i < OP_IN_MAX; i++)
            if ((all >> i & 1) && whole(&g, 1u << i))
                good = compare(&g, 1u << i, arriving, numeric, size, why, worst);
    }
    grad_close(&g);
    return good;
}
