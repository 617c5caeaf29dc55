/* lae: identities of Learning, Accumulation, Ensemble (Gao et al. 2023): its three modules on a small ViT, the local
 * loss, freezing, and the two experts */
#include "tests/helpers.h"
#include "tests/with_adamw.h"
#include "tests/with_trunk.h"

#include "recipes/experts.h"

#include <math.h>

enum { CLASSES = 6, TASK = 2, SAMPLES = 12, PATCHES = 4, PATCH = 3 * 4 * 4, ROWS = 1 + PATCHES };

static const char vit[] =
    "{\"model_type\": \"vit\", \"architectures\": [\"ViTForImageClassification\"], \"num_labels\": 6, "
    "\"hidden_size\": 24, \"num_hidden_layers\": 3, \"num_attention_heads\": 4, \"intermediate_size\": 32, "
    "\"image_size\": 8, \"patch_size\": 4, \"num_channels\": 3, \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-6, "
    "\"initializer_range\": 0.3}";

typedef struct kind {
    const char *method, *at[2], *options[5];
    double      values[4];
} kind;

static const kind kinds[] = {
    {"bottleneck", {"re:.*layer\\.[01]\\.attention"}, {"size", "act", "place", "learned", "bias"}, {5, 2, 1, 1}},
    {"lora", {"re:.*layer\\.[01]\\..*(key|value)"}, {"rank", "alpha", "learned"}, {3, 3, 1}},
    {"prefix", {"block.0.kv", "block.1.kv"}, {"tokens", "compensate", "learned", "init"}, {4, 1, 1, 1}},
};
enum { ADAPTER, LORA, PREFIX, KINDS };

static void add_kind(small *s, int k)
{
    static const char *const head[] = {"classifier"};
    const char *names[6] = {NULL};
    double      values[6] = {0};
    const kind *x = &kinds[k];

    for (int i = 0; i < 5 && x->options[i]; i++) {
        names[i] = x->options[i];
        values[i] = i < 4 ? x->values[i] : 1;
    }
    const peft_method *m = peft_find(x->method);
    MUST(peft_add(s->p, "main", m, small_options(s, m, names, values), x->at, x->at[1] ? 2 : 1, true));
    MUST(peft_tune_whole(s->p, 0, head, 1, false));
    MUST(peft_allocate(s->p, &s->tuned));
}

/* ---- a run -------------------------------------------------------------------------------------------------- */

typedef struct lae {
    small         s;
    session       side; /* its setup arena alone */
    goal          g;
    examples      x;
    packer        data;
    trainer       t;
    experts       e;
    adamw_options adamw;
    const optimizer *kind;
    double        keep;
    int           steps; /* of the task */
} lae;

static void open_samples(lae *l)
{
    float *v = arena_take(&l->s.memory, SAMPLES * PATCHES * PATCH, sizeof *v);

    rng_fill_uniform(rng_key_for(4, "pixels"), 0, 0, 1, v, SAMPLES * PATCHES * PATCH);
    l->x = (examples){.n = SAMPLES, .n_tokens = SAMPLES * ROWS, .n_targets = SAMPLES, .longest = ROWS, .patch = PATCH,
                      .place = TARGET_SEQUENCE};
    l->x.v = arena_take(&l->s.memory, SAMPLES, sizeof *l->x.v);
    for (int32_t i = 0; i < SAMPLES; i++)
        l->x.v[i] = (example){.n = ROWS, .patches = v + i * PATCHES * PATCH, .label = -1, .batch = -1};
}

/* The samples are of the classes of a task, in turns. */
static void label_samples(lae *l, int task)
{
    const pack_options packing = {.pack = 4 * ROWS, .batch_samples = 4};

    for (int32_t i = 0; i < SAMPLES; i++)
        l->x.v[i].label = task * TASK + i % TASK;
    MUST(packer_open(&l->s.memory, &l->x, &packing, &l->data));
}

/* A task begins: another trainer, of `frozen` first steps; the slow copy is as before. */
static void open_task(lae *l, int task, int frozen)
{
    const experts   before = l->e;
    trainer_options o = {.schedule = {.schedule = "constant"}, .steps = 1000, .optimizer_options = &l->adamw,
                         .optimizer = l->kind, .goal = &l->g, .freeze_steps = frozen};

    trainer_close(&l->t);
    label_samples(l, task);
    MUST(goal_choose_classes(&l->g, task * TASK, (task + 1) * TASK));
    o.pack = l->data.capacity;
    o.seqs = l->data.seqs_capacity;
    o.leaves = l->data.leaves_capacity;
    MUST(trainer_open(&l->t, &l->s.memory, &l->s.tuned, &l->s.m, l->s.p, &o, false));
    MUST(experts_open(&l->e, &l->s.tuned, &l->t, l->keep));
    l->e.there = before.there;
    for (int i = 0; i < before.n; i++)
        memcpy(l->e.slow[i].v, before.slow[i].v, (size_t)before.slow[i].n * sizeof(float));
    l->steps = 0;
}

static void open_lae(lae *l, int k, double keep, double decay)
{
    memset(l, 0, sizeof *l);
    l->keep = keep;
    small_open_as(&l->s, vit, 11);
    add_kind(&l->s, k);
    MUST(arena_open(&l->side.setup, "setup", 1 << 20));
    l->g = (goal){.s = &l->side, .predicts = METRIC_CLASSES, .head = {.given = true, .classes = CLASSES}};
    for (int i = 0; objective_at(i); i++)
        if (strcmp(objective_at(i)->name, "classify") == 0)
            l->g.o = objective_at(i);
    l->g.options = arena_take(&l->s.memory, 1, l->g.o->keys.size);
    memset((void *)(uintptr_t)l->g.options, 0, l->g.o->keys.size);
    open_samples(l);
    MUST(adamw_set(&l->adamw, 0.02, 1e-8, decay, &l->kind));
    open_task(l, 0, 0);
}

static void close_lae(lae *l)
{
    trainer_close(&l->t);
    arena_close(&l->side.setup);
    small_close(&l->s);
}

static void step(lae *l, int n)
{
    step_report r;

    for (int i = 0; i < n; i++) {
        MUST(trainer_step(&l->t, &l->data, l->steps++, &r));
        ck_assert_int_eq(r.targets, 4);
    }
    MUST(peft_pull(l->s.p));
}

static float *copy_of(lae *l, const void *v, int64_t n)
{
    MUST(peft_pull(l->s.p));
    return arena_copy(&l->s.memory, v, (size_t)n * sizeof(float));
}

/* What stands in the place of the head's weight. */
static const tuned *head_of(const lae *l)
{
    for (int i = 0; i < l->s.p->n_tuned; i++)
        if (l->s.p->tensors[i].place == l->s.m.head.out->weight)
            return &l->s.p->tensors[i];
    ck_abort_msg("no head");
}

/* Scores of all samples, [SAMPLES, CLASSES]. */
static float *scores(lae *l, status (*forward)(trainer *x, double *loss))
{
    float    *out = arena_take(&l->s.memory, SAMPLES * CLASSES, sizeof *out);
    packer    once;
    pack_step plan;
    int       n = 0;

    MUST(packer_open_once(&l->s.memory, &l->x, l->t.o.pack, 0, &once));
    l->t.run.training = false;
    for (packer_step(&once, &plan); plan.n_leaves > 0; packer_step(&once, &plan)) {
        double loss;
        packer_fill(&once, &plan, 0, &l->t.f.b);
        MUST(forward(&l->t, &loss));
        for (int i = 0; i < l->t.f.b.n_targets * CLASSES; i++)
            out[n++] = ((const float *)l->t.out.scores->t.v)[i];
    }
    ck_assert_int_eq(n, SAMPLES * CLASSES);
    return out;
}

/* ---- modules ------------------------------------------------------------------------------------------------- */

/* Fresh adapters and LoRAs change no bit; a prefix adds a whole attention. */
START_TEST(a_start_is_the_trunk_but_for_the_prefix)
{
    for (int k = 0; k < KINDS; k++) {
        lae l;
        open_lae(&l, k, 0.9, 0);
        open_task(&l, 2, 0);
        const float *with = scores(&l, trainer_forward);
        for (int i = 0; i < l.s.p->n_tuned; i++) { /* off: factors are 0, for a prefix its values too */
            const tuned *u = &l.s.p->tensors[i];
            for (int64_t c = 0; experts_have(l.s.p, u) && c < shape_count(u->value.s); c++)
                ((float *)u->value.v)[c] = 0;
        }
        MUST(peft_push(l.s.p));
        const float *without = scores(&l, trainer_forward);
        int          differ = 0;
        for (int i = 0; i < SAMPLES * CLASSES; i++)
            differ += with[i] != without[i];
        ck_assert_msg((differ > 0) == (k == PREFIX), "%s: %d scores differ", kinds[k].method, differ);
        close_lae(&l);
    }
}
END_TEST

/* ViT-B/16: five blocks of width 768. */
START_TEST(counts_are_those_of_the_paper)
{
    static const char *const names[KINDS][6] = {{"size", "learned", "bias"}, {"rank", "learned"},
                                                {"tokens", "learned", "compensate"}};
    static const double      values[KINDS][3] = {{5, 1, 1}, {5, 1}, {10, 1, 1}};
    static const int64_t     counts[KINDS] = {8454, 15362 / 2, 15362}; /* lora: of k, and of v */
    const site               at = {.kind = SITE_LINEAR, .checkpoint = "x", .in = 768, .out = 768};
    small                    s;

    small_open(&s, 1);
    for (int k = 0; k < KINDS; k++) {
        const peft_method *m = peft_find(kinds[k].method);
        ck_assert_int_eq(m->count(&at, small_options(&s, m, names[k], values[k])), counts[k]);
    }
    small_close(&s);
}
END_TEST

static const tensor *tuned_of(const small *s, const char *end)
{
    for (int i = 0; i < s->p->n_tuned; i++) {
        const char  *name = s->p->tensors[i].name;
        const size_t n = strlen(name), m = strlen(end);
        if (n >= m && strcmp(name + n - m, end) == 0)
            return &s->p->tensors[i].value;
    }
    ck_abort_msg("no %s", end);
}

/* Merged is W + s B A at k and v; q stays. Sums of 3 products of about 0.2 * 0.2 * 1: roundings of 2^-24 of them. */
START_TEST(a_merged_lora_has_its_factor)
{
    small  s;
    float *w;

    small_open_as(&s, vit, 11);
    add_kind(&s, LORA);
    small_stir(&s, 5);
    const float *A = tuned_of(&s, "0.attention.attention.key.lora_A.weight")->v;
    const float *B = tuned_of(&s, "0.attention.attention.key.lora_B.weight")->v;
    const double factor = (double)*(const float *)tuned_of(&s, "0.attention.attention.key.lora_scale")->v;
    for (int i = 0; i < s.m.n_sites; i++) {
        const site *at = &s.m.sites[i];
        if (strcmp(at->name, "block.0.attn.q") != 0 && strcmp(at->name, "block.0.attn.k") != 0)
            continue;
        const float *base = at->weight->value.v;
        w = arena_copy(&s.memory, base, 24 * 24 * sizeof *w);
        MUST(peft_merged(s.p, at, w, NULL));
        for (int o = 0; o < 24; o++)
            for (int in = 0; in < 24; in++) {
                double want = (double)base[o * 24 + in];
                for (int r = 0; r < 3 && at->name[strlen(at->name) - 1] == 'k'; r++)
                    want += factor * (double)B[o * 3 + r] * (double)A[r * 24 + in];
                ck_assert_msg(fabs((double)w[o * 24 + in] - want) < 1e-6, "%s [%d, %d]", at->name, o, in);
            }
    }
    small_close(&s);
}
END_TEST

START_TEST(options_that_do_not_go_together_are_refused)
{
    static const char *const projected[] = {"projection", "compensate", NULL}, *const uniform[] = {"init", NULL},
                             *const dora[] = {"learned", "dora", NULL};
    static const double      ones[] = {1, 1};
    const char              *kv = "self_attn", *q = "q_proj";
    const peft_method       *prefix = peft_find("prefix"), *lora = peft_find("lora");
    small                    s;

    small_open(&s, 1);
    MUST_FAIL(peft_add(s.p, "a", prefix, small_options(&s, prefix, projected, ones), &kv, 1, true),
              "projection goes neither with compensate nor with learned");
    MUST_FAIL(peft_add(s.p, "b", prefix, small_options(&s, prefix, uniform, ones), &kv, 1, true),
              "init uniform is for compensate and learned");
    MUST_FAIL(peft_add(s.p, "c", lora, small_options(&s, lora, dora, ones), &q, 1, true), "learned goes with none of");
    small_close(&s);
}
END_TEST

/* ---- attention that is added ------------------------------------------------------------------------------- */

enum { QUERIES = 5, KEYS = 7, FRONT = 3, WIDTH = 8, HEADS = 2 };

typedef struct added {
    arena  a;
    tensor in[5]; /* q, k, v, and keys and values in front; f64 */
    tensor out;
} added;

static void fill(added *x, int i, int rows, double scale)
{
    double *v = arena_take(&x->a, (size_t)rows * WIDTH, sizeof *v);
    float   f[KEYS * WIDTH];

    rng_fill_normal(rng_key_for((uint64_t)i, "added"), 0, 1, f, rows * WIDTH);
    for (int k = 0; k < rows * WIDTH; k++)
        v[k] = scale * (double)f[k];
    x->in[i] = (tensor){.s = shape_2(rows, WIDTH), .type = TYPE_F64, .v = v};
}

static void run_added(added *x)
{
    static int32_t          q_ends[] = {0, QUERIES}, k_ends[] = {0, KEYS}, f_ends[] = {0, FRONT};
    const attention_options o = {.heads = HEADS, .kv_heads = HEADS, .scale = 0.5};
    tensor                  ends[3];
    int32_t                *v[] = {q_ends, k_ends, f_ends};
    tape                   *t;
    arena                   step;
    var                    *in[5], *lse[2];

    MUST(tape_open(&t, TYPE_F64));
    for (int i = 0; i < 5; i++)
        in[i] = tape_tensor(t, &x->in[i]);
    for (int i = 0; i < 3; i++)
        ends[i] = (tensor){.s = shape_1(2), .type = TYPE_I32, .v = v[i]};
    var *q_at = tape_input(t, &ends[0]);
    var *y = ag_attention(t, in[0], in[1], in[2], q_at, tape_input(t, &ends[1]), NULL, NULL, &o, &lse[0]);
    var *z = ag_attention(t, in[0], in[3], in[4], q_at, tape_input(t, &ends[2]), NULL, NULL, &o, &lse[1]);
    y = ag_attention_add(t, y, lse[0], z, lse[1], NULL);
    tape_keep(t, y);
    MUST(tape_plan(t, NULL, RECOMPUTE_NONE));
    MUST(arena_open(&step, "step", tape_step_bytes(t) + 4096));
    MUST(tape_bind(t, &step));
    tape_forward(t);
    x->out = (tensor){.s = y->t.s, .type = TYPE_F64, .v = arena_copy(&x->a, y->t.v, tensor_bytes(&y->t))};
    tape_close(t);
    arena_close(&step);
}

/* softmax over all keys, then the front's weights divided by max(their sum, 1e-12); *sum: of the front before. */
static double weight_of(const added *x, int q, int head, int key, double *sum)
{
    const int D = WIDTH / HEADS;
    double    e[FRONT + KEYS], all = 0, most = -INFINITY;

    for (int i = 0; i < FRONT + KEYS; i++) {
        const double *k = i < FRONT ? (const double *)x->in[3].v + i * WIDTH
                                    : (const double *)x->in[1].v + (i - FRONT) * WIDTH;
        e[i] = 0;
        for (int d = head * D; d < (head + 1) * D; d++)
            e[i] += 0.5 * ((const double *)x->in[0].v)[q * WIDTH + d] * k[d];
        most = fmax(most, e[i]);
    }
    *sum = 0;
    for (int i = 0; i < FRONT + KEYS; i++)
        all += e[i] = exp(e[i] - most);
    for (int i = 0; i < FRONT; i++)
        *sum += e[i] / all;
    return key < FRONT ? e[key] / all / fmax(*sum, 1e-12) : e[key] / all;
}

/* In f64; with keys so far apart that their share is below 1e-12, too. 1e-12: ten keys' roundings of 1e-16, times 1e2
 * for exponents of that size. */
START_TEST(the_front_is_added_as_a_whole)
{
    for (int far = 0; far < 2; far++) {
        const int D = WIDTH / HEADS;
        double    least = 1, most = 0;
        added     x = {0};
        MUST(arena_open(&x.a, "added", 1 << 20));
        fill(&x, 0, QUERIES, far ? 8 : 1);
        fill(&x, 1, KEYS, far ? 8 : 1);
        fill(&x, 2, KEYS, 1);
        fill(&x, 3, FRONT, far ? 2 : 1);
        fill(&x, 4, FRONT, 1);
        run_added(&x);
        for (int q = 0; q < QUERIES; q++)
            for (int c = 0; c < WIDTH; c++) {
                double y = 0, sum = 0, row = 0, front = 0;
                for (int k = 0; k < FRONT + KEYS; k++) {
                    const double w = weight_of(&x, q, c / D, k, &sum);
                    row += w;
                    front += k < FRONT ? w : 0;
                    y += w * (k < FRONT ? ((const double *)x.in[4].v)[k * WIDTH + c]
                                        : ((const double *)x.in[2].v)[(k - FRONT) * WIDTH + c]);
                }
                if (sum >= 1e-12) {
                    ck_assert_double_eq_tol(front, 1, 1e-12);
                    ck_assert_double_eq_tol(row, 2 - sum, 1e-12);
                }
                least = fmin(least, sum);
                most = fmax(most, sum);
                ck_assert_double_eq_tol(((const double *)x.out.v)[q * WIDTH + c], y, 1e-12);
            }
        ck_assert_msg(far == (least < 1e-12) && most > 1e-12, "shares are %g .. %g", least, most);
        arena_close(&x.a);
    }
}
END_TEST

/* ---- loss ---------------------------------------------------------------------------------------------------- */

/* Of the scores that the window leaves, and its gradient: softmax minus target there, 0 elsewhere. */
START_TEST(the_local_loss_is_that_of_its_classes)
{
    lae       l;
    pack_step plan;
    double    loss, sum = 0, rows[CLASSES] = {0};

    open_lae(&l, ADAPTER, 0.9, 0);
    open_task(&l, 1, 0);
    packer_step(&l.data, &plan);
    packer_fill(&l.data, &plan, 0, &l.t.f.b);
    l.t.run.training = true;
    leaf_sum_start(&l.t.sum);
    float *g = leaf_sum_begin(&l.t.sum);
    peft_use_gradients(l.s.p, g);
    MUST(trainer_forward(&l.t, &loss));
    tape_backward(l.t.t);
    tensor all = {.s = shape_1(l.s.p->size), .type = TYPE_F32, .v = g};
    if (device_current())
        device_pull(device_current(), &all);
    const float *z = l.t.out.scores->t.v;
    for (int i = 0; i < l.t.f.b.n_targets; i++, z += CLASSES) {
        const double e2 = exp((double)z[2]), e3 = exp((double)z[3]);
        const int    y = l.t.f.b.target_ids[i];
        ck_assert(isinf(z[1]) && isinf(z[4]) && z[1] < 0);
        sum += log(e2 + e3) - (double)z[y];
        rows[2] += e2 / (e2 + e3) - (y == 2);
        rows[3] += e3 / (e2 + e3) - (y == 3);
    }
    ck_assert_double_eq_tol(loss, sum, 1e-5);
    for (int i = 0; i < l.s.p->n_tuned; i++) {
        const tuned *u = &l.s.p->tensors[i];
        for (int c = 0; u->place == l.s.m.head.out->bias && c < CLASSES; c++) {
            const double is = (double)g[u->first + c];
            ck_assert_msg(fabs(is - rows[c]) < 1e-5 && (rows[c] != 0 || is == 0), "class %d: %g, must be %g", c, is,
                          rows[c]);
        }
    }
    close_lae(&l);
}
END_TEST

/* ---- a task -------------------------------------------------------------------------------------------------- */

/* Frozen: nothing but the task's classes moves, whatever weight decay; thawed: the module's first step is its step 1. */
START_TEST(a_frozen_module_stays_and_its_steps_begin_at_one)
{
    for (int k = 0; k < KINDS; k++) {
        lae l;
        open_lae(&l, k, 0.9, 0.1);
        step(&l, 3);
        open_task(&l, 1, 4);
        MUST(experts_begin(&l.e));
        const tuned *head = head_of(&l);
        const float *before = copy_of(&l, l.s.p->values, l.s.p->size);
        const float *trunk = copy_of(&l, l.s.m.sites[2].weight->value.v, 24 * 24);
        step(&l, 4);
        for (int i = 0; i < l.s.p->n_tuned; i++) {
            const tuned  *u = &l.s.p->tensors[i];
            const int64_t n = shape_count(u->value.s), row = n / u->value.s.d[0];
            int           moved = 0;
            for (int64_t c = 0; c < n; c++) {
                const bool differs = ((const float *)u->value.v)[c] != before[u->first + c];
                ck_assert_msg(!differs || (u->place && c / row >= TASK && c / row < 2 * TASK), "%s moved", u->name);
                moved += differs;
            }
            ck_assert_msg(!u->place || moved > 0, "%s stands still", u->name);
        }
        step(&l, 2);
        ck_assert_int_eq(l.t.n_spans, l.s.p->n_tuned);
        for (int i = 0; i < l.t.n_spans; i++)
            ck_assert_int_eq(l.t.opt.steps[i], experts_have(l.s.p, &l.s.p->tensors[i]) ? 2 : 6);
        ck_assert_mem_eq(head->value.v, before + head->first, TASK * 24 * sizeof(float));
        ck_assert_mem_eq(l.s.m.sites[2].weight->value.v, trunk, 24 * 24 * sizeof(float));
        close_lae(&l);
    }
}
END_TEST

/* ---- experts ------------------------------------------------------------------------------------------------- */

/* e_n = p + beta^n (e_0 - p): 416 and 1040 steps of beta 0.9999; each rounds by 2^-24 of a value below 1. */
START_TEST(the_slow_copy_follows)
{
    static const struct {
        int    steps;
        double left;
    } told[] = {{416, 0.95925}, {1040, 0.90122}};
    lae l;

    open_lae(&l, ADAPTER, 0.9999, 0);
    MUST(experts_begin(&l.e));
    const float *start = copy_of(&l, l.s.p->values, l.s.p->size);
    small_stir(&l.s, 8);
    MUST(peft_push(l.s.p));
    for (int i = 0, n = 0; i < 2; i++) {
        for (; n < told[i].steps; n++)
            MUST(l.t.follow(&l.t));
        ck_assert_double_eq_tol(pow(0.9999, n), told[i].left, 5e-6);
        for (int k = 0; k < l.e.n; k++) {
            const tuned *u = &l.s.p->tensors[l.e.tensor[k]];
            ck_assert(!u->place);
            for (int64_t c = 0; c < l.e.slow[k].n; c++) {
                const double p = (double)((const float *)u->value.v)[c], e0 = (double)start[u->first + c];
                ck_assert_double_eq_tol((double)l.e.slow[k].v[c], p + pow(0.9999, n) * (e0 - p), n * 0x1p-24);
            }
        }
    }
    ck_assert_int_eq(l.e.n, l.s.p->n_tuned - 2); /* the head is no part of it */
    close_lae(&l);
}
END_TEST

/* beta 1: it stays; beta 0: it is the trained one after every step. */
START_TEST(the_ends_of_beta)
{
    for (int beta = 0; beta < 2; beta++) {
        lae l;
        open_lae(&l, LORA, beta, 0);
        step(&l, 2);
        MUST(experts_begin(&l.e));
        const float *start = copy_of(&l, l.s.p->values, l.s.p->size);
        for (int n = 0; n < 3; n++) {
            step(&l, 1);
            for (int k = 0; k < l.e.n; k++) {
                const tuned *u = &l.s.p->tensors[l.e.tensor[k]];
                ck_assert_mem_eq(l.e.slow[k].v, beta ? start + u->first : (const float *)u->value.v,
                                 (size_t)l.e.slow[k].n * sizeof(float));
            }
        }
        close_lae(&l);
    }
}
END_TEST

static void softmax(const float *z, int n, double *p)
{
    double sum = 0;

    for (int c = 0; c < n; c++)
        sum += p[c] = exp((double)z[c]);
    for (int c = 0; c < n; c++)
        p[c] /= sum;
}

/* At its start the slow copy is the trained one, and both say what one says; later the larger probability counts of
 * each class, and the surer expert's class is the answer. f32 logits of about 5 and their exps: 1e-5. */
START_TEST(two_experts_predict)
{
    enum { SEEN = 2 * TASK };
    lae l;
    int first = 0, second = 0;

    open_lae(&l, ADAPTER, 0.7, 0);
    step(&l, 4);
    open_task(&l, 1, 0);
    const float *alone = scores(&l, l.t.predict);
    const float *plain = scores(&l, trainer_forward);
    ck_assert_mem_eq(alone, plain, SAMPLES * CLASSES * sizeof(float));
    MUST(experts_begin(&l.e));
    const float *both = scores(&l, l.t.predict);
    for (int i = 0; i < SAMPLES; i++)
        ck_assert_int_eq(goal_largest(both + i * CLASSES, CLASSES), goal_largest(plain + i * CLASSES, CLASSES));
    step(&l, 12);
    const float *on = scores(&l, trainer_forward);
    both = scores(&l, l.t.predict);
    MUST(experts_swap(&l.e));
    const float *off = scores(&l, trainer_forward);
    MUST(experts_swap(&l.e));
    ck_assert_mem_eq(on, scores(&l, trainer_forward), SAMPLES * CLASSES * sizeof(float));
    for (int i = 0; i < SAMPLES; i++) {
        double a[SEEN], b[SEEN];
        softmax(on + i * CLASSES, SEEN, a);
        softmax(off + i * CLASSES, SEEN, b);
        for (int c = 0; c < SEEN; c++)
            ck_assert_double_eq_tol(exp((double)both[i * CLASSES + c]), fmax(a[c], b[c]), 1e-5);
        const int x = goal_largest(on + i * CLASSES, SEEN), y = goal_largest(off + i * CLASSES, SEEN);
        first += a[x] > b[y];
        second += b[y] > a[x];
        ck_assert_int_eq(goal_largest(both + i * CLASSES, CLASSES), a[x] >= b[y] ? x : y);
        ck_assert(isinf(both[i * CLASSES + SEEN]));
    }
    ck_assert_msg(first > 0 && second > 0, "one expert is always the surer: %d and %d", first, second);
    close_lae(&l);
}
END_TEST

/* The loss of both is that of the joined probabilities. */
START_TEST(the_loss_of_both)
{
    lae     l;
    packer  once;
    double  sum, want = 0;
    int64_t targets;

    open_lae(&l, LORA, 0.7, 0);
    step(&l, 3);
    MUST(experts_begin(&l.e));
    step(&l, 6);
    MUST(packer_open_once(&l.s.memory, &l.x, l.t.o.pack, 0, &once));
    MUST(trainer_evaluate(&l.t, &once, NULL, &sum, &targets));
    ck_assert_int_eq(targets, SAMPLES);
    const float *both = scores(&l, l.t.predict);
    for (int i = 0; i < SAMPLES; i++) {
        double p[CLASSES];
        softmax(both + i * CLASSES, TASK, p);
        want -= log(p[l.x.v[i].label]);
    }
    ck_assert_double_eq_tol(sum, want, 1e-4);
    close_lae(&l);
}
END_TEST

TESTS(lae, a_start_is_the_trunk_but_for_the_prefix, counts_are_those_of_the_paper, a_merged_lora_has_its_factor,
      options_that_do_not_go_together_are_refused, the_front_is_added_as_a_whole,
      the_local_loss_is_that_of_its_classes, a_frozen_module_stays_and_its_steps_begin_at_one, the_slow_copy_follows,
      the_ends_of_beta, two_experts_predict, the_loss_of_both)
