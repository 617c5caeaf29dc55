/* test_llm_adapters: what the card of LLM-Adapters says of series, parallel and prefix adapters and of LoRA: a zero
 * upper matrix is nothing, linear ones are other weights, counts, prefixes as further keys, the learned factor */
#include "tests/helpers.h"
#include "tests/with_trunk.h"

#include "core/text.h"
#include "layers/attention.h"

#include <math.h>

enum { LINEAR = 4 }; /* LINEAR: act's place in its list of choices */

static const trace_options plain = {0};

/* ---- helpers ------------------------------------------------------------------------------------- */

static double largest(const trace_result *a)
{
    double m = 0;

    for (int i = 0; i < a->n; i++)
        for (int64_t k = 0; k < shape_count(a->items[i].t.s); k++)
            m = fmax(m, fabs((double)((const float *)a->items[i].t.v)[k]));
    return m;
}

static double difference(const trace_result *a, const trace_result *b)
{
    double worst = 0;

    ck_assert_int_eq(a->n, b->n);
    for (int i = 0; i < a->n; i++)
        for (int64_t k = 0; k < shape_count(a->items[i].t.s); k++)
            worst = fmax(worst, fabs((double)((const float *)a->items[i].t.v)[k] -
                                     (double)((const float *)b->items[i].t.v)[k]));
    return worst;
}

static tuned *find(const small *s, const site *at, const char *end)
{
    for (int i = 0; i < s->p->n_tuned; i++)
        if (text_ends(s->p->tensors[i].name, end) && (!at || strstr(s->p->tensors[i].name, at->checkpoint)))
            return &s->p->tensors[i];
    return NULL;
}

/* A bottleneck of one of the card's kinds with random values. */
static void open_bottleneck(small *s, const char *at, bool parallel, int act, bool learned, double size)
{
    static const char *const names[] = {"place", "act", "learned", "size", NULL};

    small_open(s, 3);
    small_add(s, "bottleneck", at, names, (const double[]){parallel, act, learned, size});
    small_stir(s, 4);
}

static const struct {
    const char *at;
    bool        parallel;
} places[] = {{"re:.*(gate_proj|up_proj)", false}, {"down_proj", false}, {"re:.*(q_proj|up_proj|down_proj)", true}};

/* ---- 1: a zero upper matrix ---------------------------------------------------------------------- */

static void zero_upper(small *s)
{
    for (int i = 0; i < s->p->n_tuned; i++) {
        const tuned *x = &s->p->tensors[i];
        if (text_ends(x->name, "adapter_up.weight") || text_ends(x->name, "lora_B.weight"))
            memset(x->value.v, 0, tensor_bytes(&x->value));
    }
}

static void same_as_bare(small *s)
{
    small bare;

    small_open(&bare, 3);
    const trace_result before = small_trace(s, &plain);
    zero_upper(s);
    const trace_result on = small_trace(s, &plain), off = small_trace(&bare, &plain);
    ck_assert(difference(&before, &off) > 1e-2);
    ck_assert(difference(&on, &off) == 0);
    small_close(&bare);
    small_close(s);
}

START_TEST(a_zero_upper_matrix_is_nothing)
{
    small s;

    for (size_t i = 0; i < COUNT_OF(places); i++)
        for (int learned = 0; learned < 2; learned++) {
            open_bottleneck(&s, places[i].at, places[i].parallel, 0, learned, 6);
            same_as_bare(&s);
        }
    small_open(&s, 3);
    small_add(&s, "lora", "all-linear", NULL, NULL);
    small_stir(&s, 4);
    same_as_bare(&s);
}
END_TEST

/* ---- 2 and 3: linear adapters -------------------------------------------------------------------- */

/* m [n, n'] = (one ? I : 0) + factor U D */
static double *product(arena *a, const tuned *up, const tuned *down, double factor, bool one)
{
    const int64_t N = up->value.s.d[0], M = down->value.s.d[1], R = down->value.s.d[0];
    const float  *u = up->value.v, *d = down->value.v;
    double       *m = arena_take(a, (size_t)(N * M), sizeof *m);

    for (int64_t i = 0; i < N; i++)
        for (int64_t k = 0; k < M; k++) {
            double sum = 0;
            for (int64_t r = 0; r < R; r++)
                sum += (double)u[i * R + r] * (double)d[r * M + k];
            m[i * M + k] = factor * sum + (one && i == k);
        }
    return m;
}

/* w [out, in] becomes w m, or m w, and b then m b. */
static void multiply(arena *a, const site *s, const double *m, bool before)
{
    const int64_t O = s->out, I = s->in, N = before ? I : O;
    float        *w = s->weight->value.v, *b = s->bias->value.v;
    double       *sum = arena_take(a, (size_t)(O * I + O), sizeof *sum);

    memset(sum, 0, (size_t)(O * I + O) * sizeof *sum);
    for (int64_t o = 0; o < O; o++)
        for (int64_t i = 0; i < I; i++)
            for (int64_t n = 0; n < N; n++)
                sum[o * I + i] += before ? (double)w[o * I + n] * m[n * I + i] : m[o * O + n] * (double)w[n * I + i];
    for (int64_t o = 0; o < O && !before; o++)
        for (int64_t n = 0; n < O; n++)
            sum[O * I + o] += m[o * O + n] * (double)b[n];
    for (int64_t i = 0; i < O * I; i++)
        w[i] = (float)sum[i];
    for (int64_t o = 0; o < O && !before; o++)
        b[o] = (float)sum[O * I + o];
}

/* The site of another trunk with the adapter of s there inside its weight and bias. */
static void merge_by_hand(const small *s, const small *other, const site *at, bool parallel, double factor)
{
    const site  *to = &other->m.sites[at - s->m.sites];
    const tuned *up = find(s, at, "adapter_up.weight"), *down = find(s, at, "adapter_down.weight");
    const bool   before = !text_ends(at->checkpoint, "down_proj");
    float       *w = to->weight->value.v;
    arena       *a = (arena *)(uintptr_t)&other->memory;
    const double *m = product(a, up, down, factor, !parallel);

    if (!parallel)
        multiply(a, to, m, before);
    for (int64_t i = 0; parallel && i < to->out * to->in; i++)
        w[i] = (float)((double)w[i] + m[i]);
}

/* Two roundings of 2^-24 a weight, sums of 80 terms, three blocks: 2 * 80 * 3 * 2^-24 is below 2^-15; they do not all
 * go one way: an eighth of it. */
static void same_as_merged(small *s, small *other)
{
    const trace_result apart = small_trace(s, &plain), merged = small_trace(other, &plain);

    ck_assert_msg(difference(&apart, &merged) < 0x1p-18 * largest(&merged), "off by %g of %g",
                  difference(&apart, &merged), largest(&merged));
    small_close(other);
    small_close(s);
}

START_TEST(linear_ones_are_other_weights)
{
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        small s, other;
        open_bottleneck(&s, places[i].at, places[i].parallel, LINEAR, true, 6);
        small_open(&other, 3);
        for (int k = 0; k < s.m.n_sites; k++) {
            const site *at = &s.m.sites[k];
            if (peft_sits(s.p, 0, at))
                merge_by_hand(&s, &other, at, places[i].parallel,
                              (double)*(const float *)find(&s, at, "adapter_scaling")->value.v);
        }
        same_as_merged(&s, &other);
    }
}
END_TEST

static void set_identity(const tuned *x, double size)
{
    const int64_t N = x->value.s.d[0], M = x->value.s.d[1];

    ck_assert_int_eq(N, M);
    memset(x->value.v, 0, tensor_bytes(&x->value));
    for (int64_t i = 0; i < N; i++)
        ((float *)x->value.v)[i * N + i] = (float)size;
}

/* The adapter is c times its input: in front of the linear the bias stays, behind it it grows too. */
START_TEST(the_bias_grows_only_behind)
{
    static const char *const sites[] = {"up_proj", "down_proj"};
    const double             c = 0.25;

    for (int behind = 0; behind < 2; behind++) {
        small s, other;
        open_bottleneck(&s, sites[behind], false, LINEAR, false, 48); /* both are 48 wide there */
        small_open(&other, 3);
        for (int k = 0; k < s.m.n_sites; k++) {
            const site *at = &s.m.sites[k], *to = &other.m.sites[k];
            if (!peft_sits(s.p, 0, at))
                continue;
            set_identity(find(&s, at, "adapter_down.weight"), 1);
            set_identity(find(&s, at, "adapter_up.weight"), c);
            for (int64_t i = 0; i < to->in * to->out; i++)
                ((float *)to->weight->value.v)[i] *= (float)(1 + c);
            for (int64_t i = 0; behind && i < to->out; i++)
                ((float *)to->bias->value.v)[i] *= (float)(1 + c);
        }
        same_as_merged(&s, &other);
    }
}
END_TEST

/* ---- 4: counts ----------------------------------------------------------------------------------- */

/* LLaMA-7B: 32 blocks, 4096 wide, 11008 inside. */
static int64_t count(small *s, const char *method, const char *sites, const char *const *names, const double *values)
{
    static const struct {
        const char *name;
        int64_t     in, out;
    } all[] = {{"q_proj", 4096, 4096},     {"k_proj", 4096, 4096},   {"v_proj", 4096, 4096},
               {"gate_proj", 4096, 11008}, {"up_proj", 4096, 11008}, {"down_proj", 11008, 4096}};
    const peft_method *m = peft_find(method);
    const void        *options = small_options(s, m, names, values);
    int64_t            n = 0;

    for (size_t i = 0; i < COUNT_OF(all); i++) {
        const site at = {.kind = SITE_LINEAR, .name = all[i].name, .checkpoint = all[i].name, .in = all[i].in,
                         .out = all[i].out};
        if (strstr(sites, all[i].name))
            n += 32 * m->count(&at, options);
    }
    return n;
}

START_TEST(counts_are_the_papers)
{
    static const char *const size[] = {"size", "place", NULL}, *const rank[] = {"rank", NULL};
    static const char *const tokens[] = {"tokens", NULL};
    const double             series[] = {256, 0}, parallel[] = {256, 1};
    const site               kv = {.kind = SITE_KV, .in = 4096, .out = 4096};
    const peft_method       *prefix = peft_find("prefix");
    small                    s;

    small_open(&s, 1);
    ck_assert_int_eq(count(&s, "bottleneck", "gate_proj up_proj down_proj", size, series), 201326592);
    ck_assert_int_eq(count(&s, "bottleneck", "gate_proj up_proj", size, series), 134217728);
    ck_assert_int_eq(count(&s, "bottleneck", "down_proj", size, series), 67108864);
    ck_assert_int_eq(count(&s, "bottleneck", "up_proj down_proj", size, parallel), 247463936);
    ck_assert_int_eq(count(&s, "lora", "q_proj v_proj", rank, (const double[]){8}), 4194304);
    ck_assert_int_eq(count(&s, "lora", "q_proj k_proj v_proj up_proj down_proj", rank, (const double[]){32}),
                     56098816);
    ck_assert_int_eq(32 * prefix->count(&kv, small_options(&s, prefix, tokens, (const double[]){10})), 2621440);
    ck_assert_int_eq(32 * prefix->count(&kv, small_options(&s, prefix, tokens, (const double[]){30})), 7864320);
    small_close(&s);
}
END_TEST

/* ---- 5: prefixes as further keys ----------------------------------------------------------------- */

enum { HEAD = 4, ROWS = 5 };

/* One head over ROWS tokens, with one key and value in front. */
typedef struct front {
    tensor  q, k, v, more_k, more_v, more_offsets, offsets;
    float   values[3][ROWS * HEAD], more[2][HEAD];
    int32_t one[2], all[2];
} front;

static void front_kv(tape *t, const site *s, void *state, var **k, var **v, var **offsets)
{
    const front *f = state;

    (void)s;
    *k = tape_tensor(t, &f->more_k);
    *v = tape_tensor(t, &f->more_v);
    *offsets = tape_input(t, &f->more_offsets);
}

static void fill(front *f, int32_t rows)
{
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < ROWS * HEAD; k++)
            f->values[i][k] = 0.3f + sinf((float)(7 * i + 3 * k)) * 0.2f; /* all above 0 */
    f->one[1] = 1;
    f->all[1] = rows;
    f->q = (tensor){.s = shape_2(rows, HEAD), .type = TYPE_F32, .v = f->values[0]};
    f->k = f->v = f->q;
    f->k.v = f->values[1];
    f->v.v = f->values[2];
    f->more_k = (tensor){.s = shape_2(1, HEAD), .type = TYPE_F32, .v = f->more[0]};
    f->more_v = (tensor){.s = shape_2(1, HEAD), .type = TYPE_F32, .v = f->more[1]};
    f->more_offsets = (tensor){.s = shape_1(2), .type = TYPE_I32, .v = f->one};
    f->offsets = (tensor){.s = shape_1(2), .type = TYPE_I32, .v = f->all};
}

static void attend(front *f, bool with, float *out)
{
    const attention_options o = {.heads = 1, .kv_heads = 1, .causal = true, .scale = 0.5};
    site_hook               hook = {.state = f, .kv = front_kv};
    const site              kv = {.kind = SITE_KV, .name = "kv", .hooks = with ? &hook : NULL};
    arena                   a;
    tape                   *t;

    MUST(arena_open(&a, "step", (size_t)1 << 24));
    MUST(tape_open(&t, TYPE_F32));
    const stream s = {.whole = tape_input(t, &f->offsets), .q_offsets = tape_input(t, &f->offsets)};
    var *const   q = tape_tensor(t, &f->q), *const k = tape_tensor(t, &f->k), *const v = tape_tensor(t, &f->v);
    var         *y = site_attention(t, &kv, &s, q, k, v, &o);
    tape_keep(t, y);
    MUST(tape_plan(t, NULL, RECOMPUTE_NONE));
    MUST(tape_bind(t, &a));
    tape_forward(t);
    MUST(tape_check(t));
    memcpy(out, y->t.v, tensor_bytes(&y->t));
    tape_close(t);
    arena_close(&a);
}

START_TEST(a_prefix_is_a_further_key)
{
    front f = {0};
    float plain_y[ROWS * HEAD], y[ROWS * HEAD];

    fill(&f, ROWS);
    attend(&f, false, plain_y);
    for (int i = 0; i < HEAD; i++) {
        f.more[0][i] = -1e6f; /* a logit of less than -1e5 */
        f.more[1][i] = 3;
    }
    attend(&f, true, y);
    ck_assert(memcmp(y, plain_y, sizeof y) == 0);

    fill(&f, 1);
    memcpy(f.more[0], f.values[1], sizeof f.more[0]); /* the same key, so the same logit */
    attend(&f, true, y);
    for (int i = 0; i < HEAD; i++)
        ck_assert(fabs((double)y[i] - (3 + (double)f.values[2][i]) / 2) < 4 * 0x1p-23);
}
END_TEST

/* ---- 6: the learned factor ----------------------------------------------------------------------- */

static double along(const tensor *a, const tensor *b)
{
    double sum = 0;

    for (int64_t i = 0; i < shape_count(a->s); i++)
        sum += (double)((const float *)a->v)[i] * (double)((const float *)b->v)[i];
    return sum;
}

/* dL/ds = sum d (network / s), and the network is s U h: so s dL/ds = <dL/dU, U>. */
START_TEST(a_learned_factor_has_its_gradient)
{
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        small s;
        open_bottleneck(&s, places[i].at, places[i].parallel, 0, true, 6);
        const char **names = arena_take(&s.memory, (size_t)s.p->n_tuned, sizeof *names);
        for (int k = 0; k < s.p->n_tuned; k++) {
            names[k] = s.p->tensors[k].name;
            if (text_ends(names[k], "adapter_scaling"))
                *(float *)s.p->tensors[k].value.v = 0.7f;
        }
        (void)small_trace(&s, &(trace_options){.gradients = names, .n_gradients = s.p->n_tuned});
        for (int k = 0; k < s.m.n_sites; k++) {
            const site *at = &s.m.sites[k];
            if (!peft_sits(s.p, 0, at))
                continue;
            const tuned *up = find(&s, at, "adapter_up.weight"), *scale = find(&s, at, "adapter_scaling");
            const double is = along(&scale->grad, &scale->value), must = along(&up->grad, &up->value);
            ck_assert_msg(fabs(is - must) < 0x1p-16 * fmax(1, fabs(must)), "%s: %g, must be %g", at->name, is, must);
            ck_assert(fabs(must) > 1e-3);
        }
        small_close(&s);
    }
}
END_TEST

TESTS(llm_adapters, a_zero_upper_matrix_is_nothing, linear_ones_are_other_weights, the_bias_grows_only_behind,
      counts_are_the_papers, a_prefix_is_a_further_key, a_learned_factor_has_its_gradient)
