/* together: runs that take turns */
#include "recipes/together.h"

#include "core/log.h"
#include "recipes/procedure.h"
#include "recipes/registry.h"

#include <string.h>

typedef struct team {
    arena               *a;
    recipe             **r;
    int                  n, n_failed;
    training           **v;     /* NULL: not opened */
    status               worst; /* of the first that failed .. */
    const char          *why;   /* .. and what it said */
    const train_options *o;
} team;

/* ---- recipes ------------------------------------------------------------------------------------------ */

static const char *folder_of(arena *a, const recipe *r)
{
    return r->out ? r->out : arena_printf(a, "runs/%s", r->name);
}

static status check_same(const recipe *x, const recipe *first, const char *key, const char *is, const char *must)
{
    if (strcmp(is, must) == 0)
        return STATUS_OK;
    return fail(STATUS_USAGE, "together: %s has %s %s, %s has %s; all must have the same", x->file, key, is,
                first->file, must);
}

/* x can stand beside those before it. */
static status check_beside(arena *a, recipe *const *before, int n, const recipe *x)
{
    const recipe *first = before[0];

    if (x->together.n > 0)
        return fail(STATUS_USAGE, "together: %s is itself several recipes", x->file);
    if (procedure_of(x)->phase)
        return fail(STATUS_USAGE, "together: %s goes in phases (procedure %s), must be single", x->file,
                    x->procedure.name);
    if (n == 0)
        return STATUS_OK;
    TRY(check_same(x, first, "base", x->base, first->base));
    TRY(check_same(x, first, "device", x->device, first->device));
    TRY(check_same(x, first, "precision", x->precision, first->precision));
    if (strncmp(x->base, "random:", 7) == 0 && x->seed != first->seed)
        return fail(STATUS_USAGE, "together: %s has seed %lld, %s has %lld; a random trunk is made from the seed, so all "
                    "must have the same", x->file, (long long)x->seed, first->file, (long long)first->seed);
    for (int i = 0; i < n; i++) {
        const char *there = folder_of(a, before[i]), *here = folder_of(a, x);
        if (!there || !here)
            return STATUS_MEMORY;
        if (strcmp(there, here) == 0)
            return fail(STATUS_USAGE, "together: %s and %s have the same run folder %s; set another name or out",
                        before[i]->file, x->file, here);
    }
    return STATUS_OK;
}

status together_recipes(arena *a, const recipe *r, recipe ***out)
{
    TRY_TAKE(*out, a, r->together.n);
    for (int i = 0; i < r->together.n; i++) {
        TRY_IN(recipe_load(a, r->together.v[i], NULL, registry(), &(*out)[i]), "in %s: together", r->file);
        TRY(check_beside(a, *out, i, (*out)[i]));
    }
    return STATUS_OK;
}

/* ---- turns -------------------------------------------------------------------------------------------- */

/* A run that fails ends; what it saved stays. */
static status note_failure(team *x, int i, status s)
{
    if (s == STATUS_OK)
        return STATUS_OK;
    const char *text = arena_string(x->a, status_text(), strlen(status_text()));
    if (!text)
        return STATUS_MEMORY;
    log_warn("this run has failed: %s", text);
    status_clear();
    if (x->n_failed++ == 0) {
        x->worst = s;
        x->why = arena_printf(x->a, "%s: %s", x->r[i]->name, text);
    }
    return STATUS_OK;
}

static status open_all(team *x)
{
    training_bytes sum = {0};

    for (int i = 0; i < x->n; i++) {
        log_speaker(x->r[i]->name);
        TRY_IN(training_open(x->a, x->r[i], x->o, i > 0 ? x->v[0] : NULL, &x->v[i]), "in run %s", x->r[i]->name);
        const training_bytes b = training_planned(x->v[i]);
        sum.shared = b.shared > sum.shared ? b.shared : sum.shared;
        sum.own += b.own;
    }
    log_speaker(NULL);
    log_info("together: %d runs, %.0f MB in all, of which they share %.0f", x->n, (double)(sum.shared + sum.own) / 1e6,
             (double)sum.shared / 1e6);
    for (int i = 0; i < x->n; i++)
        training_plan(x->v[i], sum.shared + sum.own);
    return STATUS_OK;
}

/* A signal was seen by one of them: the others save too. */
static status stop_all(team *x, const bool *going)
{
    for (int i = 0; i < x->n; i++)
        if (going[i] && !training_stopped(x->v[i]))
            TRY_IN(training_save(x->v[i]), "in run %s", x->r[i]->name);
    return fail(STATUS_STOPPED, "stopped; the state of all runs is saved: --resume goes on");
}

static status take_turns(team *x)
{
    bool *going;
    int   left = x->n;

    TRY_TAKE(going, x->a, x->n);
    for (int i = 0; i < x->n; i++) {
        log_speaker(x->r[i]->name);
        const status s = training_begin(x->v[i]);
        going[i] = s == STATUS_OK;
        left -= !going[i];
        TRY(note_failure(x, i, s));
    }
    while (left > 0)
        for (int i = 0; i < x->n; i++) {
            if (!going[i])
                continue;
            log_speaker(x->r[i]->name);
            status s = training_ended(x->v[i]) ? STATUS_OK : training_step(x->v[i]);
            if (s == STATUS_OK && training_stopped(x->v[i]))
                return stop_all(x, going);
            if (s == STATUS_OK && !training_ended(x->v[i]))
                continue;
            if (s == STATUS_OK)
                s = training_finish(x->v[i]);
            TRY(note_failure(x, i, s));
            going[i] = false;
            left--;
        }
    return STATUS_OK;
}

static status train(team *x)
{
    TRY(open_all(x));
    if (x->o->dry_run)
        return STATUS_OK;
    TRY(take_turns(x));
    log_speaker(NULL);
    if (x->n_failed > 0)
        return fail(x->worst, "%d of %d runs failed, the first: %s", x->n_failed, x->n, x->why);
    log_info("\nThe adapters are in:");
    for (int i = 0; i < x->n; i++)
        log_info("  %s/adapter", folder_of(x->a, x->r[i]));
    return STATUS_OK;
}

static void close_all(team *x)
{
    for (int i = x->n - 1; i >= 0; i--)
        if (x->v[i])
            training_close(x->v[i]);
}

static status train_team(arena *a, const recipe *r, const train_options *o)
{
    train_options part = *o;
    team          x = {.a = a, .n = r->together.n, .o = &part};

    part.part = true;
    if (o->batches || o->profile)
        return fail(STATUS_USAGE, "--batches and --profile look at one run: train that recipe alone");
    TRY(together_recipes(a, r, &x.r));
    TRY_TAKE(x.v, a, x.n);
    memset(x.v, 0, (size_t)x.n * sizeof *x.v);
    const status s = train(&x);
    close_all(&x);
    log_speaker(NULL);
    return s;
}

status together_train(const recipe *r, const train_options *o)
{
    arena a;

    TRY(arena_open(&a, "together", (size_t)1 << 32));
    const status s = train_team(&a, r, o);
    arena_close(&a);
    return s;
}
