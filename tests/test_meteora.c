/* test_meteora: routers over LoRAs: what gates do, their loss, both forms of the mixture, what is refused, files
 * tests/run: no device */
#include "tests/helpers.h"
#include "tests/with_training.h"

#include "core/file.h"
#include "core/rng.h"
#include "peft/router.h"

#include <math.h>

enum { TOKENS = 9, SAMPLES = 4 };

/* ---- modules ------------------------------------------------------------------------------------------- */

/* A LoRA at these sites; scale 2 is a power of two, so that it rounds nothing. */
static void add_lora(small *s, const char *name, const char *at, double rank, double scale, bool trains)
{
    static const char *const names[] = {"rank", "alpha", NULL};
    const double             values[] = {rank, scale * rank};
    const peft_method       *lora = peft_find("lora");

    MUST(peft_add(s->p, name, lora, small_options(s, lora, names, values), &at, 1, trains));
}

static status route(small *s, const char *name, double k, double beta, double temperature)
{
    static const char *const names[] = {"top_k", "beta", "temperature", NULL};
    const double             values[] = {k, beta, temperature};
    const peft_method       *router = peft_find_router(name);

    return peft_route(s->p, "router", router, small_options(s, router, names, values), NULL, 0);
}

/* Values of the modules' tensors from seed and a module's `as`; gates of this width. */
static void stir(small *s, const char *const *as, double width)
{
    for (int i = 0; i < s->p->n_tuned; i++) {
        tuned *x = &s->p->tensors[i];
        char   name[300];
        const bool gate = s->p->modules[x->module].n_over > 0;
        snprintf(name, sizeof name, "%s:%s", gate ? "gate" : as[x->module], x->name);
        rng_fill_normal(rng_key_for(3, name), 0, gate ? (float)width : 0.2f, x->value.v, shape_count(x->value.s));
    }
}

/* Three LoRAs of ranks 3, 1 and 4 in this order (letters of "abc"); the last of them not everywhere. */
static void open_three(small *s, const char *order, double k, double beta, bool trains)
{
    static const char *const each[] = {"a", "b", "c"};
    static const double      ranks[] = {3, 1, 4};
    const char              *as[4] = {0};

    small_open(s, 5);
    for (int i = 0; order[i]; i++) {
        as[i] = each[order[i] - 'a'];
        add_lora(s, as[i], order[i] == 'c' ? "block.*.mlp.*" : "all-linear", ranks[order[i] - 'a'], 2, trains);
    }
    MUST(route(s, "meteora", k, beta, 1));
    MUST(peft_allocate(s->p, &s->tuned));
    stir(s, as, 0.5);
}

static trace_result logits(small *s)
{
    return small_trace(s, &(trace_options){0});
}

/* The largest difference of two traces' logits. */
static double apart(const trace_result *x, const trace_result *y)
{
    double most = 0;

    ck_assert_int_eq(x->n, y->n);
    for (int i = 0; i < x->n; i++)
        for (int64_t k = 0; k < shape_count(x->items[i].t.s); k++)
            most = fmax(most, fabs((double)((const float *)x->items[i].t.v)[k] -
                                   (double)((const float *)y->items[i].t.v)[k]));
    return most;
}

/* ---- identities ------------------------------------------------------------------------------------------ */

START_TEST(one_adapter_is_that_lora_bit_for_bit)
{
    static const char *const as[] = {"a", "a"};
    small                    alone, routed;

    small_open(&alone, 5), small_open(&routed, 5);
    add_lora(&alone, "a", "all-linear", 3, 0.7, false);
    add_lora(&routed, "a", "all-linear", 3, 0.7, false);
    MUST(route(&routed, "meteora", 1, 50, 1));
    MUST(peft_allocate(alone.p, &alone.tuned));
    MUST(peft_allocate(routed.p, &routed.tuned));
    stir(&alone, as, 1), stir(&routed, as, 1);
    const trace_result x = logits(&alone), y = logits(&routed);
    ck_assert(apart(&x, &y) == 0);
    small_close(&alone), small_close(&routed);
}
END_TEST

/* Two traces of the same modules in other forms, or with another k: sums of up to 80 products of about 1 in another
 * order through 3 blocks; logits are about 10. */
START_TEST(both_forms_agree)
{
    static const char *const list[] = {"base_model.model.model.layers.0.self_attn.q_proj.gate.weight",
                                       "base_model.model.model.layers.1.mlp.down_proj.gate.weight",
                                       "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight",
                                       "base_model.model.model.layers.2.mlp.up_proj.lora_B.weight"};
    const trace_options      o = {.gradients = list, .n_gradients = 4};

    for (int k = 1; k <= 3; k++) {
        small s;
        open_three(&s, "abc", k, 50, true);
        router_force(ROUTER_STACKED);
        const trace_result x = small_trace(&s, &o);
        router_force(ROUTER_SORTED);
        const trace_result y = small_trace(&s, &o);
        router_force(ROUTER_BY_SHAPE);
        ck_assert_msg(apart(&x, &y) < 1e-5 * 10, "k = %d: the forms differ by %g", k, apart(&x, &y));
        small_close(&s);
    }
}
END_TEST

START_TEST(equal_adapters_need_no_gate)
{
    static const char *const as[] = {"a", "a", "a", ""}, *const gate[] = {
        "base_model.model.model.layers.0.self_attn.q_proj.gate.weight"};
    trace_result r[3];
    small        s[3];

    for (int i = 0; i < 3; i++) {
        small_open(&s[i], 5);
        for (int e = 0; e < 3; e++)
            add_lora(&s[i], (const char *[]){"a", "b", "c"}[e], "all-linear", 2, 2, false);
        MUST(route(&s[i], "meteora", i + 1, 50, 1));
        MUST(peft_allocate(s[i].p, &s[i].tuned));
        stir(&s[i], as, 0.3 * (i + 1));
        r[i] = small_trace(&s[i], &(trace_options){.gradients = gate, .n_gradients = 1});
    }
    for (int i = 1; i < 3; i++)
        for (int k = 0; k < r[0].n - 1; k++)
            for (int64_t v = 0; v < shape_count(r[0].items[k].t.s); v++)
                ck_assert(fabs((double)((float *)r[0].items[k].t.v)[v] - ((float *)r[i].items[k].t.v)[v]) < 1e-4);
    for (int i = 0; i < 3; i++) {
        const tensor *g = &r[i].items[r[i].n - 1].t;
        ck_assert_str_eq(r[i].items[r[i].n - 1].name + 5, gate[0]);
        for (int64_t v = 0; v < shape_count(g->s); v++)
            ck_assert_msg(i == 0 ? ((float *)g->v)[v] == 0 : fabs((double)((float *)g->v)[v]) < 1e-5,
                          "k = %d: a gate has the gradient %g", i + 1, (double)((float *)g->v)[v]);
    }
    for (int i = 0; i < 3; i++)
        small_close(&s[i]);
}
END_TEST

/* ---- one site alone ---------------------------------------------------------------------------------------- */

enum { N = 6, IN = 5, OUT = 7, E = 3, R = 2 };

/* f64 values of x, gate, y and factors; places of A and B of each expert. */
typedef struct alone {
    arena   a;
    tape   *t;
    double  x[N * IN], gate[E * IN], y[N * OUT], up[N * OUT], values[E * 32], scales[E];
    double  d_x[N * IN], d_gate[E * IN], d_values[E * 32];
    int32_t table[3 * E];
    tensor  tx, tgate, ty, tup, tvalues, ttable, tscales, dx, dgate, dvalues;
    var    *z, *w, *out;
} alone;

static tensor reals(double *v, shape s)
{
    return (tensor){.s = s, .type = TYPE_F64, .v = v};
}

static void fill(double *v, int n, uint64_t seed)
{
    float *f = calloc((size_t)n, sizeof *f);

    rng_fill_normal(rng_key_for(seed, "alone"), 0, 1, f, n);
    for (int i = 0; i < n; i++)
        v[i] = (double)f[i];
    free(f);
}

static void open_alone(alone *o)
{
    memset(o, 0, sizeof *o);
    MUST(arena_open(&o->a, "alone", (size_t)1 << 24));
    fill(o->x, N * IN, 1), fill(o->gate, E * IN, 2), fill(o->y, N * OUT, 3), fill(o->up, N * OUT, 4);
    fill(o->values, E * 32, 5);
    for (int e = 0; e < E; e++) {
        o->scales[e] = 0.5 * (e + 1);
        o->table[3 * e] = R, o->table[3 * e + 1] = 2 * e, o->table[3 * e + 2] = 2 * e + 1;
    }
    o->tx = reals(o->x, shape_2(N, IN)), o->dx = reals(o->d_x, shape_2(N, IN));
    o->tgate = reals(o->gate, shape_2(E, IN)), o->dgate = reals(o->d_gate, shape_2(E, IN));
    o->tvalues = reals(o->values, shape_1(E * 32)), o->dvalues = reals(o->d_values, shape_1(E * 32));
    o->ty = reals(o->y, shape_2(N, OUT)), o->tup = reals(o->up, shape_2(N, OUT));
    o->tscales = reals(o->scales, shape_1(E));
    o->ttable = (tensor){.s = shape_2(E, 3), .type = TYPE_I32, .v = o->table};
}

/* y + the mixture, and its gradients from `up`; training or not. */
static void run_alone(alone *o, int64_t k, double temperature, bool training)
{
    const op_run run = {.training = training};

    MUST(tape_open(&o->t, TYPE_F64));
    var *x = tape_param(o->t, &o->tx, &o->dx), *y = tape_tensor(o->t, &o->ty);
    o->w = ag_top_gate(o->t, x, tape_param(o->t, &o->tgate, &o->dgate), k, temperature, &o->z);
    o->out = ag_lora_gated(o->t, y, x, tape_param(o->t, &o->tvalues, &o->dvalues), o->w, tape_input(o->t, &o->ttable),
                           tape_tensor(o->t, &o->tscales), R, k);
    tape_keep(o->t, o->z), tape_keep(o->t, o->w), tape_keep(o->t, o->out);
    tape_seed(o->t, o->out, &o->tup);
    MUST(tape_plan(o->t, NULL, RECOMPUTE_NONE));
    MUST(tape_bind(o->t, &o->a));
    tape_set_run(o->t, &run);
    tape_forward(o->t);
    tape_backward(o->t);
}

static void close_alone(alone *o)
{
    tape_close(o->t);
    arena_close(&o->a);
}

static double value(const var *v, int64_t i)
{
    return ((const double *)v->t.v)[i];
}

/* What expert e makes of row n for output m, before its weight. */
static double expert_gives(const alone *o, int e, int n, int m)
{
    const double *A = o->values + 32 * e, *B = A + 16;
    double        sum = 0;

    for (int r = 0; r < R; r++) {
        double h = 0;
        for (int i = 0; i < IN; i++)
            h += o->x[n * IN + i] * A[r * IN + i];
        sum += h * B[m * R + r];
    }
    return o->scales[e] * sum;
}

/* The gains by the other order: softmax over all, the k largest, divided by their sum. */
static void gains_of(const alone *o, int n, int k, double temperature, double w[E])
{
    double p[E], kept = 0;
    bool   chosen[E] = {false};

    for (int e = 0; e < E; e++) {
        p[e] = 0;
        for (int i = 0; i < IN; i++)
            p[e] += o->x[n * IN + i] * o->gate[e * IN + i];
        p[e] = exp(p[e] / temperature);
    }
    for (int i = 0; i < k; i++) {
        int best = -1;
        for (int e = 0; e < E; e++)
            if (!chosen[e] && (best < 0 || p[e] > p[best]))
                best = e;
        chosen[best] = true;
        kept += p[best];
    }
    for (int e = 0; e < E; e++)
        w[e] = chosen[e] ? p[e] / kept : 0;
}

/* Sums of up to 10 products of about 1 in double. */
START_TEST(rows_are_what_the_loop_says)
{
    for (int k = 1; k <= E; k++)
        for (int training = 0; training < 2; training++) {
            const double t = training ? 1 : 2.5; /* only inference sees a temperature */
            alone        o;
            open_alone(&o);
            run_alone(&o, k, 2.5, training);
            for (int n = 0; n < N; n++) {
                double w[E];
                gains_of(&o, n, k, t, w);
                for (int e = 0; e < E; e++)
                    ck_assert_msg(fabs(value(o.w, n * E + e) - w[e]) < 1e-12, "gain %g, must be %g",
                                  value(o.w, n * E + e), w[e]);
                for (int m = 0; m < OUT; m++) {
                    double must = o.y[n * OUT + m];
                    for (int e = 0; e < E; e++)
                        must += w[e] * expert_gives(&o, e, n, m);
                    ck_assert(fabs(value(o.out, n * OUT + m) - must) < 1e-12);
                }
            }
            close_alone(&o);
        }
}
END_TEST

START_TEST(a_high_temperature_is_the_mean)
{
    alone o;

    open_alone(&o);
    run_alone(&o, E, 1e9, false);
    for (int i = 0; i < N * E; i++)
        ck_assert(fabs(value(o.w, i) - 1.0 / E) < 1e-8);
    close_alone(&o);
}
END_TEST

START_TEST(of_equal_logits_the_first_are_taken)
{
    alone o;

    open_alone(&o);
    memset(o.gate, 0, sizeof o.gate);
    run_alone(&o, 2, 1, true);
    for (int n = 0; n < N; n++)
        ck_assert(value(o.w, n * E) == 0.5 && value(o.w, n * E + 1) == 0.5 && value(o.w, n * E + 2) == 0);
    close_alone(&o);
}
END_TEST

/* k = 1: the gate's gradient is exactly 0, and so is that of factors that no row goes through. */
START_TEST(what_is_not_chosen_is_not_touched)
{
    for (int k = 1; k <= 2; k++) {
        alone o;
        open_alone(&o);
        for (int n = 0; n < N; n++)
            o.x[n * IN] = 1;
        memset(o.gate, 0, sizeof o.gate);
        o.gate[0] = 1, o.gate[2 * IN] = -1; /* logits 1, 0 and -1: the third is never chosen */
        run_alone(&o, k, 1, true);
        for (int i = 0; i < E * IN; i++)
            ck_assert(k > 1 || o.d_gate[i] == 0);
        for (int i = 64; i < 96; i++)
            ck_assert(o.d_values[i] == 0);
        double moved = 0;
        for (int i = 0; i < 32; i++)
            moved += fabs(o.d_values[i]);
        ck_assert(moved > 0.1);
        close_alone(&o);
    }
}
END_TEST

/* In f32 a lead of 110 leaves the second exactly 0: bit for bit one LoRA with a weight of 1. */
START_TEST(a_clear_lead_is_one_lora_exactly)
{
    float   x[N * IN], gate[2 * IN] = {0}, y[N * OUT], values[64], scales[2] = {2, 2};
    int32_t table[6] = {R, 0, 1, R, 2, 3};
    const tensor tx = {.s = shape_2(N, IN), .v = x}, tg = {.s = shape_2(2, IN), .v = gate},
                 ty = {.s = shape_2(N, OUT), .v = y}, tv = {.s = shape_1(64), .v = values},
                 ts = {.s = shape_1(2), .v = scales}, tt = {.s = shape_2(2, 3), .type = TYPE_I32, .v = table},
                 ta = {.s = shape_2(R, IN), .v = values + 32}, tb = {.s = shape_2(OUT, R), .v = values + 48};
    arena a;
    tape *t;
    var  *z;

    MUST(arena_open(&a, "lead", (size_t)1 << 24));
    rng_fill_normal(rng_key_for(1, "x"), 0, 1, x, N * IN);
    rng_fill_normal(rng_key_for(1, "y"), 0, 1, y, N * OUT);
    rng_fill_normal(rng_key_for(1, "v"), 0, 1, values, 64);
    for (int n = 0; n < N; n++)
        x[n * IN] = 1;
    gate[IN] = 110;
    MUST(tape_open(&t, TYPE_F32));
    var *in = tape_tensor(t, &tx), *w = ag_top_gate(t, in, tape_tensor(t, &tg), 2, 1, &z);
    var *both = ag_lora_gated(t, tape_tensor(t, &ty), in, tape_tensor(t, &tv), w, tape_input(t, &tt),
                              tape_tensor(t, &ts), R, 2);
    var *one = ag_lora(t, tape_tensor(t, &ty), in, tape_tensor(t, &ta), tape_tensor(t, &tb), 2);
    tape_keep(t, both), tape_keep(t, one), tape_keep(t, w);
    MUST(tape_plan(t, NULL, RECOMPUTE_NONE));
    MUST(tape_bind(t, &a));
    tape_forward(t);
    for (int n = 0; n < N; n++)
        ck_assert(((float *)w->t.v)[2 * n] == 0 && ((float *)w->t.v)[2 * n + 1] == 1);
    ck_assert_mem_eq(both->t.v, one->t.v, sizeof y);
    tape_close(t);
    arena_close(&a);
}
END_TEST

/* ---- the loss ------------------------------------------------------------------------------------------- */

/* Mean losses of one micro-batch: of the language model, and of the gates. */
static void losses(training *g, double *lm, double *gates)
{
    tape_set_run(g->t.t, &g->t.run);
    packer_fill(&g->data, &g->plan, 0, &g->t.f.b);
    feed_load(&g->t.f);
    tape_forward(g->t.t);
    *lm = (double)*(const float *)g->t.loss->t.v / (double)g->plan.n_targets;
    *gates = 0;
    for (int i = 0; i < g->t.terms.n; i++)
        *gates += (double)*(const float *)g->t.terms.v[i].value->t.v / (double)g->plan.n_followed / g->t.terms.n;
}

/* Zero gates lose ln E whatever they sit on, and what B = 0 adds is nothing: the trunk's own loss. */
START_TEST(gates_at_zero_lose_the_logarithm)
{
    training    g, bare;
    step_report r;
    double      lm, gates, own, none;

    memset(&g, 0, sizeof g), memset(&bare, 0, sizeof bare);
    open_three(&g.s, "abc", 2, 50, false);
    for (int i = 0; i < g.s.p->n_tuned; i++)
        if (!strstr(g.s.p->tensors[i].name, "lora_A"))
            memset(g.s.p->tensors[i].value.v, 0, tensor_bytes(&g.s.p->tensors[i].value));
    training_open(&g, SAMPLES, TOKENS, SAMPLES, 3);
    ck_assert_int_eq(g.t.terms.n, 21);
    losses(&g, &lm, &gates);
    ck_assert_msg(fabs(gates - log(3)) < 1e-6, "gates lose %.9g, must be ln 3", gates);
    small_open(&bare.s, 5);
    add_lora(&bare.s, "a", "q_proj", 1, 1, true); /* begins at zero */
    MUST(peft_allocate(bare.s.p, &bare.s.tuned));
    training_open(&bare, SAMPLES, TOKENS, SAMPLES, 1);
    losses(&bare, &own, &none);
    ck_assert_msg(fabs(own - lm) < 1e-6 * own, "the loss is %.9g, the trunk's is %.9g", lm, own);
    ck_assert(none == 0);
    MUST(trainer_step(&g.t, &g.data, 0, &r)); /* the same samples again */
    ck_assert_msg(fabs(r.loss - (lm + 50 * log(3))) < 1e-5 * r.loss, "%.9g in all, must be %.9g", r.loss,
                  lm + 50 * log(3));
    training_close(&g), training_close(&bare);
}
END_TEST

/* d/dz of the gates' loss is (softmax - onehot) in all rows but a sequence's last. */
START_TEST(gate_loss_is_cross_entropy_of_followed_rows)
{
    static const int32_t offsets[] = {0, 2, 2, N}, tasks[] = {2, 0, 1};
    double               z[N * E], d[N * E] = {0}, must = 0;
    const tensor         tz = {.s = shape_2(N, E), .type = TYPE_F64, .v = z};
    tensor               dz = {.s = shape_2(N, E), .type = TYPE_F64, .v = d};
    const tensor         to = {.s = shape_1(4), .type = TYPE_I32, .v = (void *)(uintptr_t)offsets},
                         tt = {.s = shape_1(3), .type = TYPE_I32, .v = (void *)(uintptr_t)tasks};
    arena a;
    tape *t;

    MUST(arena_open(&a, "gates", (size_t)1 << 24));
    fill(z, N * E, 7);
    MUST(tape_open(&t, TYPE_F64));
    var *loss = ag_gate_loss(t, tape_param(t, &tz, &dz), tape_input(t, &tt), tape_input(t, &to));
    tape_keep(t, loss);
    MUST(tape_plan(t, loss, RECOMPUTE_NONE));
    MUST(tape_bind(t, &a));
    tape_forward(t);
    tape_backward(t);
    for (int n = 0; n < N; n++) {
        const int task = n < 2 ? 2 : 1;
        double    sum = 0;
        for (int e = 0; e < E; e++)
            sum += exp(z[n * E + e]);
        must += n == 1 || n == N - 1 ? 0 : log(sum) - z[n * E + task];
        for (int e = 0; e < E; e++) {
            const double is = n == 1 || n == N - 1 ? 0 : exp(z[n * E + e]) / sum - (e == task);
            ck_assert(fabs(d[n * E + e] - is) < 1e-14);
        }
    }
    ck_assert(fabs(value(loss, 0) - must) < 1e-13);
    tape_close(t);
    arena_close(&a);
}
END_TEST

/* Adapters, rows of the gates and tasks in another order: the same outputs and losses. */
START_TEST(another_order_of_all_is_the_same)
{
    static const char *const orders[] = {"abc", "cab"};
    double                   lm[2], gates[2];
    float                    row[3][80];

    for (int i = 0; i < 2; i++) {
        training g;
        memset(&g, 0, sizeof g);
        open_three(&g.s, orders[i], 2, 50, false);
        for (int k = 0; k < g.s.p->n_tuned && i == 1; k++) { /* rows of c, a, b */
            tuned  *x = &g.s.p->tensors[k];
            float  *v = x->value.v;
            int64_t in = shape_last(x->value.s);
            if (g.s.p->modules[x->module].n_over == 0)
                continue;
            for (int e = 0; e < 3; e++)
                memcpy(row[e], v + e * in, (size_t)in * sizeof *v);
            for (int e = 0; e < 3; e++)
                memcpy(v + e * in, row[(e + 2) % 3], (size_t)in * sizeof *v);
        }
        training_open(&g, SAMPLES, TOKENS, SAMPLES, 3);
        for (int k = 0; k < SAMPLES && i == 1; k++)
            g.x.v[k].task = (g.x.v[k].task + 1) % 3;
        losses(&g, &lm[i], &gates[i]);
        training_close(&g);
    }
    ck_assert_msg(fabs(lm[0] - lm[1]) < 1e-5 && fabs(gates[0] - gates[1]) < 1e-5, "%.9g and %.9g, %.9g and %.9g",
                  lm[0], lm[1], gates[0], gates[1]);
}
END_TEST

/* Two micro-batches of unequal sizes give the loss and the gradient of one. */
START_TEST(terms_are_means_over_the_step)
{
    double      loss[2], norm[2];

    for (int i = 0; i < 2; i++) {
        training    g;
        step_report r;
        memset(&g, 0, sizeof g);
        open_three(&g.s, "abc", 2, 5, true);
        training_open(&g, SAMPLES, TOKENS, i == 0 ? SAMPLES : 3, 3);
        ck_assert_int_eq(g.plan.n_leaves, i + 1);
        MUST(trainer_step(&g.t, &g.data, 0, &r));
        loss[i] = r.loss, norm[i] = r.grad_norm;
        training_close(&g);
    }
    ck_assert_msg(fabs(loss[0] - loss[1]) < 1e-5 * loss[0] && fabs(norm[0] - norm[1]) < 1e-4 * norm[0],
                  "loss %.9g and %.9g, norm %.9g and %.9g", loss[0], loss[1], norm[0], norm[1]);
}
END_TEST

/* The card's counts: of gates over Llama-3-8B's and Llama-2-13B's seven linears. */
START_TEST(gates_are_counted)
{
    static const struct {
        int64_t width, inner, layers, must;
    } trunks[] = {{4096, 14336, 32, 34865152}, {5120, 13824, 40, 49889280}};
    const peft_method *meteora = peft_find_router("meteora");
    small              s;

    small_open(&s, 1);
    for (size_t i = 0; i < COUNT_OF(trunks); i++) {
        const site wide = {.in = trunks[i].width}, inner = {.in = trunks[i].inner};
        router_options *o = small_options(&s, meteora, NULL, NULL);
        o->n = 28;
        const int64_t block = 6 * meteora->count(&wide, o) + meteora->count(&inner, o);
        ck_assert_int_eq(block * trunks[i].layers, trunks[i].must);
    }
    small_close(&s);
}
END_TEST

/* ---- other routers ----------------------------------------------------------------------------------------- */

/* Modules a and b under this router, or one of them alone. */
static trace_result two(small *s, const char *router, const char *alone)
{
    static const char *const as[] = {"a", "b", ""};

    small_open(s, 5);
    for (int i = 0; i < 2; i++)
        if (!alone || strcmp(as[i], alone) == 0)
            add_lora(s, as[i], "all-linear", 2 + i, 2, true);
    if (router)
        MUST(route(s, router, 1, 1, 1));
    MUST(peft_allocate(s->p, &s->tuned));
    stir(s, alone ? &alone : as, 1);
    return logits(s);
}

/* Each sequence has the numbers of its task's module alone: the first is of task 0, the second of task 1; and those
 * bits do not depend on what the other module holds. */
START_TEST(a_task_has_its_own_module)
{
    small        both, a, b;
    trace_result x = two(&both, "task", NULL), of_a = two(&a, NULL, "a"), of_b = two(&b, NULL, "b");
    trace_result first = {.items = x.items, .n = 1}, second = {.items = x.items + 1, .n = 1};

    of_a.n = 1;
    of_b.items++, of_b.n = 1;
    ck_assert_msg(apart(&first, &of_a) < 1e-4 && apart(&second, &of_b) < 1e-4, "off by %g and %g",
                  apart(&first, &of_a), apart(&second, &of_b));
    for (int i = 0; i < both.p->n_tuned; i++)
        if (both.p->tensors[i].module == 1)
            memset(both.p->tensors[i].value.v, 0, tensor_bytes(&both.p->tensors[i].value));
    x = logits(&both);
    trace_result again = {.items = x.items, .n = 1}, other = {.items = x.items + 1, .n = 1};
    ck_assert(apart(&first, &again) == 0 && apart(&second, &other) > 0.01);
    small_close(&both), small_close(&a), small_close(&b);
}
END_TEST

/* The mean of two changes of the weights, and merged it is the same. */
START_TEST(mean_is_half_of_each)
{
    small              s;
    const trace_result x = two(&s, "mean", NULL);
    const site        *q = s.p->modules[2].at[0];
    const int64_t      n = q->out * q->in;
    float             *w = arena_take(&s.memory, (size_t)n, sizeof *w);
    float             *b = arena_take(&s.memory, (size_t)q->out, sizeof *b);

    ck_assert_int_gt(x.n, 0);
    memcpy(w, q->weight->value.v, (size_t)n * sizeof *w);
    memcpy(b, q->bias->value.v, (size_t)q->out * sizeof *b);
    MUST(peft_merged(s.p, q, w, b));
    for (int64_t o = 0; o < q->out; o++)
        for (int64_t i = 0; i < q->in; i++) {
            double must = (double)((const float *)q->weight->value.v)[o * q->in + i];
            for (int k = 0; k < 4; k += 2) {
                const tuned *A = NULL, *B = NULL;
                for (int t = 0; t < s.p->n_tuned; t++)
                    if (s.p->tensors[t].module == k / 2 && strstr(s.p->tensors[t].name, q->checkpoint)) {
                        if (strstr(s.p->tensors[t].name, "lora_A"))
                            A = &s.p->tensors[t];
                        else
                            B = &s.p->tensors[t];
                    }
                const int64_t rank = A->value.s.d[0];
                for (int64_t r = 0; r < rank; r++)
                    must += (double)((const float *)A->value.v)[r * q->in + i] *
                            (double)((const float *)B->value.v)[o * rank + r];
            }
            ck_assert(fabs(w[o * q->in + i] - must) < 1e-5);
        }
    small_close(&s);
}
END_TEST

START_TEST(a_gate_cannot_be_merged)
{
    small s;

    open_three(&s, "abc", 2, 50, false);
    MUST_FAIL(peft_merged(s.p, s.p->modules[3].at[0], NULL, NULL), "meteora cannot be merged");
    small_close(&s);
}
END_TEST

START_TEST(off_means_off)
{
    small bare, s;

    small_open(&bare, 5);
    open_three(&s, "abc", 2, 50, false);
    const trace_result x = logits(&bare), on = logits(&s);
    peft_detach(s.p);
    const trace_result y = logits(&s);
    peft_attach_again(s.p);
    const trace_result again = logits(&s);
    ck_assert(apart(&x, &y) == 0 && apart(&on, &again) == 0 && apart(&x, &on) > 0.01);
    small_close(&bare), small_close(&s);
}
END_TEST

/* ---- refusals and files --------------------------------------------------------------------------------------- */

static status with_lora_key(const char *name, double v)
{
    const peft_method *lora = peft_find("lora");
    const char        *all = "all-linear";
    small              s;

    small_open(&s, 5);
    add_lora(&s, "a", "q_proj", 2, 1, false);
    MUST(peft_add(s.p, "b", lora, small_options(&s, lora, (const char *[]){name, NULL}, &v), &all, 1, false));
    const status done = route(&s, "meteora", 2, 1, 1);
    small_close(&s);
    return done;
}

START_TEST(what_cannot_be_gated_is_refused)
{
    small s;

    MUST_FAIL(with_lora_key("dora", 1), "in module b, block.0.attn.q");
    ck_assert_ptr_nonnull(strstr(status_text(), "is with dora, must be its two factors alone"));
    MUST_FAIL(with_lora_key("lora_bias", 1), "is with lora_bias");
    MUST_FAIL(with_lora_key("bias", 2), "holds base_model.model.model.layers.0.self_attn.q_proj.base_layer.bias in");
    small_open(&s, 5);
    add_lora(&s, "a", "q_proj", 2, 1, false);
    MUST_FAIL(route(&s, "meteora", 2, 1, 1), "top_k is 2, must be 1..1");
    small_close(&s);
    small_open(&s, 5);
    add_lora(&s, "a", "embed_tokens", 2, 1, false);
    MUST_FAIL(route(&s, "meteora", 1, 1, 1), "module a sits on model.embed_tokens");
    small_close(&s);
    small_open(&s, 5);
    const char        *all = "all-linear";
    const peft_method *ia3 = peft_find("ia3");
    MUST(peft_add(s.p, "x", ia3, small_options(&s, ia3, NULL, NULL), &all, 1, false));
    MUST_FAIL(route(&s, "meteora", 1, 1, 1), "module x is of the method ia3, must be lora");
    const char *const twice[] = {"x", "x"}, *const none[] = {"y"};
    const peft_method *mean = peft_find_router("mean");
    MUST_FAIL(peft_route(s.p, "r", mean, NULL, twice, 2), "module 'x' is listed twice");
    MUST_FAIL(peft_route(s.p, "r", mean, NULL, none, 1), "there is no module 'y'");
    small_close(&s);
}
END_TEST

/* All modules of a run's folder, saved. */
static void save_all(small *s, const char *folder)
{
    const adapter_info info = {.base = "small"};
    char               below[400];

    for (int i = 0; i < s->p->n_modules; i++) {
        MUST(adapter_folder(s->p, i, folder, below, sizeof below));
        MUST(folder_make(below));
        MUST(adapter_save(s->p, i, below, &info));
    }
}

static void load_all(small *s, const char *folder)
{
    small_open(s, 5);
    MUST(router_add(s->p, folder));
    MUST(peft_allocate(s->p, &s->tuned));
    for (int i = 0; i < s->p->n_modules; i++)
        MUST(adapter_load(s->p, i, s->p->modules[i].folder, NULL));
}

START_TEST(a_folder_has_gates_and_adapters)
{
    static const char *const routers[] = {"meteora", "task", "mean"};
    char                     folder[64];

    for (size_t i = 0; i < COUNT_OF(routers); i++) {
        small s, t;
        bool  is;
        small_open(&s, 5);
        add_lora(&s, "a", "all-linear", 2, 2, false);
        add_lora(&s, "b", "block.*.mlp.*", 3, 0.5, false);
        MUST(route(&s, routers[i], 2, 1, 1));
        MUST(peft_allocate(s.p, &s.tuned));
        stir(&s, (const char *[]){"a", "b", ""}, 0.5);
        test_folder(folder);
        save_all(&s, folder);
        MUST(router_is_folder(&s.memory, folder, &is));
        ck_assert(is);
        load_all(&t, folder);
        const trace_result x = logits(&s), y = logits(&t);
        ck_assert(apart(&x, &y) == 0);
        small_close(&s), small_close(&t);
    }
}
END_TEST

/* The order is part of the gates, and so is what the adapters hold. */
START_TEST(other_adapters_are_refused)
{
    char  folder[64], a[100], b[100];
    small s, t;

    open_three(&s, "abc", 2, 50, false);
    test_folder(folder);
    save_all(&s, folder);
    open_three(&t, "bac", 2, 50, false);
    MUST_FAIL(adapter_load(t.p, 3, folder, NULL), "adapter 0 is a, must be b");
    small_close(&t);
    load_all(&t, folder);
    snprintf(a, sizeof a, "%s/a", folder), snprintf(b, sizeof b, "%s/b", folder);
    ((float *)s.p->tensors[0].value.v)[0] += 1;
    MUST(adapter_save(s.p, 0, a, &(adapter_info){.base = "small"}));
    MUST_FAIL(adapter_load(t.p, 3, folder, NULL), "is not the one that the gates were trained for");
    small_close(&s), small_close(&t);
}
END_TEST

TESTS(meteora, one_adapter_is_that_lora_bit_for_bit, both_forms_agree, equal_adapters_need_no_gate,
      rows_are_what_the_loop_says, a_high_temperature_is_the_mean, of_equal_logits_the_first_are_taken,
      what_is_not_chosen_is_not_touched, a_clear_lead_is_one_lora_exactly, gates_at_zero_lose_the_logarithm,
      gate_loss_is_cross_entropy_of_followed_rows, another_order_of_all_is_the_same, terms_are_means_over_the_step,
      gates_are_counted, a_task_has_its_own_module, mean_is_half_of_each, a_gate_cannot_be_merged, off_means_off,
      what_cannot_be_gated_is_refused, a_folder_has_gates_and_adapters, other_adapters_are_refused)
