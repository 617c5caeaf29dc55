/* objectives: losses against their formulas, masks, classes of two sources, and what is compared
 * tests/run: no device */
#include "tests/with_objective.h"

#include <math.h>

/* ---- losses -------------------------------------------------------------------------------------- */

START_TEST(one_class_is_cross_entropy)
{
    run t;

    open_run(&t, "classify", 0, NULL);
    const double  loss = next_loss(&t);
    const float  *z = scores_of(&t);
    const batch  *b = &t.x.f.b;
    double        sum = 0;

    ck_assert_int_gt(b->n_targets, 5);
    ck_assert_int_eq(b->n_targets, b->n_seqs);
    for (int i = 0; i < b->n_targets; i++, z += 3) {
        sum += log(exp((double)z[0]) + exp((double)z[1]) + exp((double)z[2])) - (double)z[b->target_ids[i]];
        ck_assert_int_eq(b->target_rows[i], b->offsets[i]);
        ck_assert_int_eq(b->target_ids[i], t.in.train.v[b->example[i]].label);
    }
    same("classify", loss, sum);
    close_run(&t);
}
END_TEST

/* BCEWithLogitsLoss: -y log s(z) - (1 - y) log(1 - s(z)), mean over classes. */
START_TEST(several_classes_are_binary_cross_entropies)
{
    run t;

    open_run(&t, "multi_label", 0, NULL);
    const double loss = next_loss(&t);
    const float *z = scores_of(&t);
    const batch *b = &t.x.f.b;
    double       sum = 0, ones = 0;

    for (int i = 0; i < 3 * b->n_targets; i++) {
        const double p = 1 / (1 + exp(-(double)z[i])), y = (double)b->values[i];
        sum -= (y * log(p) + (1 - y) * log(1 - p)) / 3;
        ones += y;
    }
    ck_assert_msg(ones > b->n_seqs, "no sample has two classes");
    same("multi_label", loss, sum);
    close_run(&t);
}
END_TEST

START_TEST(numbers_are_squared_errors)
{
    static const char *const two[] = {"objective.fields=[size, size]", "objective.metrics=[mse, mae]"};

    for (int columns = 1; columns <= 2; columns++) {
        run t;
        open_run(&t, "regression", 2 * (columns - 1), two);
        const double loss = next_loss(&t);
        const float *z = scores_of(&t);
        double       sum = 0;
        for (int i = 0; i < columns * t.x.f.b.n_targets; i++)
            sum += pow((double)z[i] - (double)t.x.f.b.values[i], 2) / columns;
        ck_assert_int_eq(shape_last(t.x.out.scores->t.s), columns);
        same("regression", loss, sum);
        close_run(&t);
    }
}
END_TEST

/* ---- masks --------------------------------------------------------------------------------------- */

enum { MASK = 4, SPECIAL = 5 }; /* of tests/data/tiny_bert: [PAD] [UNK] [CLS] [SEP] [MASK] */

typedef struct counts {
    int chosen, masked, other, kept;
} counts;

/* A sequence of a filled batch against its sample. */
static void count_sequence(const run *t, int seq, int *target, counts *c)
{
    const batch   *b = &t->x.f.b;
    const example *e = &t->in.train.v[b->example[seq]];
    int            words = 0, here = 0;

    for (int i = 0; i < e->n; i++) {
        const int  row = b->offsets[seq] + i;
        const bool chosen = *target < b->n_targets && b->target_rows[*target] == row;
        words += e->ids[i] >= SPECIAL;
        ck_assert_msg(chosen || b->ids[row] == e->ids[i], "a word changed that is not predicted");
        if (!chosen)
            continue;
        ck_assert_int_ge(e->ids[i], SPECIAL);
        ck_assert_int_eq(b->target_ids[*target], e->ids[i]);
        here++;
        (*target)++;
        c->masked += b->ids[row] == MASK;
        c->kept += b->ids[row] == e->ids[i];
        c->other += b->ids[row] != MASK && b->ids[row] != e->ids[i];
    }
    ck_assert_int_eq(here, (int)fmax(1, round(0.2 * words)));
    c->chosen += here;
}

/* Of some thousand: within 4 standard deviations of 80, 10 and 10 % (a drawn word may be the same, one in 49). */
START_TEST(a_share_of_the_words_is_masked)
{
    run    t;
    counts c = {0};

    open_run(&t, "masked_lm", 0, NULL);
    for (int step = 0; step < 200; step++) {
        next_loss(&t);
        int target = 0;
        for (int seq = 0; seq < t.x.f.b.n_seqs; seq++)
            count_sequence(&t, seq, &target, &c);
        ck_assert_int_eq(target, t.x.f.b.n_targets);
    }
    const double n = c.chosen, spread = 4 * sqrt(n * 0.16);
    ck_assert_double_gt(n, 2000);
    ck_assert_msg(fabs(c.masked - 0.8 * n) < spread && fabs(c.kept - (0.1 + 0.1 / 49) * n) < spread * 0.75 &&
                      fabs(c.other - (0.1 - 0.1 / 49) * n) < spread * 0.75,
                  "of %d: %d masked, %d others, %d kept", c.chosen, c.masked, c.other, c.kept);
    close_run(&t);
}
END_TEST

/* The words chosen of the sample with a number in the run, as bits by place. */
static uint64_t chosen_of(const batch *b, int64_t sample)
{
    uint64_t bits = 0;

    for (int i = 0; i < b->n_targets; i++) {
        const int seq = b->seq_of_row[b->target_rows[i]];
        if (b->sample[seq] == sample)
            bits |= (uint64_t)1 << (b->target_rows[i] - b->offsets[seq]);
    }
    return bits;
}

static uint64_t find_chosen(run *t, int64_t sample)
{
    for (int step = 0; step < 100; step++) {
        next_loss(t);
        for (int seq = 0; seq < t->x.f.b.n_seqs; seq++)
            if (t->x.f.b.sample[seq] == sample)
                return chosen_of(&t->x.f.b, sample);
    }
    ck_abort_msg("sample %lld did not come", (long long)sample);
}

START_TEST(masks_belong_to_the_sample)
{
    static const char *const one[] = {"data.pack=32", "train.batch_samples=1"};
    int                      changed = 0;

    for (int64_t sample = 0; sample < 6; sample++) {
        run t, alone;
        open_run(&t, "masked_lm", 0, NULL);
        open_run(&alone, "masked_lm", 2, one);
        const uint64_t first = find_chosen(&t, sample);
        ck_assert_msg(first == find_chosen(&alone, sample), "sample %d has other masks in another micro-batch",
                      (int)sample);
        changed += find_chosen(&t, sample + 60) != first; /* another epoch, whatever sample it is there */
        close_run(&t);
        close_run(&alone);
    }
    ck_assert_int_gt(changed, 3);
}
END_TEST

/* ---- tags ---------------------------------------------------------------------------------------- */

/* A word of several tokens has its tag at the first; words behind the length have none. */
START_TEST(tags_stand_at_first_tokens)
{
    static const char sentence[] = "the O\nswans B-BIRD\nand O\nplums B-FRUIT\nswan B-BIRD\n";
    /* [CLS] the swan ##s and plum ##s swan [SEP]; tags are numbered B-BIRD, B-FRUIT, O */
    static const int32_t whole[] = {-100, 2, 0, -100, 2, 1, -100, 0, -100}, cut[] = {-100, 2, 0, -100, 2, -100};
    char                 path[64], train[100], test[100];

    test_folder(path);
    snprintf(train, sizeof train, "data.train.path=%s/a", path);
    snprintf(test, sizeof test, "data.test.path=%s/a", path);
    MUST(file_replace(train + strlen("data.train.path="), sentence, sizeof sentence - 1));
    const char *const overrides[] = {train, test, "data.length=6"};
    for (int n = 2; n <= 3; n++) {
        const int32_t *want = n == 2 ? whole : cut;
        run            t;
        open_run(&t, "tag", n, overrides);
        const example *e = &t.in.train.v[0];
        ck_assert_int_eq(e->n, n == 2 ? COUNT_OF(whole) : COUNT_OF(cut));
        ck_assert_mem_eq(e->labels, want, (size_t)e->n * sizeof *want);
        next_loss(&t);
        ck_assert_int_eq(t.x.f.b.target_rows[1], 2); /* at the word itself, not before it */
        close_run(&t);
    }
    MUST(folder_remove_tree(path));
}
END_TEST

/* ---- images -------------------------------------------------------------------------------------- */

/* A pixel of 0..255 is (v / 255 - mean) / std, of the source's keys, else of the base. */
START_TEST(images_are_scaled)
{
    static const char *const own[] = {"data.train.mean=0.25", "data.train.std=2"};
    run                      plain, scaled;

    open_run(&plain, "image", 0, NULL);
    open_run(&scaled, "image", 2, own);
    ck_assert_int_eq(plain.in.train.n, 24);
    for (int i = 0; i < 64; i++) {
        const double v = (double)plain.in.train.v[5].patches[i] * 0.5 + 0.5;
        ck_assert_double_eq_tol((double)scaled.in.train.v[5].patches[i], (v - 0.25) / 2, 1e-6);
    }
    close_run(&plain);
    close_run(&scaled);
    MUST_FAIL(refuse("image", "data.train.size=16"), "has 16 x 16 pixels, the model reads 8 x 8");
    MUST_FAIL(refuse("image", "data.train={source: jsonl, path: tests/data/tiny_labels.jsonl}"), "");
}
END_TEST

/* ---- classes and figures ------------------------------------------------------------------------- */

START_TEST(what_does_not_fit_is_said)
{
    MUST_FAIL(refuse("classify", "objective.metrics=[pearson]"),
              "'pearson' does not fit classify, must be of: accuracy");
    MUST_FAIL(refuse("classify", "train.metric=matthews"), "'matthews' must be loss, or one that stands in");
    MUST_FAIL(refuse("classify", "objective.label=kind"), "tiny_labels.jsonl:1: has no field kind");
    MUST_FAIL(refuse("classify", "objective.classes=2"), "objective.classes is 2, but the data has 3");
    MUST_FAIL(refuse("classify", "objective.names=[fruit, bird]"), "label is \"tool\", must be one of the 2 classes");
    MUST_FAIL(refuse("classify", "data.template=chat"), "chat is for objectives that learn to write");
    MUST_FAIL(refuse("multi_label", "objective.names=[fruit, bird]"), "\"tool\" must be one of the 2 classes");
    MUST_FAIL(refuse("multi_label", "objective.metrics=[f1]"), "'f1' does not fit classify");
    MUST_FAIL(refuse("regression", "objective.fields=[label]"), "label is \"fruit\", must be a number");
    MUST_FAIL(refuse("regression", "objective.fields=[]"), "names no field");
    MUST_FAIL(refuse("regression", "objective.fields=[size, size]"), "'pearson' compares values with each other");
    MUST_FAIL(refuse("masked_lm", "base=random:tests/data/tiny_llama.json"),
              "has no masked_lm head, but these: causal_lm");
    MUST_FAIL(refuse("masked_lm", "train.metric=accuracy"), "'accuracy' must be loss");
    MUST_FAIL(refuse("contrastive", "objective.query=ask"), "there is no field {ask}");
    MUST_FAIL(refuse("contrastive", "objective.metrics=[f1_samples]"), "'f1_samples' does not fit contrastive");
    MUST_FAIL(refuse("contrastive", "objective.score=near"), "has no field near");
    MUST_FAIL(refuse("contrastive", "objective.score=query"), "must be a number");
    MUST_FAIL(refuse("triplet", "data.pack=64"), "in all its texts, more than a micro-batch holds (pack 64)");
    MUST_FAIL(refuse("triplet", "objective.negatives=[a, b]"), "names 2 texts, triplet needs one");
    MUST_FAIL(refuse("triplet", "objective.negatives=[a]"), "there is no field {a}");
    MUST_FAIL(refuse("triplet", "objective.symmetric=yes"), "belongs to the loss infonce");
    MUST_FAIL(refuse("triplet", "data.template={prompt: \"{query}\"}"), "words its texts itself");
    MUST_FAIL(refuse("triplet", "objective.loss=cosine"), "objective.score: names no field");
    MUST_FAIL(refuse("triplet", "objective.metrics=[pearson]"), "'pearson' does not fit contrastive");
    MUST_FAIL(refuse("dpo", "objective.rejected=worse"), "there is no field {worse}");
    MUST_FAIL(refuse("dpo", "data.template={prompt: \"{prompt}\", target: \"{good}\"}"), "there is no field {good}");
    MUST_FAIL(refuse("dpo", "base=random:tests/data/tiny_bert/config.json"), "has no causal_lm head");
    MUST_FAIL(refuse("dpo", "objective={name: dpo, loss: ipo, label_smoothing: 0.1}"), "belongs to the loss sigmoid");
    MUST_FAIL(refuse("classify", "objective=tag"), "is no sentence of words with tags");
    MUST_FAIL(refuse("pairs", "base=random:tests/data/tiny_bert_one.json"), "the model knows 1 kinds");
    MUST_FAIL(refuse("image", "modules.main.init_lora_weights=corda"), "samples that are one text each");
    MUST_FAIL(refuse("image", "data.test={source: jsonl, path: tests/data/tiny_labels.jsonl}"),
              "data.train has named classes and data.test has none");
}
END_TEST

/* Classes keep their numbers when the recipe names them, and may be more than occur. */
START_TEST(classes_are_those_of_the_recipe)
{
    static const char *const named[] = {"objective.names=[tool, fruit, stone, bird]"};
    static const char *const more[] = {"objective.classes=7"};
    run                      t;

    open_run(&t, "classify", 1, named);
    ck_assert_int_eq(t.in.s.m.head.classes, 4);
    ck_assert_int_eq(t.in.train.v[0].label, 1);
    ck_assert_int_eq(t.in.train.v[2].label, 3);
    close_run(&t);
    open_run(&t, "classify", 1, more);
    ck_assert_int_eq(t.in.s.m.head.classes, 7);
    ck_assert_int_eq(t.in.train.v[0].label, 1); /* bird, fruit, tool */
    close_run(&t);
}
END_TEST

/* More classes than names: the others are called as transformers calls them; tags need names of their kind. */
START_TEST(classes_without_names_get_some)
{
    static const char *const more[] = {"objective.classes=7"};
    run                      t;

    open_run(&t, "classify", 1, more);
    ck_assert_int_eq(t.in.goal.measured.n_tags, 7);
    ck_assert_str_eq(t.in.goal.measured.tags[6], "LABEL_6");
    close_run(&t);
    MUST_FAIL(refuse("tag", "objective.classes=40"), "there are 7 tags: name the others in objective.names");
}
END_TEST

/* Two numbers a sample: both are measured. */
START_TEST(every_number_is_measured)
{
    static const char *const two[] = {"objective.fields=[size, size]", "objective.metrics=[mse, mae]"};
    run                      t;
    goal_tally               tally;
    packer                   once;
    double                   sum;
    int64_t                  targets;

    open_run(&t, "regression", 2, two);
    MUST(goal_tally_open(&t.in.goal, &t.in.s.setup, &t.in.test, &tally));
    MUST(packer_open_once(&t.in.s.setup, &t.in.test, t.x.o.pack, 0, &once));
    MUST(trainer_evaluate(&t.x, &once, &tally, &sum, &targets));
    ck_assert_int_eq(tally.v[0].n, 120);
    close_run(&t);
}
END_TEST

/* Accuracy is turned round, the larger the better; an error and the loss are not. */
START_TEST(the_best_is_smaller)
{
    static const char *const by_loss[] = {"train.metric=loss"}, *const by_error[] = {"train.metric=ece"};
    metric_result            figures[] = {{.name = "accuracy", .value = 0.75}, {.name = "f1_macro", .value = 0.5},
                                          {.name = "ece", .value = 0.25}};
    const goal_tally         tally = {.n = 3, .figures = figures};
    static const char *const by_accuracy[] = {"train.metric=accuracy"};
    run                      t;

    open_run(&t, "classify", 1, by_accuracy);
    ck_assert(goal_selected(&t.in.goal, &tally, 2) == -0.75 && goal_figure(&t.in.goal, -0.75) == 0.75);
    close_run(&t);
    open_run(&t, "classify", 1, by_loss);
    ck_assert(goal_selected(&t.in.goal, &tally, 2) == 2 && goal_figure(&t.in.goal, 2) == 2);
    close_run(&t);
    open_run(&t, "classify", 1, by_error);
    ck_assert(goal_selected(&t.in.goal, &tally, 2) == 0.25);
    close_run(&t);
}
END_TEST

TESTS(objectives, one_class_is_cross_entropy, several_classes_are_binary_cross_entropies, numbers_are_squared_errors,
      a_share_of_the_words_is_masked, masks_belong_to_the_sample, tags_stand_at_first_tokens, images_are_scaled,
      what_does_not_fit_is_said, classes_are_those_of_the_recipe, classes_without_names_get_some,
      every_number_is_measured, the_best_is_smaller)
