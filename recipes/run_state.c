/* run_state: saving and going on */
#include "recipes/run_state.h"

#include "core/cpu/matmul.h"
#include "core/device.h"
#include "core/file.h"
#include "core/hdf5_file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/sha256.h"
#include "optim/state.h"
#include "recipes/experts.h"
#include "recipes/registry.h"

#include <math.h>
#include <string.h>

/* ---- fingerprints ---------------------------------------------------------------------------------- */

static void add_values(sha256 *h, const void *v, int64_t n)
{
    if (v)
        sha256_add(h, v, (size_t)n * 4);
}

static void add_example(sha256 *h, const examples *x, const example *e)
{
    sha256_add(h, &e->n, sizeof e->n);
    add_values(h, e->ids, e->n);
    add_values(h, e->labels, e->n);
    add_values(h, e->types, e->n);
    add_values(h, e->source, e->n_source);
    add_values(h, e->patches, (e->n - 1) * x->patch);
    add_values(h, e->label >= 0 ? &e->label : NULL, 1);
    add_values(h, e->ends, e->ends ? example_texts(e) : 0);
    if (x->place != TARGET_TEXTS) /* there they are what a device computed */
        add_values(h, e->values, x->width);
    add_values(h, e->window ? e->span : NULL, 2);
}

/* What was read of the data: counts and every value; and the teacher that says more of it. */
static status data_fingerprint(const examples *x, session *teacher, char hex[65])
{
    sha256 h;

    if (teacher)
        TRY(session_fingerprint(teacher));
    TRY(sha256_open(&h));
    if (teacher)
        sha256_add(&h, teacher->fingerprint, strlen(teacher->fingerprint));
    for (int64_t i = 0; i < x->n; i++)
        add_example(&h, x, &x->v[i]);
    sha256_close(&h, hex);
    return STATUS_OK;
}

/* What computes: a GPU's name, or the CPU's instruction set. */
static const char *device_text(void)
{
    static char text[160];
    const device *d = device_current();

    snprintf(text, sizeof text, "%s %s", d ? "cuda" : "cpu", d ? device_about(d)->name : matmul_path());
    return text;
}

static status fill_facts(run_state *st, checkpoint_facts *f, char data[65], char recipe_text_[17])
{
    TRY(session_fingerprint(st->s));
    TRY(data_fingerprint(st->data->x, st->x->o.goal->teacher, data));
    snprintf(recipe_text_, 17, "%016llx", (unsigned long long)st->r->fingerprint);
    *f = (checkpoint_facts){.base = st->s->fingerprint, .data = data, .recipe = recipe_text_,
                            .device = device_text()};
    return STATUS_OK;
}

/* ---- the best --------------------------------------------------------------------------------------- */

void run_state_judge(run_state *st, double value)
{
    if (value < st->best) {
        st->best = value;
        st->best_step = st->step;
        st->worse = 0;
    } else
        st->worse++;
}

bool run_state_selects_best(const run_state *st)
{
    return strcmp(st->r->train.select, "best") == 0;
}

/* ---- saving ---------------------------------------------------------------------------------------- */

status run_state_write_adapters(run_state *st, const char *folder, int64_t step)
{
    const peft  *p = st->s->p;
    const goal  *g = st->x->o.goal;
    adapter_info info = {.base = st->s->base, .task_type = g->o->task_type,
                         .labels = {g->measured.n_tags, g->measured.tags}};
    char         below[PATH_MAX], step_text[24];

    snprintf(step_text, sizeof step_text, "%lld", (long long)step);
    info.step = step_text;
    TRY(session_fingerprint(st->s));
    info.fingerprint = st->s->fingerprint;
    TRY(json_string(st->s->w.config, COMPOSED_OF, false, &info.origin, st->s->base));
    for (int i = 0; i < p->n_modules; i++) {
        TRY(adapter_folder(p, i, folder, below, sizeof below));
        TRY(folder_make(below));
        TRY(adapter_save(p, i, below, &info));
    }
    return STATUS_OK;
}

static status put_state(run_state *st, h5_file *f)
{
    const pack_position *at = &st->data->at;

    TRY(h5_put_int(f, "step", st->step));
    TRY(h5_put_real(f, "best", st->best_step >= 0 ? st->best : 0));
    TRY(h5_put_int(f, "best_step", st->best_step));
    TRY(h5_put_int(f, "worse", st->worse));
    TRY(h5_put(f, "data_position", TYPE_I64, shape_1((int64_t)(sizeof *at / sizeof(int64_t))), at));
    for (int i = 0; i < st->s->p->n_tuned; i++) {
        const tuned *x = &st->s->p->tensors[i];
        if (x->start.kept)
            TRY(h5_put(f, x->name, x->value.type, x->value.s, x->value.v));
    }
    if (st->slow)
        TRY(experts_put(st->slow, f));
    return optim_state_put(&st->x->opt, f);
}

static status write_checkpoint(run_state *st, const checkpoint *c)
{
    char    path[PATH_MAX + 16];
    h5_file f;

    snprintf(path, sizeof path, "%s/adapter", c->path);
    TRY(folder_make(path));
    TRY(run_state_write_adapters(st, path, st->step));
    snprintf(path, sizeof path, "%s/state.h5", c->path);
    TRY(h5_create(&f, path));
    const status put = put_state(st, &f), done = h5_finish(&f);
    return put != STATUS_OK ? put : done;
}

status run_state_save(run_state *st)
{
    checkpoint       c;
    checkpoint_facts facts;
    char             data[65], recipe_hex[17];

    TRY(fill_facts(st, &facts, data, recipe_hex));
    TRY(run_folder_lengths(st->folder, &facts.metrics_bytes, &facts.timing_bytes));
    TRY(checkpoint_begin(&c, st->folder->path, st->step));
    const status s = write_checkpoint(st, &c);
    if (s != STATUS_OK) {
        char text[1024];
        snprintf(text, sizeof text, "%s", status_text());
        checkpoint_abort(&c);
        return fail(s, "%s", text);
    }
    return checkpoint_commit(&c, &facts, (int)st->r->train.keep,
                             run_state_selects_best(st) ? st->best_step : -1);
}

/* ---- going on --------------------------------------------------------------------------------------- */

static status same(const char *what, const char *then, const char *now, const char *remedy)
{
    if (!then || strcmp(then, now) == 0)
        return STATUS_OK;
    return fail(STATUS_USAGE, "the %s is not the one that this run was started with (%.12s... then, "
                "%.12s... now); %s", what, then, now, remedy);
}

static status get_state(run_state *st, h5_file *f)
{
    pack_position at;

    TRY(h5_get_int(f, "step", &st->step));
    TRY(h5_get_real(f, "best", &st->best));
    TRY(h5_get_int(f, "best_step", &st->best_step));
    TRY(h5_get_int(f, "worse", &st->worse));
    if (st->best_step < 0)
        st->best = INFINITY;
    TRY(h5_get(f, "data_position", TYPE_I64, shape_1((int64_t)(sizeof at / sizeof(int64_t))), &at));
    for (int i = 0; i < st->s->p->n_tuned; i++) {
        const tuned *x = &st->s->p->tensors[i];
        if (x->start.kept)
            TRY(h5_get(f, x->name, x->value.type, x->value.s, x->value.v));
    }
    if (st->slow)
        TRY(experts_get(st->slow, f));
    TRY(optim_state_get(&st->x->opt, f));
    return packer_seek(st->data, &at);
}

static status load_values(run_state *st, const checkpoint_found *found)
{
    const peft *p = st->s->p;
    char        folder[PATH_MAX + 16], path[PATH_MAX + 300];

    snprintf(folder, sizeof folder, "%s/adapter", found->path);
    for (int i = 0; i < p->n_modules; i++) {
        TRY(adapter_folder(p, i, folder, path, sizeof path));
        TRY(adapter_load(st->s->p, i, path, NULL));
    }
    return STATUS_OK;
}

static status load_checkpoint(run_state *st, const checkpoint_found *found)
{
    char    path[PATH_MAX + 16];
    h5_file f;

    TRY(load_values(st, found));
    snprintf(path, sizeof path, "%s/state.h5", found->path);
    TRY(h5_open(&f, path));
    const status s = get_state(st, &f);
    h5_close(&f);
    return s;
}

status run_state_take_best(run_state *st)
{
    checkpoint_found best;

    if (st->best_step < 0)
        return fail(STATUS_FORMAT, "%s: no evaluation was made, so there is no best one",
                    st->folder->path);
    TRY_IN(checkpoint_open(&st->s->setup, st->folder->path, st->best_step, &best),
           "the best evaluation is that of step %lld", (long long)st->best_step);
    return load_values(st, &best);
}

status run_state_same_recipe(const recipe *r, const char *folder)
{
    arena   a;
    recipe *was;
    char    path[PATH_MAX], *difference = NULL;

    if ((size_t)snprintf(path, sizeof path, "%s/recipe.yaml", folder) >= sizeof path)
        return fail(STATUS_IO, "%s: path is too long", folder);
    if (!path_exists(path))
        return STATUS_OK;
    TRY(arena_open(&a, "recipe", (size_t)1 << 28));
    status s = fail_in(recipe_load(&a, path, NULL, registry(), &was),
                       "this is the recipe that the run was started with; it cannot go on without it");
    if (s == STATUS_OK)
        s = recipe_difference(&a, was, r, &difference);
    if (s == STATUS_OK && difference)
        s = fail(STATUS_USAGE,
                 "%s: a run that was started with another recipe cannot go on with this one: %s; resume "
                 "with that, or choose another folder with out=", folder, difference);
    arena_close(&a);
    return s;
}

static status check_facts(run_state *st, const checkpoint_facts *then)
{
    checkpoint_facts now;
    char             data[65], recipe_hex[17];

    TRY(fill_facts(st, &now, data, recipe_hex));
    TRY(same("base", then->base, now.base, "choose another folder with out="));
    TRY(same("recipe", then->recipe, now.recipe,
             "use the recipe.yaml of the run folder, or choose another folder with out="));
    TRY(same("data", then->data, now.data, "choose another folder with out="));
    if (then->device && strcmp(then->device, now.device) != 0)
        log_warn("this run was computed on %s and goes on on %s: its bits may differ from those of a run that stays",
                 then->device, now.device);
    return STATUS_OK;
}

/* The checkpoint to go on from, loaded; one without its best step is passed over. */
static status load_newest(run_state *st, checkpoint_found *found)
{
    checkpoint_found best;
    int              bad = 0;

    for (int64_t below = INT64_MAX;; below = found->step) {
        TRY(checkpoint_find_good(&st->s->setup, st->folder->path, below, found));
        bad += found->n_bad;
        if (!found->any && bad > 0)
            return fail(STATUS_FORMAT,
                        "%s: none of its %d checkpoints is whole, so the run cannot go on; start again "
                        "in another folder with out=, or remove %s/checkpoints and resume from the "
                        "beginning",
                        st->folder->path, bad, st->folder->path);
        if (!found->any)
            return STATUS_OK;
        TRY_IN(check_facts(st, &found->facts), "in %s", found->path);
        TRY_IN(load_checkpoint(st, found), "in %s", found->path);
        if (!run_state_selects_best(st) || st->best_step < 0 ||
            checkpoint_open(&st->s->setup, st->folder->path, st->best_step, &best) == STATUS_OK)
            return STATUS_OK;
        log_warn("checkpoint skipped: %s needs the best one beside it: %s", found->path, status_text());
        status_clear();
        bad++;
    }
}

status run_state_resume(run_state *st, bool *any)
{
    checkpoint_found found;

    TRY(load_newest(st, &found));
    *any = found.any;
    if (!found.any)
        return run_folder_start(st->folder, 0, 0, 0);
    log_info("resuming after step %lld from %s", (long long)st->step, found.path);
    return run_folder_start(st->folder, st->step, found.facts.metrics_bytes,
                            found.facts.timing_bytes);
}
