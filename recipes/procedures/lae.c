/* lae: Learning, Accumulation, Ensemble (Gao et al. 2023): classes come in tasks, one after another, and samples of
 * earlier ones never again. A phase is a task: the modules and the head go on from the task before, and learn the
 * task's classes by a loss among these alone, with a fresh optimizer. From the second task on the modules are frozen for
 * the first epochs, and a slow copy, which begins as what the first task gave, follows them; both predict.
 *
 * To compare with: the same without slow copy and freezing, and all tasks at once. */
#include "recipes/procedure.h"

#include "core/file.h"

#include <string.h>

typedef struct lae_options {
    int64_t tasks, classes_per_task, freeze_epochs;
    double  keep;
    const char *baseline;
} lae_options;

#define AT(member) offsetof(lae_options, member)
static const key lae_keys[] = {
    {.name = "tasks", .kind = KEY_INT, .offset = AT(tasks), .preset = "!", .lo = 1, .hi = 4000, .unit = "tasks",
     .help = "Tasks in a row."},
    {.name = "classes_per_task", .kind = KEY_INT, .offset = AT(classes_per_task), .preset = "0", .lo = 0, .hi = 1000000,
     .unit = "classes", .help = "Classes of a task, in the order of their numbers, which objective.names may give; 0: those "
                                "of the records whose `task` has its number."},
    {.name = "freeze_epochs", .kind = KEY_INT, .offset = AT(freeze_epochs), .preset = "0", .lo = 0, .hi = 1000000,
     .unit = "epochs", .help = "First epochs of a task, but for the first task, that train its classes in the head alone."},
    {.name = "keep", .kind = KEY_REAL, .offset = AT(keep), .preset = "0.9999", .lo = 0, .hi = 1,
     .help = "Share of the slow copy that a step leaves: the beta of its running average."},
    {.name = "baseline", .kind = KEY_CHOICE, .offset = AT(baseline), .preset = "none", .choices = "none|sequential|joint",
     .help = "Instead: sequential: tasks in a row without slow copy and freezing; joint: one phase with all classes."},
};
#undef AT

static const char *name_of(const procedure_run *x, int task)
{
    return arena_printf(x->a, "%d-task", task);
}

static bool has_slow(const lae_options *o)
{
    return strcmp(o->baseline, "none") == 0;
}

static status choose_classes(const procedure_run *x, int task, phase *out)
{
    const lae_options *o = x->options;

    if (o->classes_per_task == 0)
        return phase_say(x->a, out, "objective.class_task=%d", task);
    TRY(phase_say(x->a, out, "objective.class_from=%lld", (long long)(task * o->classes_per_task)));
    return phase_say(x->a, out, "objective.class_to=%lld", (long long)((task + 1) * o->classes_per_task));
}

/* From the second task on. */
static status go_on(const procedure_run *x, int i, phase *out)
{
    const lae_options *o = x->options;
    const char        *before = name_of(x, i - 1), *from = before ? procedure_folder(x, before) : NULL;

    if (!from)
        return STATUS_MEMORY;
    if (has_slow(o)) {
        TRY(phase_say(x->a, out, "train.freeze_epochs=%lld", (long long)o->freeze_epochs));
        TRY(phase_say(x->a, out, "train.slow_copy=yes"));
        TRY(phase_say(x->a, out, "train.slow_keep=%.17g", o->keep));
    }
    if (x->foretold)
        return STATUS_OK;
    if (i > 1 && has_slow(o))
        TRY(phase_say(x->a, out, "train.slow_load=%s/adapter_slow", from));
    for (int k = 0; k < x->r->n_modules; k++) {
        const recipe_module *m = &x->r->modules[k];
        const char          *adapter = phase_adapter(x, m, from);
        if (!adapter)
            return STATUS_MEMORY;
        TRY(phase_load(x, m, adapter, out));
    }
    return STATUS_OK;
}

static status lae_phase(const procedure_run *x, int i, phase *out)
{
    const lae_options *o = x->options;

    if (strcmp(o->baseline, "joint") == 0) {
        out->name = i == 0 ? "0-joint" : NULL;
        return STATUS_OK;
    }
    if (i >= o->tasks)
        return STATUS_OK;
    if (!(out->name = name_of(x, i)))
        return STATUS_MEMORY;
    TRY(choose_classes(x, i, out));
    return i > 0 ? go_on(x, i, out) : STATUS_OK;
}

/* The last task's slow copy is the run's, as its adapter is. */
static status lae_after(const procedure_run *x, int i, const char *folder)
{
    const lae_options *o = x->options;
    const char        *from = path_join(x->a, folder, "adapter_slow"), *to = path_join(x->a, x->out, "adapter_slow");

    if (!from || !to)
        return STATUS_MEMORY;
    return i == 0 || i + 1 < o->tasks || !has_slow(o) || path_exists(to) ? STATUS_OK : folder_copy(from, to);
}

const procedure procedure_lae = {
    .name = "lae",
    .help = "Classes in tasks, one after another, with a slow copy of the modules that predicts too (Gao et al. 2023).",
    .keys = KEY_TABLE("lae", lae_keys, lae_options),
    .phase = lae_phase,
    .after = lae_after,
};
