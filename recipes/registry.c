/* registry: rows of methods, sources, optimizers, objectives and procedures */
#include "recipes/registry.h"

#include "data/source.h"
#include "optim/clip.h"
#include "optim/optim.h"
#include "optim/schedule.h"
#include "peft/router.h"
#include "recipes/experts.h"
#include "recipes/metrics.h"
#include "recipes/objective.h"
#include "recipes/procedure.h"

enum { ROWS_MAX = 256 };

#define AT(member) offsetof(answer_options, member)
static const key answer_keys[] = {
    {.name = "answers", .kind = KEY_INT, .offset = AT(answers), .preset = "0", .lo = 0, .hi = 100000,
     .unit = "samples",
     .help = "Test prompts that are answered before and after training, and scored."},
    {.name = "show", .kind = KEY_INT, .offset = AT(show), .preset = "5", .lo = 0, .hi = 1000,
     .unit = "samples", .help = "Answers printed beside the true text, before and after."},
    {.name = "max_new_tokens", .kind = KEY_INT, .offset = AT(max_tokens), .preset = "32", .lo = 1,
     .hi = 100000, .unit = "tokens", .help = "Tokens that such an answer may have."},
    {.name = "answer_metrics", .kind = KEY_TEXTS, .offset = AT(metrics), .preset = "[rouge_l]",
     .choices = metric_text_names + 1, .help = "What the answers are scored with."},
    {.name = "answer_resamples", .kind = KEY_INT, .offset = AT(resamples), .preset = "0", .lo = 0,
     .hi = 1000000, .unit = "resamples", .help = "Of the answers, for 95 % confidence intervals; 0: none."},
};
#undef AT
static const key_table answer_table = KEY_TABLE("train", answer_keys, answer_options);

static option_set      rows[ROWS_MAX];
static option_registry all;

static void add(const char *group, const char *name, const key_table *table, const char *help)
{
    CHECK(all.n < ROWS_MAX);
    rows[all.n++] = (option_set){.group = group, .name = name, .table = table, .help = help};
}

const option_registry *registry(void)
{
    int                       n;
    const peft_method *const *methods = peft_methods(&n);

    if (all.v)
        return &all;
    all.v = rows;
    for (int i = 0; i < n; i++)
        add("method", methods[i]->name, methods[i]->keys, methods[i]->help);
    methods = peft_routers(&n);
    for (int i = 0; i < n; i++)
        add("router", methods[i]->name, methods[i]->keys->n ? methods[i]->keys : NULL, methods[i]->help);
    for (int i = 0; source_at(i); i++)
        add("source", source_at(i)->name, &source_at(i)->keys, source_at(i)->help);
    for (int i = 0; optim_row(i); i++)
        add("optimizer", optim_row(i)->name, optim_row(i)->keys, NULL);
    for (int i = 0; objective_at(i); i++)
        add("objective", objective_at(i)->name, objective_at(i)->keys.n ? &objective_at(i)->keys : NULL,
            objective_at(i)->help);
    for (int i = 0; procedure_at(i); i++)
        add("procedure", procedure_at(i)->name, procedure_at(i)->keys.n ? &procedure_at(i)->keys : NULL,
            procedure_at(i)->help);
    add("+optim", "schedule", &schedule_keys, NULL);
    add("+optim", "clip", &clip_keys, NULL);
    add("+train", "answers", &answer_table, NULL);
    add("+train", "experts", &experts_keys, NULL);
    return &all;
}
