/* procedure: the phases of a run, one after another */
#include "recipes/procedure.h"

#include "core/file.h"
#include "core/log.h"
#include "core/text.h"
#include "recipes/opening.h"
#include "recipes/registry.h"
#include "recipes/run_folder.h"
#include "recipes/run_state.h"
#include "recipes/together.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { PHASES_MAX = 4096, SAYINGS_MAX = 64 };

#define PROCEDURE(name) extern const procedure procedure_##name;
#include "recipes/procedures.def"
#undef PROCEDURE

static const procedure *const rows[] = {
#define PROCEDURE(name) &procedure_##name,
#include "recipes/procedures.def"
#undef PROCEDURE
};

const procedure *procedure_at(int i)
{
    return i >= 0 && (size_t)i < COUNT_OF(rows) ? rows[i] : NULL;
}

const procedure *procedure_of(const recipe *r)
{
    for (size_t i = 0; r->procedure.name && i < COUNT_OF(rows); i++)
        if (strcmp(rows[i]->name, r->procedure.name) == 0)
            return rows[i];
    return &procedure_single;
}

/* ---- phases ------------------------------------------------------------------------------------------- */

status phase_say(arena *a, phase *p, const char *format, ...)
{
    char    text[4096];
    va_list args;

    va_start(args, format);
    const int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof text)
        return fail(STATUS_USAGE, "%.60s...: is too long", text);
    if (!p->says.v)
        TRY_TAKE(p->says.v, a, SAYINGS_MAX);
    CHECK(p->says.n < SAYINGS_MAX);
    const char *copy = arena_string(a, text, (size_t)n);
    ((const char **)p->says.v)[p->says.n++] = copy;
    return copy ? STATUS_OK : STATUS_MEMORY;
}

const char *procedure_folder(const procedure_run *x, const char *name)
{
    return arena_printf(x->a, "%s/phases/%s", x->out, name);
}

/* The module's own folder in that of a run's adapters: the folder itself when it is alone. */
static const char *module_folder(arena *a, const recipe *r, const recipe_module *m, const char *adapter)
{
    return r->n_modules == 1 ? adapter : path_join(a, adapter, m->name);
}

const char *phase_adapter(const procedure_run *x, const recipe_module *m, const char *folder)
{
    const char *adapter = path_join(x->a, folder, "adapter");

    return adapter ? module_folder(x->a, x->r, m, adapter) : NULL;
}

status phase_load(const procedure_run *x, const recipe_module *m, const char *adapter, phase *p)
{
    if (m->save.n > 0)
        TRY(phase_say(x->a, p, "modules.%s.save=", m->name));
    if (m->train_tokens.n > 0)
        TRY(phase_say(x->a, p, "modules.%s.train_tokens=", m->name));
    return phase_say(x->a, p, "modules.%s.load=%s", m->name, adapter);
}

static procedure_run begin(arena *a, const recipe *r)
{
    return (procedure_run){.a = a, .r = r, .options = r->procedure.options,
                           .out = r->out ? r->out : arena_printf(a, "runs/%s", r->name)};
}

/* The recipe of a phase; NULL: there is none. */
static status phase_recipe(const procedure_run *x, int i, phase *p, recipe **out)
{
    *p = (phase){0};
    *out = NULL;
    TRY(procedure_of(x->r)->phase(x, i, p));
    if (!p->name)
        return STATUS_OK;
    CHECK(i < PHASES_MAX);
    TRY(phase_say(x->a, p, "procedure=single"));
    TRY(phase_say(x->a, p, "name=%s", p->name));
    TRY(phase_say(x->a, p, "out=%s/phases/%s", x->out, p->name));
    return fail_in(recipe_derive(x->a, x->r, p->over, &p->says, registry(), out), "in phase %s of procedure %s", p->name,
                   x->r->procedure.name);
}

status procedure_foretell(arena *a, recipe *r, recipe ***out, int *n)
{
    procedure_run x = begin(a, r);
    phase         p;
    recipe       *one;

    if (r->together.n > 0) {
        *n = r->together.n;
        return together_recipes(a, r, out);
    }
    x.foretold = true;
    TRY_TAKE(*out, a, PHASES_MAX);
    (*out)[0] = r;
    *n = 1;
    if (!procedure_of(r)->phase)
        return STATUS_OK;
    if (!x.out)
        return STATUS_MEMORY;
    for (*n = 0;; (*n)++) {
        TRY(phase_recipe(&x, *n, &p, &one));
        if (!one)
            return STATUS_OK;
        (*out)[*n] = one;
    }
}

status procedure_evaluate(arena *a, recipe *r, const char *adapter, recipe **out)
{
    phase p = {0};

    *out = r;
    if (!procedure_of(r)->phase)
        return STATUS_OK;
    for (int i = 0; i < r->n_modules; i++) {
        const char *folder = module_folder(a, r, &r->modules[i], adapter);
        if (!folder)
            return STATUS_MEMORY;
        TRY(phase_say(a, &p, "modules.%d={name: %s, load: %s}", i, r->modules[i].name, folder));
    }
    TRY(phase_say(a, &p, "procedure=single"));
    return recipe_derive(a, r, NULL, &p.says, registry(), out);
}

/* ---- training ----------------------------------------------------------------------------------------- */

static status run_phase(const procedure_run *x, int i, recipe *r, const train_options *o)
{
    const procedure *p = procedure_of(x->r);
    train_options    one = *o;
    const char      *done = path_join(x->a, r->out, "done");

    if (!done)
        return STATUS_MEMORY;
    if (path_exists(done)) {
        log_info("phase %s: done already", r->name);
        return STATUS_OK;
    }
    log_info("phase %s", r->name);
    one.part = true;
    TRY_IN(train_run(r, &one), "in phase %s", r->name);
    if (p->after)
        TRY_IN(p->after(x, i, r->out), "in phase %s", r->name);
    return file_replace(done, "", 0);
}

/* A phase's adapter is the run's too. */
static status take_result(const procedure_run *x, const char *folder)
{
    const char *from = path_join(x->a, folder, "adapter"), *to = path_join(x->a, x->out, "adapter");

    if (!from || !to)
        return STATUS_MEMORY;
    return path_exists(to) ? STATUS_OK : folder_copy(from, to);
}

static status run_phases(const procedure_run *x, const train_options *o)
{
    const char *result = NULL;
    phase       p;
    recipe     *r;

    for (int i = 0;; i++) {
        TRY(phase_recipe(x, i, &p, &r));
        if (!r)
            break;
        TRY(run_phase(x, i, r, o));
        if (!result || !procedure_of(x->r)->first)
            result = r->out;
    }
    CHECK(result);
    TRY(take_result(x, result));
    train_say_next(x->r, x->out);
    return STATUS_OK;
}

static status write_recipe(const procedure_run *x)
{
    const char *path = path_join(x->a, x->out, "recipe.yaml");

    if (!path)
        return STATUS_MEMORY;
    return path_exists(path) ? run_state_same_recipe(x->r, x->out) : recipe_write(x->r, path);
}

static status dry_run(arena *a, recipe *r, const train_options *o)
{
    recipe **v;
    int      n;

    TRY(procedure_foretell(a, r, &v, &n));
    for (int i = 0; i < n; i++) {
        log_info("phase %s", v[i]->name);
        TRY_IN(train_run(v[i], o), "in phase %s", v[i]->name);
    }
    return STATUS_OK;
}

/* What is wrong in a late phase is refused before the first. */
static status check_phases(arena *a, recipe *r)
{
    recipe **v;
    opening  o;
    int      n;

    TRY(procedure_foretell(a, r, &v, &n));
    for (int i = 1; i < n; i++) {
        TRY(opening_begin(&o, v[i]));
        const status s = opening_load(&o, true);
        opening_end(&o);
        TRY_IN(s, "in phase %s", v[i]->name);
    }
    return STATUS_OK;
}

static status train_phases(arena *a, recipe *r, const train_options *o)
{
    const procedure_run x = begin(a, r);
    run_folder          folder;

    if (!x.out)
        return STATUS_MEMORY;
    if (o->batches || o->profile)
        return fail(STATUS_USAGE, "--batches and --profile look at one phase; train that alone, from the recipe of its "
                    "folder in %s/phases", x.out);
    if (o->dry_run)
        return dry_run(a, r, o);
    TRY(check_phases(a, r));
    TRY(run_folder_open(&folder, x.out, o->resume));
    status s = write_recipe(&x);
    if (s == STATUS_OK)
        s = run_phases(&x, o);
    run_folder_close(&folder);
    return s;
}

status procedure_train(recipe *r, const train_options *o)
{
    arena a;

    if (r->together.n > 0)
        return together_train(r, o);
    if (!procedure_of(r)->phase)
        return train_run(r, o);
    TRY(arena_open(&a, "phases", (size_t)1 << 32));
    const status s = train_phases(&a, r, o);
    arena_close(&a);
    return s;
}
