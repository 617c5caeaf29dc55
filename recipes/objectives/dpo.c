/* dpo: of two answers to a prompt the chosen one becomes more likely than the rejected one, compared with what the
 * trunk without the modules says (Rafailov et al. 2023, Direct Preference Optimization). With l and l0 the
 * log-probabilities of an answer with and without the modules, sums over its tokens, and
 *     h = (l(chosen) - l0(chosen)) - (l(rejected) - l0(rejected))
 *     sigmoid   -(1 - label_smoothing) log sigmoid(beta h) - label_smoothing log sigmoid(-beta h)
 *     ipo       (h - 1 / (2 beta))^2, l and l0 being means over tokens (Azar et al. 2024)
 * mean over samples: the definitions of TRL's DPOTrainer. Predicted are which of the two is the chosen one, h > 0, and
 * as a value the margin beta h of the rewards, whose mean is a metric. */
#include "recipes/objective.h"

#include <string.h>

typedef struct dpo_options {
    goal_options common;
    const char  *loss, *rejected;
    double       beta, label_smoothing;
} dpo_options;

#define AT(member) offsetof(dpo_options, member)
static const key rows[] = {
    GOAL_KEYS("[accuracy, mean]"),
    {.name = "loss", .kind = KEY_CHOICE, .offset = AT(loss), .preset = "sigmoid", .choices = "sigmoid|ipo",
     .help = "sigmoid: that of the paper; ipo: squared, with log-probabilities by token."},
    {.name = "beta", .kind = KEY_REAL, .offset = AT(beta), .preset = "0.1", .lo = 1e-4, .hi = 1e3,
     .help = "The larger, the nearer to the trunk without modules."},
    {.name = "label_smoothing", .kind = KEY_REAL, .offset = AT(label_smoothing), .preset = "0", .lo = 0, .hi = 0.499,
     .help = "sigmoid: the share of samples whose answers are thought to be swapped."},
    {.name = "rejected", .kind = KEY_TEXT, .offset = AT(rejected), .preset = "rejected",
     .help = "Field of the rejected answer, or a wording with {fields} like the template's target, the chosen one; "
             "without a template {prompt} and {chosen}. With `template: chat` records may have `messages` that end "
             "with the chosen answer."},
};
#undef AT

static bool is_ipo(const goal *g)
{
    const dpo_options *o = g->options;

    return strcmp(o->loss, "ipo") == 0;
}

static status open_goal(goal *g, records *train, records *test)
{
    const dpo_options *o = g->options;

    (void)train;
    (void)test;
    if (is_ipo(g) && o->label_smoothing > 0)
        return fail(STATUS_USAGE, "objective.label_smoothing: belongs to the loss sigmoid");
    g->samples = (whole_options){.kind = WHOLE_PAIR, .place = TARGET_TEXTS, .width = 1,
                                 .pair = {.prompt = "{prompt}", .target = "{chosen}"}};
    g->predicts = METRIC_CLASSES | METRIC_VALUES;
    g->measured.classes = 2;
    return goal_wording(g, o->rejected, &g->samples.rejected);
}

/* ---- without the modules ----------------------------------------------------------------------------- */

/* A forward computation of the bare trunk. */
typedef struct reference {
    const goal *g;
    arena       memory, step;
    tape       *t;
    feed        f;
    var        *each;
    packer      data;
} reference;

static status record_reference(reference *x)
{
    model *m = &x->g->s->m;
    stream s = {0};

    TRY(feed_open(&x->f, m, &x->memory, x->data.capacity, 0, x->data.seqs_capacity));
    TRY(tape_open(&x->t, TYPE_F32));
    feed_record(&x->f, x->t, &s);
    model_loss(m, x->t, model_hidden(m, x->t, &s), x->f.target_rows_var, x->f.target_ids_var, &x->each);
    tape_keep(x->t, x->each);
    TRY(tape_plan(x->t, NULL, RECOMPUTE_NONE));
    TRY(arena_open(&x->step, "reference", tape_step_bytes(x->t) + 4096));
    return tape_bind(x->t, &x->step);
}

/* The log-probability of a sequence's targets. */
static double log_probability(const reference *x, int32_t s)
{
    const int32_t *first = x->f.b.first_target;
    const float   *each = x->each->t.v;
    double         sum = 0;

    for (int32_t i = first[s]; i < first[s + 1]; i++)
        sum -= (double)each[i];
    return is_ipo(x->g) ? sum / (first[s + 1] - first[s]) : sum;
}

/* The next micro-batch: what is subtracted from the difference of its samples' answers. */
static status run_reference(reference *x, const pack_step *plan, examples *out)
{
    const op_run run = {.seed = x->g->seed};

    packer_fill(&x->data, plan, 0, &x->f.b);
    tape_set_run(x->t, &run);
    feed_load(&x->f);
    tape_forward(x->t);
    TRY(tape_check(x->t));
    for (int32_t s = 0; s < x->f.b.n_seqs; s += 2) {
        float *value;
        TRY_TAKE(value, &x->g->s->setup, 1);
        *value = (float)(log_probability(x, s) - log_probability(x, s + 1));
        out->v[x->f.b.example[s]].values = value;
    }
    return STATUS_OK;
}

static status refer(reference *x, examples *out, int64_t pack)
{
    examples  bare = *out;
    pack_step plan;

    bare.front = 0;
    TRY(arena_open(&x->memory, "reference", (size_t)4 << 30));
    TRY(packer_open_once(&x->memory, &bare, pack, 0, &x->data));
    TRY(record_reference(x));
    for (packer_step(&x->data, &plan); plan.n_leaves > 0; packer_step(&x->data, &plan))
        TRY(run_reference(x, &plan, out));
    return STATUS_OK;
}

static status settle(const goal *g, examples *out, int64_t pack)
{
    reference x = {.g = g};

    peft_detach(g->s->p);
    const status s = refer(&x, out, pack);
    peft_attach_again(g->s->p);
    tape_close(x.t);
    arena_close(&x.step);
    arena_close(&x.memory);
    return fail_in(s, "in objective dpo, without the modules");
}

/* ---- loss -------------------------------------------------------------------------------------------- */

static var *record_loss(const goal *g, tape *t, model *m, var *hidden, const feed *f, goal_vars *v)
{
    const dpo_options       *o = g->options;
    const preference_options p = {.beta = o->beta, .smoothing = o->label_smoothing, .squared = is_ipo(g),
                                  .by_token = is_ipo(g)};

    var *offsets = tape_input(t, &f->texts.first_targets), *values = tape_input(t, &f->values);

    model_loss(m, t, hidden, f->target_rows_var, f->target_ids_var, &v->each);
    return ag_preference(t, v->each, offsets, values, &p, &v->scores);
}

static status measure(const goal *g, const batch *b, const float *margins, int64_t columns, metric_tally *tally)
{
    (void)g;
    (void)columns;
    for (int32_t i = 0; i < b->n_samples; i++)
        TRY(tally->input == METRIC_VALUES ? metric_add_value(tally, (double)margins[i], 0)
                                          : metric_add_class(tally, margins[i] > 0, 1));
    return STATUS_OK;
}

const objective objective_dpo = {
    .name = "dpo",
    .help = "Of two answers to a prompt the chosen one becomes more likely than the rejected one.",
    .keys = KEY_TABLE("dpo", rows, dpo_options),
    .task_type = "CAUSAL_LM",
    .head = HEAD_CAUSAL,
    .several = true,
    .open = open_goal,
    .settle = settle,
    .loss = record_loss,
    .measure = measure,
};
