/* train: opening a run, and the one loop */
#include "recipes/train.h"

#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory_use.h"
#include "core/threads.h"
#include "recipes/answers.h"
#include "recipes/bill.h"
#include "recipes/dump.h"
#include "recipes/opening.h"
#include "recipes/profile.h"
#include "recipes/report.h"
#include "recipes/signals.h"

#include <math.h>
#include <string.h>

struct training {
    recipe              *r;
    const train_options *o;
    opening              in;
    trainer              x;
    run_folder           folder;
    run_state            st;
    report               log;
    profile              trace;
    answer              *before;
    arena                activations;
    training            *beside;  /* whose memory of a step is used, NULL: its own */
    training_bytes       planned;
    bool                 stopped; /* by a signal, when the state was saved */
    experts              slow;
};

/* ---- opening ---------------------------------------------------------------------------------------- */

static status check_bill(training *t)
{
    const bill b = bill_of(&t->in.s, &t->x);

    t->planned = (training_bytes){.shared = b.trunk + b.step + b.scratch + b.program,
                                  .own = b.values + b.gradients + b.optimizer + b.data};
    if (b.device.total > 0)
        t->planned = (training_bytes){
            .shared = b.device.trunk + b.device.step + b.device.scratch + b.device.context,
            .own = b.device.gradients + b.device.optimizer};
    return bill_check(&t->in.s, &t->x, &t->log.planned);
}

/* Runs that take turns have one memory of a step: what is in it is of no use to the next step. */
static status open_activations(training *t)
{
    if (!t->beside)
        TRY(arena_open(&t->activations, "step", (size_t)256 << 30));
    t->in.trainer.step = t->beside ? t->beside->in.trainer.step : &t->activations;
    return STATUS_OK;
}

static status open_experts(training *t)
{
    const experts_options *o = t->in.experts;
    session               *s = &t->in.s;

    TRY(experts_open(&t->slow, &s->tuned, &t->x, o->slow_keep));
    if (t->o->dry_run || !o->slow_load)
        return experts_begin(&t->slow);
    return fail_in(experts_load(&t->slow, &s->setup, o->slow_load), "in train.slow_load");
}

static status open_run(training *t)
{
    recipe     *r = t->r;
    session    *s = &t->in.s;
    const char *out = r->out ? r->out : arena_printf(&s->setup, "runs/%s", r->name);

    if (!out)
        return STATUS_MEMORY;
    if (r->train.threads > 0)
        threads_set((int)r->train.threads);
    if (!t->o->dry_run)
        TRY(run_folder_open(&t->folder, out, t->o->resume));
    if (t->o->resume && !t->o->dry_run)
        TRY(run_state_same_recipe(r, out));
    TRY(opening_load(&t->in, false));
    TRY(trainer_open(&t->x, &s->setup, &s->tuned, &s->m, s->p, &t->in.trainer, true));
    log_info("%s: trains %lld values in %d tensors, on %lld samples, in %lld steps", r->name,
             (long long)s->p->trained, s->p->n_tuned, (long long)t->in.train.n, (long long)t->in.steps);
    TRY(check_bill(t));
    trainer_close(&t->x);
    TRY(session_hold(s));
    TRY(goal_hold(&t->in.goal));
    if (!t->o->dry_run)
        TRY(opening_settle(&t->in, true));
    TRY(open_activations(t));
    TRY(trainer_open(&t->x, &s->setup, &s->tuned, &s->m, s->p, &t->in.trainer, false));
    if (t->in.experts->slow_copy)
        TRY(open_experts(t));
    TRY(profile_open(&t->trace, &s->setup, t->o->profile));
    t->st = (run_state){.s = s, .x = &t->x, .data = &t->in.data, .folder = &t->folder, .r = r,
                        .slow = t->in.experts->slow_copy ? &t->slow : NULL, .best = INFINITY, .best_step = -1};
    return STATUS_OK;
}

/* ---- evaluation -------------------------------------------------------------------------------------- */

/* A figure, with its interval if it has one. */
static status report_result(training *t, const metric_result *f, const char *of)
{
    char interval[64] = "";

    if (f->resampled)
        snprintf(interval, sizeof interval, ", 95 %% interval %.3f to %.3f", f->interval.lo, f->interval.hi);
    log_info("step %lld  %s%s %.3f%s", (long long)t->st.step, f->title, of, f->value, interval);
    return report_figure(&t->st, f->name, f->value);
}

static status measure(training *t)
{
    arena     *a = &t->in.s.setup;
    goal_tally tally;
    packer     once;
    double     sum;
    int64_t    targets;

    TRY(goal_tally_open(&t->in.goal, a, &t->in.test, &tally));
    TRY(packer_open_once(a, &t->in.test, t->x.o.pack, t->x.o.source, &once));
    TRY(trainer_evaluate(&t->x, &once, &tally, &sum, &targets));
    TRY(goal_tally_finish(&t->in.goal, &tally));
    const double loss = targets > 0 ? sum / (double)targets : 0;
    run_state_judge(&t->st, goal_selected(&t->in.goal, &tally, loss));
    TRY(report_evaluation(&t->log, &t->st, loss, targets, t->in.goal.o->perplexity));
    for (int i = 0; i < tally.n; i++)
        TRY(report_result(t, &tally.figures[i], " on the test data"));
    return STATUS_OK;
}

static status evaluate(training *t)
{
    const size_t mark = arena_mark(&t->in.s.setup);

    if (t->in.test.n == 0)
        return STATUS_OK;
    TRY(measure(t));
    arena_rewind(&t->in.s.setup, mark);
    return STATUS_OK;
}

static status ask(training *t, answer **answers)
{
    const answer_options *o = t->in.ask;
    metric_result        *f;
    char                  of[64];

    if (t->in.n_questions == 0)
        return STATUS_OK;
    arena_vacate(t->in.trainer.step);
    TRY(answers_make(&t->in.s, t->in.questions, t->in.n_questions, o->max_tokens, answers));
    TRY(answers_score(&t->in.s.setup, t->in.questions, *answers, t->in.n_questions, o, (uint64_t)t->r->seed,
                      &f));
    snprintf(of, sizeof of, " of %lld greedy answers", (long long)t->in.n_questions);
    for (int i = 0; i < o->metrics.n; i++)
        TRY(report_result(t, &f[i], of));
    return STATUS_OK;
}

/* ---- the loop ----------------------------------------------------------------------------------------- */

static bool due(int64_t step, int64_t every, int64_t last)
{
    return (every > 0 && step % every == 0) || step == last;
}

/* Evaluations without a better one have used up the recipe's patience. */
static bool out_of_patience(const training *t)
{
    return t->r->train.patience > 0 && t->st.worse >= t->r->train.patience;
}

bool training_ended(const training *t)
{
    return t->st.step >= t->in.steps || out_of_patience(t) || t->stopped;
}

bool training_stopped(const training *t)
{
    return t->stopped;
}

/* The state is that of the best evaluation, and will be wanted again. */
static bool is_result(const training *t)
{
    return run_state_selects_best(&t->st) && t->st.best_step == t->st.step;
}

/* --profile: the run's second step, which takes no memory any more. */
static status step(training *t, step_report *r)
{
    const int64_t second = t->log.first_step + (t->in.steps - t->log.first_step > 1);

    if (!t->trace.path || t->st.step != second)
        return trainer_step(&t->x, &t->in.data, t->st.step, r);
    profile_begin(&t->trace, t->x.t);
    TRY(trainer_step(&t->x, &t->in.data, t->st.step, r));
    return profile_end(&t->trace, t->x.t, t->st.step + 1);
}

status training_save(training *t)
{
    return run_state_save(&t->st);
}

status training_step(training *t)
{
    const recipe_train *o = &t->r->train;
    step_report         r;

    t->log.last = clock_seconds();
    TRY(step(t, &r));
    if (r.leaves == 0) { /* the data has ended */
        t->in.steps = t->st.step;
        return STATUS_OK;
    }
    t->st.step++;
    TRY(report_step(&t->log, &t->st, &r));
    if (due(t->st.step, o->eval_every, t->in.steps))
        TRY(evaluate(t));
    const bool asked = signals_stop_requested();
    if (asked || training_ended(t) || is_result(t) || due(t->st.step, o->save_every, t->in.steps))
        TRY(training_save(t));
    t->stopped = asked;
    return STATUS_OK;
}

static status stopped(const training *t)
{
    return fail(STATUS_STOPPED, "stopped by %s after step %lld; the state is saved: --resume goes on", signals_name(),
                (long long)t->st.step);
}

static status loop(training *t)
{
    while (!training_ended(t))
        TRY(training_step(t));
    return t->stopped ? stopped(t) : STATUS_OK;
}

/* ---- the whole run ------------------------------------------------------------------------------------- */

status training_begin(training *t)
{
    bool  resumed = false;
    char *path = arena_printf(&t->in.s.setup, "%s/recipe.yaml", t->folder.path);

    if (!path)
        return STATUS_MEMORY;
    if (t->o->resume)
        TRY(run_state_resume(&t->st, &resumed));
    else
        TRY(run_folder_start(&t->folder, 0, 0, 0));
    if (!resumed) {
        TRY(recipe_write(t->r, path));
        TRY(evaluate(t));
        TRY(ask(t, &t->before));
        if (is_result(t))
            TRY(run_state_save(&t->st));
    }
    t->log.first_step = t->st.step;
    t->log.steps = t->in.steps;
    t->log.started = t->log.last = clock_seconds();
    if (t->trace.path && t->st.step >= t->in.steps)
        return fail(STATUS_USAGE, "--profile: there is no step left to trace");
    return STATUS_OK;
}

/* PEFT knows the methods of all modules; what a loaded one is, its folder says. */
static bool is_for_peft(const recipe *r)
{
    bool all = !r->router.router.name;

    for (int i = 0; i < r->n_modules; i++) {
        const recipe_module *m = &r->modules[i];
        all &= !m->load && (peft_traits(peft_find(m->method.name), m->method.options) & PEFT_FILE);
    }
    return all;
}

void train_say_next(const recipe *r, const char *run)
{
    log_info("\nThe adapter is in %s/adapter%s. Next:", run,
             is_for_peft(r) ? "; Hugging Face PEFT loads the same folder" : "");
    if (objective_of(r)->asks)
        log_info("  ./cambium generate %s --adapter %s/adapter --prompt \"...\"", r->base, run);
    log_info("  ./cambium eval %s\n"
             "  ./cambium merge %s %s/adapter merged", run, r->base, run);
}

/* The slow copy with the same head. */
static status write_slow(training *t)
{
    char *path = arena_printf(&t->in.s.setup, "%s/adapter_slow", t->folder.path);

    if (!path)
        return STATUS_MEMORY;
    TRY(experts_swap(&t->slow));
    const status done = run_state_write_adapters(&t->st, path, t->st.step);
    TRY(experts_swap(&t->slow));
    return done;
}

status training_finish(training *t)
{
    answer *after = NULL;
    char   *path = arena_printf(&t->in.s.setup, "%s/adapter", t->folder.path);

    if (!path)
        return STATUS_MEMORY;
    log_live(NULL);
    if (out_of_patience(t))
        log_info("step %lld  stopped early: %lld evaluations were not better than that of step %lld",
                 (long long)t->st.step, (long long)t->st.worse, (long long)t->st.best_step);
    if (run_state_selects_best(&t->st)) {
        TRY(run_state_take_best(&t->st));
        log_info("the result is the state after step %lld, the best evaluation: %s %.4f", (long long)t->st.best_step,
                 t->in.goal.selects, goal_figure(&t->in.goal, t->st.best));
    }
    TRY(run_state_write_adapters(&t->st, path,
                                 run_state_selects_best(&t->st) ? t->st.best_step : t->st.step));
    if (t->st.slow)
        TRY(write_slow(t));
    TRY(ask(t, &after));
    if (after && t->in.ask->show > 0) {
        log_info(" ");
        answers_print(t->in.questions, t->in.ask->show < t->in.n_questions ? t->in.ask->show : t->in.n_questions,
                      t->before, after);
    }
    if (!t->o->part)
        train_say_next(t->r, t->folder.path);
    return STATUS_OK;
}

/* --batches FILE: what training reads, and FILE.test with the test data. */
static status dump(training *t)
{
    char *test = arena_printf(&t->in.s.setup, "%s.test", t->o->batches);

    if (!test)
        return STATUS_MEMORY;
    TRY(dump_batches(&t->in.s.setup, t->o->batches, &t->in.train, &t->in.packing, t->in.steps));
    return t->in.test.n > 0 ? dump_examples(test, &t->in.test) : STATUS_OK;
}

static status begin_opening(training *t)
{
    return t->beside ? opening_begin_beside(&t->in, t->r, &t->beside->in) : opening_begin(&t->in, t->r);
}

status training_open(arena *a, recipe *r, const train_options *o, training *beside, training **out)
{
    *out = NULL;
    if (o->dry_run && o->profile)
        return fail(STATUS_USAGE, "--profile needs a step to trace, and --dry-run makes none");
    training *t;
    TRY_TAKE(t, a, 1);
    *t = (training){.r = r, .o = o, .beside = beside};
    memory_use(&t->log.idle, NULL);
    TRY(begin_opening(t));
    *out = t;
    TRY(open_run(t));
    return o->batches ? dump(t) : STATUS_OK;
}

void training_close(training *t)
{
    log_live(NULL);
    trainer_close(&t->x);
    arena_close(&t->activations);
    if (t->folder.path[0])
        run_folder_close(&t->folder);
    opening_end(&t->in);
}

training_bytes training_planned(const training *t)
{
    return t->planned;
}

void training_plan(training *t, size_t total)
{
    t->log.planned = total;
}

static status run(arena *a, recipe *r, const train_options *o)
{
    training *t = NULL;
    status    s = training_open(a, r, o, NULL, &t);

    if (s == STATUS_OK && !o->dry_run)
        s = training_begin(t);
    if (s == STATUS_OK && !o->dry_run)
        s = loop(t);
    if (s == STATUS_OK && !o->dry_run)
        s = training_finish(t);
    if (t)
        training_close(t);
    return s;
}

status train_run(recipe *r, const train_options *o)
{
    arena a;

    TRY(arena_open(&a, "run", (size_t)1 << 20));
    const status s = run(&a, r, o);
    arena_close(&a);
    return s;
}
