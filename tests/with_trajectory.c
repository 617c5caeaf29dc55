/* with_trajectory: see the header */
#include "tests/with_trajectory.h"

#include "tests/with_options.h"

#include <string.h>

/* The members of `hyper` that the optimizer's table has. */
static status optimizer_options(arena *a, const cJSON *hyper, const char *what, trainer_options *o)
{
    static const char *const same[] = {"lr", "eps", "weight_decay"};
    double betas[2] = {0.9, 0.999};
    void *options;

    TRY(json_double(hyper, "beta1", false, &betas[0], what));
    TRY(json_double(hyper, "beta2", false, &betas[1], what));
    cJSON *own = cJSON_CreateObject();
    for (size_t i = 0; i < COUNT_OF(same); i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(hyper, same[i]);
        if (item)
            cJSON_AddItemToObject(own, same[i], cJSON_Duplicate(item, true));
    }
    cJSON_AddItemToObject(own, "betas", cJSON_CreateDoubleArray(betas, 2));
    const status s = options_from_json(a, o->optimizer->keys, own, "betas", &options); /* not all have them */
    cJSON_Delete(own);
    o->optimizer_options = options;
    return s;
}

status trajectory_options(arena *a, const cJSON *hyper, const char *what, trainer_options *o)
{
    const char *name = "adamw";
    double smoothing = 0;

    *o = (trainer_options){.schedule = {.schedule = "cosine"}};
    TRY(json_string(hyper, "name", false, &name, what));
    TRY(json_double(hyper, "label_smoothing", false, &smoothing, what));
    TRY(json_double(hyper, "clip", false, &o->clip.clip, what));
    TRY(json_double(hyper, "warmup", false, &o->schedule.warmup, what));
    TRY(json_string(hyper, "schedule", false, &o->schedule.schedule, what));
    o->schedule.schedule = arena_string(a, o->schedule.schedule, strlen(o->schedule.schedule));
    if (!o->schedule.schedule)
        return STATUS_MEMORY;
    TRY(json_int(hyper, "steps", true, 1, 100000, &o->steps, what));
    if (smoothing != 0)
        return fail(STATUS_UNSUPPORTED, "label smoothing is not in this version");
    TRY(optim_find(name, &o->optimizer));
    return optimizer_options(a, hyper, what, o);
}

static status run_steps(trajectory *t, packer *data)
{
    for (int64_t step = 0; step < t->o.steps; step++) {
        step_report r;
        if (t->before)
            TRY(t->before(t, step));
        TRY(trainer_step(&t->t, data, step, &r));
        if (t->after)
            TRY(t->after(t, &r));
    }
    return STATUS_OK;
}

status trajectory_run(trajectory *t)
{
    packer data;

    TRY(packer_open(t->a, t->x, &(pack_options){.accumulate = t->micro}, &data));
    t->o.pack = data.capacity;
    t->o.seqs = data.seqs_capacity;
    t->o.leaves = data.leaves_capacity;
    status s = trainer_open(&t->t, t->a, t->tuned, t->m, t->p, &t->o, false);
    if (s == STATUS_OK)
        s = run_steps(t, &data);
    trainer_close(&t->t);
    return s;
}

void trajectory_gradient(const trajectory *t, const step_report *r, float *out)
{
    const leaf_sum *sum = &t->t.sum;
    int at = 0;
    dtype type;

    while (!sum->used[at]) /* one buffer is left in use: the total's */
        at++;
    tensor all = {.s = shape_1(sum->size), .type = TYPE_F32, .v = sum->buffer[at]};
    if (device_current() && device_find(device_current(), all.v, &type))
        device_pull(device_current(), &all);
    for (int64_t i = 0; i < sum->size; i++)
        out[i] = (float)((double)sum->buffer[at][i] / (double)r->targets);
}
