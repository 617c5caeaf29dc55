/* eval: the objective's figures on a recipe's test data */
#include "recipes/commands.h"

#include "core/file.h"
#include "core/log.h"
#include "core/text.h"
#include "recipes/answers.h"
#include "recipes/bill.h"
#include "recipes/opening.h"
#include "recipes/procedure.h"

#include <limits.h>
#include <math.h>
#include <string.h>

typedef struct figures {
    bool           words; /* the loss is that of words */
    double         loss;
    int64_t        targets, answers, step; /* step: of the adapter, -1 when it says none */
    goal_tally     predictions;
    int            n_scores;
    metric_result *scores; /* of the answers */
} figures;

/* Where "adapter_slow" lies beside "adapter", both predict. */
static status open_experts(opening *o, const char *adapter, trainer *x, experts *e)
{
    const char *slow = arena_printf(&o->s.setup, "%.*s_slow", (int)strlen(adapter) - (text_ends(adapter, "/") ? 1 : 0),
                                    adapter);

    if (!slow)
        return STATUS_MEMORY;
    if (!path_exists(slow) || !(o->goal.predicts & METRIC_CLASSES))
        return STATUS_OK;
    log_info("%s: predicts too", slow);
    TRY(experts_open(e, &o->s.tuned, x, 1));
    return experts_load(e, &o->s.setup, slow);
}

static status measure(opening *o, const char *adapter, figures *f)
{
    trainer x = {0};
    experts e;
    packer  once;
    double  sum;
    answer *answers;

    if (o->test.n == 0)
        return fail(STATUS_USAGE, "%s: has no data.test to evaluate on", o->r->file);
    f->words = o->goal.o->perplexity;
    TRY(trainer_open(&x, &o->s.setup, &o->s.tuned, &o->s.m, o->s.p, &o->trainer, false));
    status s = packer_open_once(&o->s.setup, &o->test, o->trainer.pack, o->trainer.source, &once);
    if (s == STATUS_OK && adapter)
        s = open_experts(o, adapter, &x, &e);
    if (s == STATUS_OK)
        s = goal_tally_open(&o->goal, &o->s.setup, &o->test, &f->predictions);
    if (s == STATUS_OK)
        s = trainer_evaluate(&x, &once, &f->predictions, &sum, &f->targets);
    trainer_close(&x);
    TRY(s);
    TRY(goal_tally_finish(&o->goal, &f->predictions));
    f->loss = f->targets > 0 ? sum / (double)f->targets : 0;
    f->answers = o->n_questions;
    if (o->n_questions == 0)
        return STATUS_OK;
    TRY(answers_make(&o->s, o->questions, o->n_questions, o->ask->max_tokens, &answers));
    f->n_scores = o->ask->metrics.n;
    return answers_score(&o->s.setup, o->questions, answers, o->n_questions, o->ask, (uint64_t)o->r->seed,
                         &f->scores);
}

static void print_json_results(const metric_result *v, int n, FILE *out)
{
    for (const metric_result *s = v; s < v + n; s++) {
        fprintf(out, ", \"%s\": %.9g", s->name, s->value);
        if (s->resampled)
            fprintf(out, ", \"%s_interval\": [%.9g, %.9g]", s->name, s->interval.lo, s->interval.hi);
    }
}

static void print_json(const figures *f, FILE *out)
{
    fprintf(out, "{\"loss\": %.9g", f->loss);
    if (f->words)
        fprintf(out, ", \"perplexity\": %.9g", exp(f->loss));
    fprintf(out, ", \"targets\": %lld", (long long)f->targets);
    print_json_results(f->predictions.figures, f->predictions.n, out);
    print_json_results(f->scores, f->n_scores, out);
    if (f->answers)
        fprintf(out, ", \"answers\": %lld", (long long)f->answers);
    if (f->step >= 0)
        fprintf(out, ", \"step\": %lld", (long long)f->step);
    fprintf(out, "}\n");
}

static void print_results(const metric_result *v, int n, int64_t of, const char *what, FILE *out)
{
    for (const metric_result *s = v; s < v + n; s++) {
        fprintf(out, "%-14s %.3f   of %lld %s", s->title, s->value, (long long)of, what);
        if (s->resampled)
            fprintf(out, ", 95 %% interval %.3f to %.3f", s->interval.lo, s->interval.hi);
        fputc('\n', out);
    }
}

static void print_table(const figures *f, FILE *out)
{
    fprintf(out, "loss           %.4f   mean over %lld targets\n", f->loss, (long long)f->targets);
    if (f->words)
        fprintf(out, "perplexity     %.2f\n", exp(f->loss));
    for (int i = 0; i < f->predictions.n; i++)
        print_results(&f->predictions.figures[i], 1, f->predictions.v[i].n, "predictions", out);
    print_results(f->scores, f->n_scores, f->answers, "greedy answers", out);
}

/* Values of a run's or another adapter into the recipe's modules. */
static status load_adapter(opening *o, const char *folder, bool force, int64_t *step)
{
    adapter_info info = {.base = o->s.base};
    char         below[PATH_MAX];

    if (!force) {
        TRY(session_fingerprint(&o->s));
        info.fingerprint = o->s.fingerprint;
    }
    for (int i = 0; i < o->s.p->n_modules; i++) {
        TRY(adapter_folder(o->s.p, i, folder, below, sizeof below));
        TRY(adapter_load(o->s.p, i, below, &info));
        TRY(adapter_step(&o->s.setup, below, step));
    }
    return STATUS_OK;
}

/* Refuses what does not fit before anything is taken. */
static status check_memory(opening *o)
{
    trainer x;
    size_t  total;

    TRY(trainer_open(&x, &o->s.setup, &o->s.tuned, &o->s.m, o->s.p, &o->trainer, true));
    const status s = bill_check(&o->s, &x, &total);
    trainer_close(&x);
    return s;
}

/* All samples are asked as if they were of that task. */
static status set_task(opening *o, int64_t task)
{
    TRY(model_check_task(&o->s.m, task));
    for (int64_t i = 0; i < o->test.n; i++)
        o->test.v[i].task = (int32_t)task;
    for (int64_t i = 0; i < o->n_questions; i++)
        o->questions[i].task = (int32_t)task;
    return STATUS_OK;
}

static status evaluate(opening *o, const char *adapter, int64_t task, bool force, bool json, FILE *out)
{
    figures f = {.step = -1};

    TRY(opening_load(o, false));
    if (task >= 0)
        TRY(set_task(o, task));
    if (adapter)
        TRY(load_adapter(o, adapter, force, &f.step));
    if (f.step >= 0)
        log_info("%s: the state after step %lld of its run", adapter, (long long)f.step);
    TRY(check_memory(o));
    TRY(session_hold(&o->s));
    TRY(goal_hold(&o->goal));
    TRY(opening_settle(o, false));
    TRY(measure(o, adapter, &f));
    if (json)
        print_json(&f, out);
    else
        print_table(&f, out);
    return STATUS_OK;
}

status command_eval(const char *what, const key_texts *overrides, const char *adapter, int64_t task, bool force,
                    bool json, FILE *out)
{
    arena       a;
    recipe     *r;
    opening     o;
    const char *file = what;

    TRY(arena_open(&a, "setup", (size_t)1 << 30));
    if (path_is_folder(what)) {
        file = path_join(&a, what, "recipe.yaml");
        if (!adapter)
            adapter = path_join(&a, what, "adapter");
    }
    status s = file ? recipe_load(&a, file, overrides, registry(), &r) : STATUS_MEMORY;
    if (s == STATUS_OK && adapter)
        s = procedure_evaluate(&a, r, adapter, &r);
    if (s == STATUS_OK)
        s = opening_begin(&o, r);
    if (s == STATUS_OK) {
        s = evaluate(&o, adapter, task, force, json, out);
        opening_end(&o);
    }
    arena_close(&a);
    return s;
}
