/* pretrain_then_few_shot: modules are trained on many tasks; then, for each held-out task by itself, they go on from
 * there with a few samples of it (Ponti et al. 2022; Page-Caccia et al. 2023). The first phase is the recipe as it
 * stands; each further one is the recipe with a file laid over it that says what is different: data, and what else.
 * With `adapt` modules that begin a new task with an inventory do so, as a task 0 that they do not know. */
#include "recipes/procedure.h"

#include "peft/peft.h"

#include <string.h>

typedef struct few_shot_options {
    key_texts   tasks;
    const char *adapt;
} few_shot_options;

static const key few_shot_keys[] = {
    {.name = "tasks", .kind = KEY_TEXTS, .offset = offsetof(few_shot_options, tasks), .preset = "!",
     .help = "Recipe files, one for each held-out task, of what its phase says otherwise: its data at least. The phase "
             "is named for the file."},
    {.name = "adapt", .kind = KEY_TEXT, .offset = offsetof(few_shot_options, adapt),
     .help = "The option `adapt` of modules with an `inventory` (poly); not given, they go on with the tasks they "
             "know."},
};

static status pretrain(const procedure_run *x, phase *out)
{
    (void)x;
    out->name = "0-pretrain";
    return STATUS_OK;
}

/* "dir/birds.yaml" is "1-birds". */
static const char *name_of(const procedure_run *x, int i, const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');

    return arena_printf(x->a, "%d-%.*s", i, dot && dot > base ? (int)(dot - base) : (int)strlen(base), base);
}

/* An option of the module's method; NULL: it has none of that name. */
static const key *option_of(const recipe_module *m, const char *name)
{
    const peft_method *method = m->method.name ? peft_find(m->method.name) : NULL;

    for (int i = 0; method && i < method->keys->n; i++)
        if (strcmp(method->keys->keys[i].name, name) == 0)
            return &method->keys->keys[i];
    return NULL;
}

static bool has_inventory(const recipe_module *m)
{
    return option_of(m, "inventory") && option_of(m, "adapt");
}

/* The module's folder is its inventory for a task of its own. */
static status begin_anew(const procedure_run *x, const recipe_module *m, const char *folder, phase *out)
{
    const few_shot_options *o = x->options;

    TRY(phase_say(x->a, out, "modules.%s.inventory=%s", m->name, folder));
    TRY(phase_say(x->a, out, "modules.%s.adapt=%s", m->name, o->adapt));
    return phase_say(x->a, out, "modules.%s.tasks=1", m->name);
}

/* A module goes on from what it was before: its own folder where there are several. */
static status go_on(const procedure_run *x, const char *from, phase *out)
{
    const few_shot_options *o = x->options;
    const recipe           *r = x->r;

    for (int i = 0; i < r->n_modules; i++) {
        const recipe_module *m = &r->modules[i];
        const char          *folder = phase_adapter(x, m, from);
        if (!folder)
            return STATUS_MEMORY;
        if (o->adapt && has_inventory(m)) {
            TRY(begin_anew(x, m, folder, out));
            continue;
        }
        TRY(phase_load(x, m, folder, out));
    }
    return STATUS_OK;
}

/* "a" is in "a|b". */
static bool is_choice(const char *choices, const char *name)
{
    const size_t n = strlen(name);

    for (const char *p = choices; n > 0 && p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (strncmp(p, name, n) == 0 && (p[n] == '|' || p[n] == '\0'))
            return true;
    return false;
}

/* Before the first phase: what adapt says is known, and somebody listens. */
static status check_adapt(const procedure_run *x)
{
    const few_shot_options *o = x->options;
    int                     n = 0;

    for (int i = 0; o->adapt && i < x->r->n_modules; i++) {
        const recipe_module *m = &x->r->modules[i];
        if (!has_inventory(m))
            continue;
        const char *choices = option_of(m, "adapt")->choices;
        if (!is_choice(choices, o->adapt))
            return fail(STATUS_USAGE, "adapt is '%s', must be one of %s", o->adapt, choices);
        n++;
    }
    if (o->adapt && n == 0)
        return fail(STATUS_USAGE, "adapt is %s, but no module's method begins with an inventory", o->adapt);
    return STATUS_OK;
}

static status few_shot_phase(const procedure_run *x, int i, phase *out)
{
    const few_shot_options *o = x->options;
    const char             *from = procedure_folder(x, "0-pretrain");

    if (i == 0)
        return pretrain(x, out);
    TRY(check_adapt(x));
    if (i > o->tasks.n)
        return STATUS_OK;
    out->over = o->tasks.v[i - 1];
    out->name = name_of(x, i, out->over);
    if (!out->name || !from)
        return STATUS_MEMORY;
    return x->foretold ? STATUS_OK : go_on(x, from, out);
}

const procedure procedure_pretrain_then_few_shot = {
    .name = "pretrain_then_few_shot",
    .help = "Modules are trained on many tasks, then from there on a few samples of each held-out task.",
    .keys = KEY_TABLE("pretrain_then_few_shot", few_shot_keys, few_shot_options),
    .phase = few_shot_phase,
    .first = true,
};
