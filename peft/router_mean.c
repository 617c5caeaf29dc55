/* mean: y' = y + sum_e s_e / E (x A_e^T) B_e^T, the average of what the E modules add */
#include "peft/router.h"

static const key_table mean_table = {.what = "mean", .size = sizeof(router_options)};

static status mean_attach(const peft_attach *at, const void *options, void **state)
{
    router_experts *x;

    (void)options;
    TRY_TAKE(x, at->p->a, 1);
    *state = x;
    return router_experts_at(at, x);
}

static var *mean_forward(tape *t, const site *s, void *state, var *x, var *y)
{
    const router_experts *e = state;

    (void)s;
    for (int64_t i = 0; i < e->n; i++)
        if (e->a[i])
            y = ag_lora(t, y, x, peft_var(t, e->p, e->a[i]), peft_var(t, e->p, e->b[i]),
                        e->scale[i] / (double)e->n);
    return y;
}

static int64_t nothing(const site *s, const void *options)
{
    (void)s, (void)options;
    return 0;
}

static status mean_write_config(const void *options, cJSON *config)
{
    (void)options;
    cJSON_AddStringToObject(config, "peft_type", "MEAN");
    return STATUS_OK;
}

static status mean_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    (void)config, (void)a, (void)what;
    *(router_options *)options = (router_options){0};
    return STATUS_OK;
}

const peft_method peft_router_mean = {
    .name = "mean",
    .sites = SITE_LINEAR,
    .traits = PEFT_MERGES,
    .keys = &mean_table,
    .everywhere = true,
    .help = "The average of what all modules add.",
    .attach = mean_attach,
    .forward = mean_forward,
    .count = nothing,
    .write_config = mean_write_config,
    .read_config = mean_read_config,
};
