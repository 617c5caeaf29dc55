/* opening: what is common to training, planning and evaluating */
#include "recipes/opening.h"

#include "core/log.h"
#include "recipes/choose_device.h"

#include <string.h>

static status check_supported(const recipe *r)
{
    if (r->together.n > 0)
        return fail(STATUS_USAGE, "%s: several recipes are trained `together`; name one of them", r->file);
    return STATUS_OK;
}

status opening_begin(opening *o, const recipe *r)
{
    *o = (opening){.r = r};
    TRY(check_supported(r));
    TRY(choose_device(r->device, r->precision));
    return session_open(&o->s);
}

status opening_begin_beside(opening *o, const recipe *r, const opening *first)
{
    *o = (opening){.r = r};
    TRY(check_supported(r));
    TRY(session_open(&o->s));
    o->s.shares = &first->s;
    return STATUS_OK;
}

void opening_end(opening *o)
{
    goal_close(&o->goal);
    session_close(&o->s);
    if (!o->s.shares)
        device_close(device_current());
}

static void say_overlong(const char *what, const examples *x, int64_t length, int64_t source_length)
{
    char source[64] = "";

    if (source_length > 0)
        snprintf(source, sizeof source, " (prompts at %lld)", (long long)source_length);
    if (x->n_cut || x->n_dropped)
        log_info("%s: %lld samples cut at %lld tokens%s, %lld dropped", what, (long long)x->n_cut,
                 (long long)length, source, (long long)x->n_dropped);
}

/* Records, and what they are for: before the trunk, which gets its head from it. */
static status load_goal(opening *o, records *train, records *test)
{
    const recipe *r = o->r;
    const bool    tested = r->data.n_test > 0;

    TRY_IN(session_records(&o->s, r, r->data.train, r->data.n_train, train), "in data.train");
    if (tested)
        TRY_IN(session_records(&o->s, r, r->data.test, r->data.n_test, test), "in data.test");
    return goal_open(&o->goal, &o->s, r, train, tested ? test : NULL);
}

static status load_data(opening *o, const records *train, const records *test)
{
    const recipe *r = o->r;
    const int64_t asked = o->goal.samples.source_length; /* tokens of a question */

    o->packing = (pack_options){.pack = r->data.pack, .source_pack = o->goal.source_pack,
                                .batch_tokens = r->train.batch_tokens,
                                .batch_samples = r->train.batch_samples,
                                .accumulate = r->train.accumulate, .epochs = r->train.epochs,
                                .shuffle = r->data.shuffle, .seed = (uint64_t)r->seed};
    TRY_IN(goal_examples(&o->goal, r, train, &o->train), "in data.train");
    say_overlong("data.train", &o->train, r->data.length, o->goal.samples.source_length);
    TRY(model_front_labels(&o->s.setup, &o->s.m, &o->train.front_labels));
    TRY_IN(packer_open(&o->s.setup, &o->train, &o->packing, &o->data), "in data.train");
    if (test->n > 0)
        TRY_IN(goal_examples(&o->goal, r, test, &o->test), "in data.test");
    say_overlong("data.test", &o->test, r->data.length, o->goal.samples.source_length);
    o->ask = recipe_options(r, "+train", "answers");
    if (o->goal.o->asks && o->ask && o->ask->answers > 0 && test->n > 0)
        TRY_IN(session_questions(&o->s, r, test, asked > 0 ? asked : r->data.length, o->ask->answers, &o->questions,
                                 &o->n_questions), "in data.test");
    o->steps = r->train.epochs > 0 ? packer_count(&o->data, r->train.epochs) : r->train.steps;
    return STATUS_OK;
}

/* Groups of the recipe as globs of tensor names. */
static status load_groups(opening *o)
{
    trainer_group *g;
    int            n = 0;

    for (int i = 0; i < o->r->optim.n_groups; i++)
        n += o->r->optim.groups[i].match.n;
    TRY_TAKE(g, &o->s.setup, n);
    n = 0;
    for (int i = 0; i < o->r->optim.n_groups; i++) {
        const recipe_group *from = &o->r->optim.groups[i];
        for (int k = 0; k < from->match.n; k++, n++) {
            g[n] = (trainer_group){arena_printf(&o->s.setup, "*%s*", from->match.v[k]), from->lr,
                                   from->weight_decay};
            if (!g[n].match)
                return STATUS_MEMORY;
        }
    }
    o->trainer.groups = g;
    o->trainer.n_groups = n;
    return STATUS_OK;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static status load_trainer(opening *o)
{
    const recipe    *r = o->r;
    trainer_options *t = &o->trainer;
    packer           test;

    *t = (trainer_options){.goal = &o->goal, .steps = o->steps, .seed = (uint64_t)r->seed, .pack = o->data.capacity,
                           .seqs = o->data.seqs_capacity, .leaves = o->data.leaves_capacity,
                           .source = o->data.source_capacity};
    TRY(optim_find(r->optim.optimizer.name, &t->optimizer));
    t->optimizer_options = r->optim.optimizer.options;
    t->schedule = *(const schedule_options *)recipe_options(r, "+optim", "schedule");
    t->clip = *(const clip_options *)recipe_options(r, "+optim", "clip");
    o->experts = recipe_options(r, "+train", "experts");
    t->freeze_steps = o->experts->freeze_epochs > 0 ? packer_count(&o->data, o->experts->freeze_epochs) : 0;
    t->slow_copy = o->experts->slow_copy;
    if (t->slow_copy && !(o->goal.predicts & METRIC_CLASSES))
        return fail(STATUS_USAGE, "train.slow_copy: is for objectives of one class a sample, not for %s", o->goal.o->name);
    if (t->slow_copy && strcmp(r->train.select, "best") == 0)
        return fail(STATUS_USAGE, "train.slow_copy: goes with select: last alone, for the copy is that of the last step");
    t->how = strcmp(r->train.recompute, "block") == 0 ? RECOMPUTE_BLOCK : RECOMPUTE_NONE;
    if (o->test.n > 0) {
        TRY_IN(packer_open_once(&o->s.setup, &o->test, larger(larger(t->pack, r->data.pack), o->test.longest),
                                larger(t->source, o->test.longest_source), &test),
               "in data.test");
        t->pack = larger(t->pack, test.capacity);
        t->source = larger(t->source, test.source_capacity);
        t->seqs = larger(t->seqs, test.seqs_capacity);
    }
    return load_groups(o);
}

/* Samples of data.prepare, or else of data.train, which modules may want to see before they start. */
typedef struct prepared {
    const opening *o;
    const records *train;
} prepared;

static status load_prepared(void *context, examples *out)
{
    const prepared *x = context;
    const recipe   *r = x->o->r;
    session        *s = x->o->goal.s;
    records         list;

    if (r->data.n_prepare == 0)
        return fail_in(goal_examples(&x->o->goal, r, x->train, out), "in data.train");
    if (x->o->goal.o->whole)
        return fail(STATUS_USAGE, "data.prepare: is for objectives that learn to write; with %s modules see data.train",
                    x->o->goal.o->name);
    TRY_IN(session_records(s, r, r->data.prepare, r->data.n_prepare, &list), "in data.prepare");
    return fail_in(session_examples(s, r, &list, NULL, out), "in data.prepare");
}

status opening_load(opening *o, bool shapes_only)
{
    records  train = {0}, test = {0};
    prepared x = {o, &train};

    TRY(load_goal(o, &train, &test));
    TRY(session_base_for(&o->s, o->r->base, (uint64_t)o->r->seed, shapes_only || o->noise, &o->goal.head));
    TRY(goal_begin(&o->goal));
    TRY(session_modules(&o->s, o->r, shapes_only, load_prepared, &x));
    TRY(load_data(o, &train, &test));
    return load_trainer(o);
}

status opening_settle(opening *o, bool train)
{
    if (train)
        TRY(goal_settle(&o->goal, &o->train, o->trainer.pack));
    return goal_settle(&o->goal, &o->test, o->trainer.pack);
}
