/* task: the number of a sequence's task chooses the module that its rows go through */
#include "peft/router.h"

static const key_table task_table = {.what = "task", .size = sizeof(router_options)};

static status task_attach(const peft_attach *at, const void *options, void **state)
{
    router_experts *x;

    TRY_TAKE(x, at->p->a, 1);
    TRY(router_experts_at(at, x));
    at->hook->tasks = (int32_t)((const router_options *)options)->n;
    *state = x;
    return STATUS_OK;
}

static var *task_forward(tape *t, const site *s, void *state, var *x, var *y)
{
    router_experts  *e = state;
    const row_names *rows = &e->p->m->rows;

    (void)s;
    return router_mixture(t, e, y, x, ag_task_gates(t, x, rows->tasks, rows->offsets, e->n), 1);
}

/* What the module of the task that is merged adds. */
static status task_merge(const site *s, const void *state, float *w, float *b)
{
    const router_experts *e = state;

    if (e->p->task < 0 || e->p->task >= e->n)
        return fail(STATUS_USAGE, "task: every task has its own module; say with --task which is to be merged");
    const module *m = &e->p->modules[e->over[e->p->task]];
    for (int k = 0; k < m->n_sites; k++)
        if (m->at[k] == s)
            return m->method->merge(s, m->hooks[k].state, w, b);
    return STATUS_OK;
}

static int64_t nothing(const site *s, const void *options)
{
    (void)s, (void)options;
    return 0;
}

static status task_write_config(const void *options, cJSON *config)
{
    (void)options;
    cJSON_AddStringToObject(config, "peft_type", "TASK");
    return STATUS_OK;
}

static status task_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    (void)config, (void)a, (void)what;
    *(router_options *)options = (router_options){0};
    return STATUS_OK;
}

const peft_method peft_router_task = {
    .name = "task",
    .sites = SITE_LINEAR,
    .traits = PEFT_MERGES,
    .keys = &task_table,
    .everywhere = true,
    .help = "The number of a sample's task chooses its module.",
    .attach = task_attach,
    .forward = task_forward,
    .merge = task_merge,
    .count = nothing,
    .write_config = task_write_config,
    .read_config = task_read_config,
};
