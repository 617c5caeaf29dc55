/* test_poly: what poly refuses, and what its noise is while training
 * tests/run: no device */
#include "tests/helpers.h"
#include "tests/with_training.h"

#include "core/file.h"

#include <math.h>

enum { TOKENS = 9, SAMPLES = 4 };

/* Samples of tasks 0 and 1 in turns, so many of them in a micro-batch. */
static void open_training(training *g, bool noise, int in_a_batch)
{
    memset(g, 0, sizeof *g);
    small_open(&g->s, 5);
    small_add(&g->s, "poly", "all-linear", (const char *const[]){"tasks", "splits", "noise", NULL},
              (const double[]){2, 2, noise});
    small_stir(&g->s, 6);
    training_open(g, SAMPLES, TOKENS, in_a_batch, 2);
}

/* The mean loss of every sample. */
static void losses(training *g, double of[SAMPLES])
{
    int done = 0;

    tape_set_run(g->t.t, &g->t.run);
    for (int leaf = 0; leaf < g->plan.n_leaves; leaf++) {
        packer_fill(&g->data, &g->plan, leaf, &g->t.f.b);
        feed_load(&g->t.f);
        tape_forward(g->t.t);
        const float *each = g->t.out.each->t.v;
        for (int s = 0; s < g->t.f.b.n_seqs; s++, done++) {
            of[done] = 0;
            for (int i = 0; i < TOKENS - 1; i++)
                of[done] += (double)each[s * (TOKENS - 1) + i] / (TOKENS - 1);
        }
    }
    ck_assert_int_eq(done, SAMPLES);
}

/* Every sample draws its own, the same in any micro-batch; another step, others. Losses are sums of 8 f32 values of
 * about 5, which differ by roundings where rows are packed in another way: 8 * 5 * 2^-23 = 5e-6. */
START_TEST(noise_is_a_samples_own)
{
    training g;
    double   plain[SAMPLES], first[SAMPLES], again[SAMPLES], alone[SAMPLES], later[SAMPLES];

    open_training(&g, true, SAMPLES);
    losses(&g, first);
    losses(&g, again);
    g.t.run.step = 5;
    losses(&g, later);
    g.t.run.training = false;
    losses(&g, plain);
    training_close(&g);
    open_training(&g, true, 1);
    ck_assert_int_eq(g.plan.n_leaves, SAMPLES);
    losses(&g, alone);
    training_close(&g);
    for (int i = 0; i < SAMPLES; i++) {
        ck_assert(again[i] == first[i]);
        ck_assert_msg(fabs(alone[i] - first[i]) < 5e-6, "alone sample %d has %g, not %g", i, alone[i], first[i]);
        ck_assert_msg(fabs(later[i] - first[i]) > 1e-3, "another step has the same noise");
        ck_assert_msg(fabs(plain[i] - first[i]) > 1e-3, "training has no noise");
    }
    ck_assert_msg(fabs(first[0] - first[2]) > 1e-3, "samples of a task share their noise");
    ck_assert_msg(fabs(plain[0] - plain[2]) < 5e-6 && fabs(plain[0] - plain[1]) > 1e-3,
                  "without noise the task decides, and it alone");
}
END_TEST

START_TEST(noise_may_be_off)
{
    training g;
    double   on[SAMPLES], off[SAMPLES];

    open_training(&g, false, SAMPLES);
    losses(&g, on);
    g.t.run.training = false;
    losses(&g, off);
    for (int i = 0; i < SAMPLES; i++)
        ck_assert(on[i] == off[i]);
    training_close(&g);
}
END_TEST

/* A module more with these tasks and splits on the sites. */
static status add(small *s, const char *name, const char *at, double tasks, double splits)
{
    static const char *const names[] = {"tasks", "splits", NULL};
    const double             values[] = {tasks, splits};
    const peft_method       *poly = peft_find("poly");

    return peft_add(s->p, name, poly, small_options(s, poly, names, values), &at, 1, true);
}

/* k is [24, 48], down [48, 80]. */
START_TEST(what_does_not_fit_is_refused)
{
    small s;

    small_open(&s, 1);
    MUST_FAIL(add(&s, "a", "k_proj", 1, 16), "splits is 16, must divide 48 inputs and 24 outputs");
    ck_assert_ptr_nonnull(strstr(status_text(), "in block.0.attn.k"));
    MUST_FAIL(add(&s, "b", "down_proj", 1, 3), "splits is 3, must divide 80 inputs and 48 outputs");
    small_close(&s);
}
END_TEST

/* A BERT's pooler sees a row for a sequence. */
START_TEST(rows_that_are_no_tokens_are_refused)
{
    static const char bert[] =
        "{\"model_type\": \"bert\", \"architectures\": [\"BertForSequenceClassification\"], \"num_labels\": 3, "
        "\"hidden_size\": 24, \"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"intermediate_size\": 32, "
        "\"vocab_size\": 40, \"max_position_embeddings\": 20, \"type_vocab_size\": 2, \"hidden_act\": \"gelu\", "
        "\"layer_norm_eps\": 1e-12, \"pad_token_id\": 0}";
    small s;

    small_open_as(&s, bert, 1);
    MUST(add(&s, "a", "query", 2, 1));
    MUST_FAIL(add(&s, "b", "all-linear", 2, 1), "on linear layers of blocks only");
    small_close(&s);
}
END_TEST

/* Of two modules the one with fewer tasks decides; a trunk alone knows none and takes all. */
START_TEST(tasks_are_bounded_by_all_modules)
{
    small s;

    small_open(&s, 1);
    ck_assert_int_eq(model_tasks(&s.m), 0);
    MUST(model_check_task(&s.m, 1000));
    MUST(add(&s, "a", "q_proj", 5, 1));
    MUST(add(&s, "b", "v_proj", 3, 1));
    ck_assert_int_eq(model_tasks(&s.m), 3);
    MUST(model_check_task(&s.m, 2));
    MUST_FAIL(model_check_task(&s.m, 3), "task is 3, must be 0..2");
    MUST_FAIL(model_check_task(&s.m, -1), "task is -1, must be 0..2");
    small_close(&s);
}
END_TEST

START_TEST(another_type_is_refused)
{
    static const char  text[] = "{\"peft_type\": \"POLY\", \"poly_type\": \"mean\", \"target_modules\": null}";
    small              s;
    char               folder[64];
    const peft_method *method;
    void              *options;
    const char *const *sites;
    int                n;

    small_open(&s, 1);
    test_folder(folder);
    MUST(file_replace(arena_printf(&s.memory, "%s/adapter_config.json", folder), text, strlen(text)));
    MUST_FAIL(adapter_read_config(&s.memory, folder, &s.m, &method, &options, &sites, &n),
              "poly_type is 'mean', must be poly");
    MUST(folder_remove_tree(folder));
    small_close(&s);
}
END_TEST

TESTS(poly, noise_is_a_samples_own, noise_may_be_off, what_does_not_fit_is_refused,
      rows_that_are_no_tokens_are_refused, tasks_are_bounded_by_all_modules, another_type_is_refused)
