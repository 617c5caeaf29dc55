/* train: opening a run, and the one loop */
#include "recipes/train.h"

#include "core/cpu/probe.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory_use.h"
#include "core/threads.h"
#include "recipes/answers.h"
#include "recipes/bill.h"
#include "recipes/dump.h"
#include "recipes/registry.h"
#include "recipes/report.h"
#include "recipes/signals.h"

#include <math.h>
#include <string.h>

typedef struct training {
    recipe                *r;
    const train_options   *o;
    session                s;
    examples               train, test;
    pack_options           packing;
    packer                 data;
    trainer                x;
    run_folder             folder;
    run_state              st;
    report                 log;
    const answer_options  *ask;
    question              *questions;
    int64_t                n_questions, steps;
    answer                *before;
    double                 rouge_before, loss_before;
    bool                   stopped;
} training;

/* ---- opening ---------------------------------------------------------------------------------------- */

static status check_supported(const recipe *r)
{
    if (strncmp(r->device, "cuda", 4) == 0)
        return fail(STATUS_DEVICE, "device is %s, and this build has no CUDA plug-in; say device: cpu "
                    "or auto", r->device);
    if (strcmp(r->precision, "f32") != 0)
        return fail(STATUS_UNSUPPORTED, "precision is %s; the CPU of this version computes in f32",
                    r->precision);
    if (r->together.n > 0 || r->router.router.name)
        return fail(STATUS_UNSUPPORTED, "%s is not in this version",
                    r->together.n > 0 ? "together" : "router");
    return STATUS_OK;
}

/* Only a run without a checkpoint asks before training: the answers are in the log it is cut back to. */
static status open_data(training *t)
{
    recipe *r = t->r;

    t->packing = (pack_options){.pack = r->data.pack, .batch_tokens = r->train.batch_tokens,
                                .batch_samples = r->train.batch_samples,
                                .accumulate = r->train.accumulate, .epochs = r->train.epochs,
                                .shuffle = r->data.shuffle, .seed = (uint64_t)r->seed};
    TRY_IN(session_examples(&t->s, r, r->data.train, r->data.n_train, &t->train), "in data.train");
    if (t->train.n_cut || t->train.n_dropped)
        log_info("data.train: %lld samples cut at %lld tokens, %lld dropped",
                 (long long)t->train.n_cut, (long long)r->data.length, (long long)t->train.n_dropped);
    TRY_IN(packer_open(&t->s.setup, &t->train, &t->packing, &t->data), "in data.train");
    if (r->data.n_test > 0)
        TRY_IN(session_examples(&t->s, r, r->data.test, r->data.n_test, &t->test), "in data.test");
    t->ask = recipe_options(r, "+train", "answers");
    if (t->ask && t->ask->answers > 0 && r->data.n_test > 0)
        TRY_IN(session_questions(&t->s, r, r->data.test, t->ask->answers, &t->questions,
                                 &t->n_questions), "in data.test");
    t->steps = r->train.steps > 0 || r->train.epochs == 0
                   ? r->train.steps
                   : packer_count(&t->data, r->train.epochs);
    return STATUS_OK;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Groups of the recipe as globs of tensor names. */
static status open_groups(training *t, trainer_options *o)
{
    trainer_group *g;
    int            n = 0;

    for (int i = 0; i < t->r->optim.n_groups; i++)
        n += t->r->optim.groups[i].match.n;
    TRY_TAKE(g, &t->s.setup, n);
    for (int i = 0; i < t->r->optim.n_groups; i++)
        for (int k = 0; k < t->r->optim.groups[i].match.n; k++) {
            char *glob = arena_printf(&t->s.setup, "*%s*", t->r->optim.groups[i].match.v[k]);
            if (!glob)
                return STATUS_MEMORY;
            g[o->n_groups++] = (trainer_group){glob, t->r->optim.groups[i].lr,
                                               t->r->optim.groups[i].weight_decay};
        }
    o->groups = g;
    return STATUS_OK;
}

status train_options_of(training *t, trainer_options *o);
status train_options_of(training *t, trainer_options *o)
{
    const recipe *r = t->r;
    packer        test;

    *o = (trainer_options){.steps = t->steps, .seed = (uint64_t)r->seed};
    TRY(optim_find(r->optim.optimizer.name, &o->optimizer));
    o->optimizer_options = r->optim.optimizer.options;
    o->schedule = *(const schedule_options *)recipe_options(r, "+optim", "schedule");
    o->clip = *(const clip_options *)recipe_options(r, "+optim", "clip");
    o->how = strcmp(r->train.recompute, "block") == 0 ? RECOMPUTE_BLOCK : RECOMPUTE_NONE;
    o->pack = t->data.capacity;
    o->seqs = t->data.seqs_capacity;
    o->leaves = t->data.leaves_capacity;
    if (t->test.n > 0) {
        TRY_IN(packer_open_once(&t->s.setup, &t->test, larger(r->data.pack, t->test.longest), &test),
               "in data.test");
        o->pack = larger(o->pack, test.capacity);
        o->seqs = larger(o->seqs, test.seqs_capacity);
    }
    return open_groups(t, o);
}

static status open_run(training *t)
{
    recipe         *r = t->r;
    trainer_options o;
    const char     *out = r->out ? r->out : arena_printf(&t->s.setup, "runs/%s", r->name);

    if (!out)
        return STATUS_MEMORY;
    TRY(check_supported(r));
    if (r->train.threads > 0)
        threads_set((int)r->train.threads);
    if (!t->o->dry_run)
        TRY(run_folder_open(&t->folder, out, t->o->resume));
    TRY(session_base(&t->s, r->base, (uint64_t)r->seed, false));
    TRY(session_modules(&t->s, r, false));
    TRY(open_data(t));
    TRY(train_options_of(t, &o));
    TRY(trainer_open(&t->x, &t->s.setup, &t->s.tuned, &t->s.m, t->s.p, &o, true));
    TRY(bill_check(&t->s, &t->x, &t->log.planned));
    trainer_close(&t->x);
    TRY(trainer_open(&t->x, &t->s.setup, &t->s.tuned, &t->s.m, t->s.p, &o, false));
    t->st = (run_state){.s = &t->s, .x = &t->x, .data = &t->data, .folder = &t->folder, .r = r,
                        .best = INFINITY};
    return STATUS_OK;
}

/* ---- evaluation -------------------------------------------------------------------------------------- */

static status evaluate(training *t, double *mean)
{
    packer  once;
    double  sum;
    int64_t targets;

    *mean = NAN;
    if (t->test.n == 0)
        return STATUS_OK;

    const size_t mark = arena_mark(&t->s.setup);
    TRY(packer_open_once(&t->s.setup, &t->test, t->x.o.pack, &once));
    TRY(trainer_evaluate(&t->x, &once, &sum, &targets));
    arena_rewind(&t->s.setup, mark);
    *mean = targets > 0 ? sum / (double)targets : 0;
    return report_evaluation(&t->log, &t->st, *mean, targets);
}

static status ask(training *t, answer **answers, double *rouge)
{
    if (t->n_questions == 0)
        return STATUS_OK;
    TRY(answers_make(&t->s, t->questions, t->n_questions, t->ask->max_tokens, answers, rouge));
    log_info("step %lld  ROUGE-L of %lld greedy answers %.3f", (long long)t->st.step,
             (long long)t->n_questions, *rouge);
    return report_figure(&t->st, "rouge_l", *rouge);
}

/* ---- the loop ----------------------------------------------------------------------------------------- */

static bool due(int64_t step, int64_t every, int64_t last)
{
    return (every > 0 && step % every == 0) || step == last;
}

static status loop(training *t)
{
    const recipe_train *o = &t->r->train;
    double              mean;

    while (t->st.step < t->steps) {
        step_report r;
        TRY(trainer_step(&t->x, &t->data, t->st.step, &r));
        if (r.leaves == 0)
            break;
        t->st.step++;
        TRY(report_step(&t->log, &t->st, &r));
        if (due(t->st.step, o->eval_every, t->steps))
            TRY(evaluate(t, &mean));
        t->stopped = signals_stop_requested();
        if (t->stopped || due(t->st.step, o->save_every, t->steps))
            TRY(run_state_save(&t->st));
        if (t->stopped)
            return fail(STATUS_STOPPED, "stopped by %s after step %lld; the state is saved: "
                        "--resume goes on", signals_name(), (long long)t->st.step);
        t->log.last = report_now();
    }
    log_live(NULL);
    return STATUS_OK;
}

/* ---- the whole run ------------------------------------------------------------------------------------- */

static status begin(training *t)
{
    bool  resumed = false;
    char *path = arena_printf(&t->s.setup, "%s/recipe.yaml", t->folder.path);

    if (!path)
        return STATUS_MEMORY;
    if (t->o->resume)
        TRY(run_state_resume(&t->st, &resumed));
    else
        TRY(run_folder_start(&t->folder, 0, 0, 0));
    if (!resumed) {
        TRY(recipe_write(t->r, path));
        TRY(evaluate(t, &t->loss_before));
        TRY(ask(t, &t->before, &t->rouge_before));
    }
    t->log.first_step = t->st.step;
    t->log.steps = t->steps;
    t->log.started = t->log.last = report_now();
    return STATUS_OK;
}

static void print_next(const training *t)
{
    const char *run = t->folder.path;

    log_info("\nThe adapter is in %s/adapter; Hugging Face PEFT loads the same folder. Next:\n"
             "  ./cambium generate %s --adapter %s/adapter --prompt \"...\"\n"
             "  ./cambium eval %s\n"
             "  ./cambium merge %s %s/adapter merged",
             run, t->r->base, run, run, t->r->base, run);
}

static status finish(training *t)
{
    answer *after = NULL;
    double  rouge = 0;
    char   *path = arena_printf(&t->s.setup, "%s/adapter", t->folder.path);

    if (!path)
        return STATUS_MEMORY;
    TRY(run_state_write_adapters(&t->st, path));
    TRY(ask(t, &after, &rouge));
    if (after && t->ask->show > 0) {
        log_info(" ");
        answers_print(t->questions, t->ask->show < t->n_questions ? t->ask->show : t->n_questions,
                      t->before, after);
    }
    print_next(t);
    return STATUS_OK;
}

/* --batches FILE: what training reads, and FILE.test with the test data. */
static status dump(training *t)
{
    char *test = arena_printf(&t->s.setup, "%s.test", t->o->batches);

    if (!test)
        return STATUS_MEMORY;
    TRY(dump_batches(&t->s.setup, t->o->batches, &t->train, &t->packing, t->steps));
    return t->test.n > 0 ? dump_examples(test, &t->test) : STATUS_OK;
}

static status run(training *t)
{
    TRY(open_run(t));
    log_info("%s: %lld values trained of %lld modules' tensors, %lld samples, %lld steps",
             t->r->name, (long long)t->s.p->trained, (long long)t->s.p->n_tuned,
             (long long)t->train.n, (long long)t->steps);
    if (t->o->batches)
        TRY(dump(t));
    if (t->o->dry_run)
        return STATUS_OK;
    TRY(begin(t));
    TRY(loop(t));
    return finish(t);
}

status train_run(recipe *r, const train_options *o)
{
    training t = {.r = r, .o = o, .folder = {.lock = -1}};
    status   s = session_open(&t.s);

    if (s == STATUS_OK)
        s = run(&t);
    log_live(NULL);
    trainer_close(&t.x);
    if (!o->dry_run)
        run_folder_close(&t.folder);
    session_close(&t.s);
    return s;
}
