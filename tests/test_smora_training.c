/* smora on a small trunk: what learns at the start, how biases keep ranks in balance, what is counted, generated and
 * refused (the method's card, "Oracle tests"); counts and biases are read here, and on a device they lie there
 * tests/run: no device */
#include "tests/helpers.h"
#include "tests/with_training.h"

#include "core/rng.h"
#include "recipes/decoder.h"

/* ---- 2 ------------------------------------------------------------------------------------------------- */

START_TEST(at_the_start_only_b_learns)
{
    small               s;
    const char         *names[3 * 21];
    int                 n = 0;
    const trace_options plain = {0};

    small_open(&s, 7);
    const trace_result bare = small_trace(&s, &plain);
    small_add(&s, "smora", "all-linear", NULL, NULL);
    for (int i = 0; i < s.p->n_tuned; i++)
        if (!s.p->tensors[i].fixed)
            names[n++] = s.p->tensors[i].name;
    ck_assert_int_eq(n, 63);
    const trace_result r = small_trace(&s, &(trace_options){.gradients = names, .n_gradients = n});
    for (int i = 0; i < bare.n; i++)
        ck_assert_mem_eq(bare.items[i].t.v, r.items[i].t.v, tensor_bytes(&bare.items[i].t));
    for (int i = 0; i < n; i++) {
        const tensor *g = &r.items[r.n - n + i].t;
        bool          some = false;
        for (int64_t k = 0; k < shape_count(g->s); k++)
            some |= ((const float *)g->v)[k] != 0;
        ck_assert_msg(some == (strstr(names[i], ".lora_B") != NULL), "%s has %s gradient", names[i],
                      some ? "a" : "no");
    }
    small_close(&s);
}
END_TEST

/* ---- 7 ------------------------------------------------------------------------------------------------- */

enum { RANKS = 6, ACTIVE = 2, TOKENS = 9, SAMPLES = 4 };

static const tuned *tensor_at(const peft *p, const char *site, const char *name)
{
    char text[200];

    snprintf(text, sizeof text, "base_model.model.model.layers.%s.%s", site, name);
    for (int i = 0; i < p->n_tuned; i++)
        if (strcmp(p->tensors[i].name, text) == 0)
            return &p->tensors[i];
    ck_abort_msg("%s is not there", text);
}

static void open_training(training *g, int per, int in_a_batch)
{
    memset(g, 0, sizeof *g);
    small_open(&g->s, 5);
    small_add(&g->s, "smora", "all-linear",
              (const char *const[]){"rank", "active", "balance_rate", "balance_per", NULL},
              (const double[]){RANKS, ACTIVE, 0.25, per});
    small_stir(&g->s, 6);
    training_open(g, SAMPLES, TOKENS, in_a_batch, 1);
}

static const char *const sites[] = {"0.self_attn.q_proj", "1.mlp.down_proj", "2.mlp.gate_proj"};
enum { SITES = 3 };

typedef struct balance_of {
    float bias[SITES][RANKS], counts[SITES][RANKS];
} balance_of;

static void look(const training *g, balance_of *b)
{
    for (int i = 0; i < SITES; i++) {
        memcpy(b->bias[i], tensor_at(g->s.p, sites[i], "balance_bias")->value.v, sizeof b->bias[i]);
        memcpy(b->counts[i], tensor_at(g->s.p, sites[i], "balance_counts")->value.v, sizeof b->counts[i]);
    }
}

static void run_batch(training *g, int leaf, bool backward)
{
    tape_set_run(g->t.t, &g->t.run);
    packer_fill(&g->data, &g->plan, leaf, &g->t.f.b);
    feed_load(&g->t.f);
    tape_forward(g->t.t);
    if (backward)
        tape_backward(g->t.t);
}

/* bias goes by the counts of so many tokens, each way once. */
static void expect_move(const balance_of *before, const balance_of *after, const balance_of *by, int tokens)
{
    for (int i = 0; i < SITES; i++) {
        double total = 0;
        for (int r = 0; r < RANKS; r++)
            total += (double)by->counts[i][r];
        ck_assert(total == (double)tokens * ACTIVE);
        for (int r = 0; r < RANKS; r++) {
            const double mean = total / RANKS, count = (double)by->counts[i][r];
            const float  way = count > mean ? -0.25f : count < mean ? 0.25f : 0;
            ck_assert(after->bias[i][r] == before->bias[i][r] + way);
        }
    }
}

static void after_step(training *g)
{
    MUST(peft_after_step(g->s.p, &(peft_step){.step = 4, .steps = 10}));
}

START_TEST(biases_move_once_a_step)
{
    training   g;
    balance_of start, sum, end;

    open_training(&g, 0, 2);
    ck_assert_int_eq(g.plan.n_leaves, 2);
    look(&g, &start);
    run_batch(&g, 0, false);
    run_batch(&g, 1, false);
    look(&g, &sum);
    ck_assert_mem_eq(start.bias, sum.bias, sizeof sum.bias);
    after_step(&g);
    look(&g, &end);
    expect_move(&start, &end, &sum, SAMPLES * TOKENS);
    for (int r = 0; r < RANKS; r++)
        ck_assert(end.counts[0][r] == 0);
    training_close(&g);
}
END_TEST

START_TEST(biases_may_move_once_a_micro_batch)
{
    training   g;
    balance_of start, first, second, end;

    open_training(&g, 1, 2);
    look(&g, &start);
    run_batch(&g, 0, false);
    look(&g, &first);
    ck_assert_mem_eq(start.bias, first.bias, sizeof first.bias); /* the batch that is counted uses the old ones */
    run_batch(&g, 1, false);
    look(&g, &second);
    expect_move(&start, &second, &first, SAMPLES / 2 * TOKENS);
    after_step(&g);
    look(&g, &end);
    expect_move(&second, &end, &second, SAMPLES / 2 * TOKENS);
    run_batch(&g, 0, false);
    look(&g, &first);
    ck_assert_mem_eq(end.bias, first.bias, sizeof first.bias); /* nothing was left over */
    training_close(&g);
}
END_TEST

START_TEST(evaluation_neither_counts_nor_moves)
{
    for (int per = 0; per < 2; per++) {
        training   g;
        balance_of start, end;
        open_training(&g, per, SAMPLES);
        look(&g, &start);
        g.t.run.training = false;
        run_batch(&g, 0, false);
        run_batch(&g, 0, false);
        after_step(&g);
        look(&g, &end);
        ck_assert_mem_eq(&start, &end, sizeof end);
        training_close(&g);
    }
}
END_TEST

START_TEST(equal_counts_move_nothing)
{
    training   g;
    balance_of start, end;

    open_training(&g, 0, SAMPLES);
    for (int i = 0; i < SITES; i++)
        for (int r = 0; r < RANKS; r++)
            ((float *)tensor_at(g.s.p, sites[i], "balance_counts")->value.v)[r] = 7;
    look(&g, &start);
    after_step(&g);
    look(&g, &end);
    ck_assert_mem_eq(start.bias, end.bias, sizeof end.bias);
    training_close(&g);
}
END_TEST

/* A site in a block that is computed again for the backward, or not, trained on twice. */
static void run_block(recompute how, int per, float *bias, float *gradients, int64_t room)
{
    small  s;
    tape  *t;
    tensor x = {.s = shape_2(TOKENS, 48), .type = TYPE_F32}, dx = x;

    small_open(&s, 5);
    small_add(&s, "smora", "q_proj", (const char *const[]){"rank", "active", "balance_rate", "balance_per", NULL},
              (const double[]){RANKS, ACTIVE, 0.25, per});
    small_stir(&s, 6);
    memset(gradients, 0, (size_t)room * sizeof *gradients);
    ck_assert(s.p->size <= room);
    peft_use_gradients(s.p, gradients);
    x.v = arena_take(&s.memory, tensor_bytes(&x), 1);
    dx.v = arena_take(&s.memory, tensor_bytes(&x), 1);
    rng_fill_normal(rng_key_for(1, "x"), 0, 1, x.v, shape_count(x.s));
    memset(dx.v, 0, tensor_bytes(&dx));
    MUST(tape_open(&t, TYPE_F32));
    tape_block_begin(t);
    var *y = site_linear(t, s.p->modules[0].at[0], tape_param(t, &x, &dx));
    tape_block_end(t);
    var *loss = ag_sum(t, ag_mul(t, y, y));
    MUST(tape_plan(t, loss, how));
    MUST(tape_bind(t, &s.memory));
    tape_set_run(t, &(op_run){.training = true});
    for (int i = 0; i < 2; i++) {
        tape_forward(t);
        tape_backward(t);
    }
    memcpy(bias, tensor_at(s.p, sites[0], "balance_bias")->value.v, RANKS * sizeof *bias);
    memcpy(bias + RANKS, tensor_at(s.p, sites[0], "balance_counts")->value.v, RANKS * sizeof *bias);
    tape_close(t);
    small_close(&s);
}

/* The counts are of both forwards, or of the last; the bias moved in between, if at all. */
START_TEST(what_is_computed_again_counts_once)
{
    static float gradients[2][8192];

    for (int per = 0; per < 2; per++) {
        float bias[2][2 * RANKS], total = 0;
        run_block(RECOMPUTE_NONE, per, bias[0], gradients[0], 8192);
        run_block(RECOMPUTE_BLOCK, per, bias[1], gradients[1], 8192);
        ck_assert_mem_eq(bias[0], bias[1], sizeof bias[0]);
        ck_assert_mem_eq(gradients[0], gradients[1], sizeof gradients[0]);
        for (int r = 0; r < RANKS; r++)
            total += bias[1][RANKS + r];
        ck_assert(total == (per ? 1 : 2) * TOKENS * ACTIVE);
    }
}
END_TEST

/* ---- 11 ------------------------------------------------------------------------------------------------ */

/* Values trained at the seven linear layers of a llama's block; B: those of A and B, R: of the router. */
static int64_t count_block(const void *options, int64_t C, int64_t kv, int64_t F)
{
    const int64_t sizes[][2] = {{C, C}, {C, kv}, {C, kv}, {C, C}, {C, F}, {C, F}, {F, C}};
    int64_t       n = 0;

    for (int i = 0; i < 7; i++) {
        const site s = {.kind = SITE_LINEAR, .in = sizes[i][0], .out = sizes[i][1]};
        n += peft_find("smora")->count(&s, options);
    }
    return n;
}

START_TEST(counts_are_those_of_the_published_models)
{
    small s;

    small_open(&s, 1);
    const void *o = small_options(&s, peft_find("smora"), NULL, NULL);
    ck_assert_int_eq(32 * count_block(o, 4096, 4096, 11008), 232783872);
    ck_assert_int_eq(32 * count_block(o, 4096, 1024, 14336), 247463936);
    ck_assert_int_eq(28 * count_block(o, 3584, 512, 18944), 233963520);
    small_close(&s);
}
END_TEST

/* ---- generating ---------------------------------------------------------------------------------------- */

/* Token by token with a cache, where the chosen ranks alone are read: each is the best of the logits that the whole
 * text has. */
START_TEST(generated_tokens_are_the_best_of_the_whole_text)
{
    enum { GIVEN = 4, NEW = 12 };
    const trace_options  plain = {0};
    const decode_options o = {.max_tokens = NEW, .ignore_end = true};
    int32_t              ids[GIVEN + NEW] = {1, 5, 9, 100};
    decode_times         times;
    trace_result         r;
    decoded              d;
    small                s;

    small_open(&s, 4);
    small_add(&s, "smora", "all-linear", (const char *const[]){"rank", "active", NULL}, (const double[]){16, 4});
    small_stir(&s, 5);
    MUST(decode(&s.memory, &s.m, &(prompt){ids, GIVEN, 0}, 1, &o, &d, &times));
    ck_assert_int_eq(d.n, NEW);
    memcpy(ids + GIVEN, d.ids, NEW * sizeof *ids);
    cJSON *list = cJSON_CreateArray(), *one = cJSON_CreateObject();
    cJSON_AddItemToObject(one, "ids", cJSON_CreateIntArray(ids, GIVEN + NEW));
    cJSON_AddItemToArray(list, one);
    MUST(trace_run(&s.memory, &s.m, s.p, list, "small", &plain, &r));
    cJSON_Delete(list);
    ck_assert(d.margin > 1e-4);
    for (int i = 0; i < NEW; i++) {
        const float *logits = (const float *)r.items[0].t.v + (GIVEN - 1 + i) * 128;
        int32_t      best = 0;
        for (int32_t k = 1; k < 128; k++)
            best = logits[k] > logits[best] ? k : best;
        ck_assert_int_eq(best, ids[GIVEN + i]);
    }
    small_close(&s);
}
END_TEST

/* ---- refusals ------------------------------------------------------------------------------------------ */

static status add(small *s, const char *name, double rank, double active, double partition)
{
    static const char *const names[] = {"rank", "active", "partition", NULL};
    const double             values[] = {rank, active, partition};
    const peft_method       *smora = peft_find("smora");
    const char              *at = "q_proj";

    return peft_add(s->p, name, smora, small_options(s, smora, names, values), &at, 1, true);
}

START_TEST(what_does_not_fit_is_refused)
{
    small s;

    small_open(&s, 1);
    MUST_FAIL(add(&s, "a", 8, 9, 1), "active is 9, must be 1..8");
    MUST_FAIL(add(&s, "b", 8, 4, 3), "partition is 3, must divide rank 8 and active 4");
    MUST_FAIL(add(&s, "c", 8, 3, 2), "partition is 2, must divide rank 8 and active 3");
    MUST(add(&s, "d", 8, 4, 2));
    MUST_FAIL(peft_merged(s.p, s.p->modules[3].at[0], NULL, NULL), "smora cannot be merged");
    small_close(&s);
}
END_TEST

TESTS(smora_training, at_the_start_only_b_learns, biases_move_once_a_step, biases_may_move_once_a_micro_batch,
      evaluation_neither_counts_nor_moves, equal_counts_move_nothing, what_is_computed_again_counts_once,
      counts_are_those_of_the_published_models, generated_tokens_are_the_best_of_the_whole_text,
      what_does_not_fit_is_refused)
