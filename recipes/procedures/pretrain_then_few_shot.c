/* pretrain_then_few_shot: modules are trained on many tasks; then, for each held-out task by itself, they go on from
 * there with a few samples of it (Ponti et al. 2022; Page-Caccia et al. 2023). The first phase is the recipe as it
 * stands; each further one is the recipe with a file laid over it that says what is different: data, and what else. */
#include "recipes/procedure.h"

#include <string.h>

typedef struct few_shot_options {
    key_texts tasks;
} few_shot_options;

static const key few_shot_keys[] = {
    {.name = "tasks", .kind = KEY_TEXTS, .offset = offsetof(few_shot_options, tasks), .preset = "!",
     .help = "Recipe files, one for each held-out task, of what its phase says otherwise: its data at least. The phase "
             "is named for the file."},
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

/* A module goes on from what it was before: its own folder where there are several. */
static status go_on(const procedure_run *x, const char *from, phase *out)
{
    const recipe *r = x->r;

    for (int i = 0; i < r->n_modules; i++) {
        const recipe_module *m = &r->modules[i];
        if (m->save.n > 0)
            TRY(phase_say(x->a, out, "modules.%s.save=", m->name));
        if (m->train_tokens.n > 0)
            TRY(phase_say(x->a, out, "modules.%s.train_tokens=", m->name));
        TRY(phase_say(x->a, out, "modules.%s.load=%s/adapter%s%s", m->name, from, r->n_modules > 1 ? "/" : "",
                      r->n_modules > 1 ? m->name : ""));
    }
    return STATUS_OK;
}

static status few_shot_phase(const procedure_run *x, int i, phase *out)
{
    const few_shot_options *o = x->options;
    const char             *from = procedure_folder(x, "0-pretrain");

    if (i == 0)
        return pretrain(x, out);
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
