/* eval: the objective's figures on a recipe's test data */
#include "recipes/commands.h"

#include "core/file.h"
#include "core/log.h"
#include "recipes/answers.h"
#include "recipes/bill.h"
#include "recipes/opening.h"

#include <math.h>
#include <string.h>

typedef struct figures {
    double  loss;
    int64_t targets, answers, step; /* step: of the adapter, -1 when it says none */
    double  rouge;
} figures;

static status measure(opening *o, figures *f)
{
    trainer x = {0};
    packer  once;
    double  sum;
    answer *answers;

    if (o->test.n == 0)
        return fail(STATUS_USAGE, "%s: has no data.test to evaluate on", o->r->file);
    TRY(trainer_open(&x, &o->s.setup, &o->s.tuned, &o->s.m, o->s.p, &o->trainer, false));
    status s = packer_open_once(&o->s.setup, &o->test, o->trainer.pack, &once);
    if (s == STATUS_OK)
        s = trainer_evaluate(&x, &once, &sum, &f->targets);
    trainer_close(&x);
    TRY(s);
    f->loss = f->targets > 0 ? sum / (double)f->targets : 0;
    if (o->n_questions > 0)
        TRY(answers_make(&o->s, o->questions, o->n_questions, o->ask->max_tokens, &answers, &f->rouge));
    f->answers = o->n_questions;
    return STATUS_OK;
}

static void print_figures(const figures *f, bool json, FILE *out)
{
    if (json) {
        fprintf(out, "{\"loss\": %.9g, \"perplexity\": %.9g, \"targets\": %lld", f->loss, exp(f->loss),
                (long long)f->targets);
        if (f->answers)
            fprintf(out, ", \"rouge_l\": %.9g, \"answers\": %lld", f->rouge, (long long)f->answers);
        if (f->step >= 0)
            fprintf(out, ", \"step\": %lld", (long long)f->step);
        fprintf(out, "}\n");
        return;
    }
    fprintf(out, "loss        %.4f   mean over %lld targets\nperplexity  %.2f\n", f->loss,
            (long long)f->targets, exp(f->loss));
    if (f->answers)
        fprintf(out, "ROUGE-L     %.3f   of %lld greedy answers\n", f->rouge, (long long)f->answers);
}

/* Values of a run's or another adapter into the recipe's modules. */
static status load_adapter(opening *o, const char *folder, bool force, int64_t *step)
{
    adapter_info info = {.base = o->s.base};
    char        *below;

    if (!force) {
        TRY(session_fingerprint(&o->s));
        info.fingerprint = o->s.fingerprint;
    }
    for (int i = 0; i < o->s.p->n_modules; i++) {
        below = o->s.p->n_modules == 1 ? path_join(&o->s.setup, ".", folder)
                                       : path_join(&o->s.setup, folder, o->s.p->modules[i].name);
        if (!below)
            return STATUS_MEMORY;
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

static status evaluate(opening *o, const char *adapter, bool force, bool json, FILE *out)
{
    figures f = {.step = -1};

    TRY(opening_load(o, false));
    if (adapter)
        TRY(load_adapter(o, adapter, force, &f.step));
    if (f.step >= 0)
        log_info("%s: the state after step %lld of its run", adapter, (long long)f.step);
    TRY(check_memory(o));
    TRY(session_hold(&o->s));
    TRY(measure(o, &f));
    print_figures(&f, json, out);
    return STATUS_OK;
}

status command_eval(const char *what, const key_texts *overrides, const char *adapter, bool force,
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
    if (s == STATUS_OK)
        s = opening_begin(&o, r);
    if (s == STATUS_OK) {
        s = evaluate(&o, adapter, force, json, out);
        opening_end(&o);
    }
    arena_close(&a);
    return s;
}
