/* multitask_prompt: virtual tokens in front of every sequence, of which every task makes its own: for a sequence of
 * task t row i is p[i] * (cols[t] rows[t])[i], elementwise, p shared by all (Wang et al. 2023, MPT)
 *
 * A task's factors are skills with weights of 0 and 1, and row i of their product is one-hot(i) cols[t] rows[t]: what
 * a sequence's own low-rank factors make of its rows (ag_lora_each). */
#include "peft/peft.h"

#include "core/json.h"

typedef struct multitask_options {
    int64_t tokens, tasks, ranks;
    double  deviation;
} multitask_options;

#define AT(member) offsetof(multitask_options, member)
static const key multitask_keys[] = {
    {.name = "tokens", .kind = KEY_INT, .offset = AT(tokens), .preset = "20", .lo = 1, .hi = 65536, .unit = "tokens",
     .help = "Virtual tokens in front of every sequence."},
    {.name = "tasks", .kind = KEY_INT, .offset = AT(tasks), .preset = "1", .lo = 1, .hi = 65536,
     .help = "Tasks in the data, numbered from 0 by a record's `task`."},
    {.name = "ranks", .kind = KEY_INT, .offset = AT(ranks), .preset = "1", .lo = 1, .hi = 65536,
     .help = "Rank of what a task multiplies the shared rows by."},
    {.name = "deviation", .kind = KEY_REAL, .offset = AT(deviation), .preset = "0.02", .lo = 0, .hi = 100,
     .help = "Deviation of the normal numbers that the tasks' factors start with; that of the shared rows is 1."},
};
static const key_table multitask_table = KEY_TABLE("multitask_prompt", multitask_keys, multitask_options);

typedef struct multitask_state {
    peft   *p;
    int64_t n, ranks, tasks, width;
    tuned  *shared, *cols, *rows; /* [n, width], [tasks, n, ranks], [tasks, ranks, width] */
    tuned  *each, *picks, *none;  /* identity [n, n]; make_picks [tasks, tasks]; zeros [n, width] */
    int32_t before;               /* virtual tokens of other modules in front of these */
} multitask_state;

static status make_identity(arena *work, const void *context, const tensor *value)
{
    const int64_t n = value->s.d[0];

    (void)work, (void)context;
    for (int64_t i = 0; i < n * n; i++)
        ((float *)value->v)[i] = i % (n + 1) == 0;
    return STATUS_OK;
}

/* All of a task's own, nothing of others: logits whose sigmoid is 1 and 0. */
static status make_picks(arena *work, const void *context, const tensor *value)
{
    const int64_t n = value->s.d[0];

    (void)work, (void)context;
    for (int64_t i = 0; i < n * n; i++)
        ((float *)value->v)[i] = i % (n + 1) == 0 ? 1000 : -1000;
    return STATUS_OK;
}

static status add_tensors(const peft_attach *at, const multitask_options *o, multitask_state *x)
{
    const tuned_start normal = {.how = INIT_NORMAL, .size = 1}, small = {.how = INIT_NORMAL, .size = o->deviation};
    const tuned_start identity = {.how = INIT_MADE, .make = make_identity, .unsaved = true};
    const tuned_start picks = {.how = INIT_MADE, .make = make_picks, .unsaved = true};
    const tuned_start zero = {.how = INIT_VALUE, .unsaved = true};

    TRY(peft_tuned_alone(at, "prompt_embeddings", shape_2(x->n, x->width), normal, &x->shared));
    TRY(peft_tuned_alone(at, "prefix_task_cols", shape_3(x->tasks, x->n, x->ranks), small, &x->cols));
    TRY(peft_tuned_alone(at, "prefix_task_rows", shape_3(x->tasks, x->ranks, x->width), small, &x->rows));
    TRY(peft_fixed(at, "multitask_prompt.token", shape_2(x->n, x->n), identity, &x->each));
    TRY(peft_fixed(at, "multitask_prompt.task", shape_2(x->tasks, x->tasks), picks, &x->picks));
    return peft_fixed(at, "multitask_prompt.none", shape_2(x->n, x->width), zero, &x->none);
}

static status multitask_attach(const peft_attach *at, const void *options, void **state)
{
    const multitask_options *o = options;
    multitask_state         *x;

    if (at->s != model_words(at->p->m))
        return fail(STATUS_USAGE, "multitask_prompt: sits on the embedding of words only");
    if (o->tokens > at->s->out)
        return fail(STATUS_UNSUPPORTED, "multitask_prompt: tokens is %lld, must be at most the model's width, %lld",
                    (long long)o->tokens, (long long)at->s->out);
    TRY_TAKE(x, at->p->a, 1);
    *x = (multitask_state){.p = at->p, .n = o->tokens, .ranks = o->ranks, .tasks = o->tasks, .width = at->s->out,
                           .before = model_in_front(at->p->m).tokens};
    at->hook->front = (int32_t)o->tokens;
    at->hook->tasks = (int32_t)o->tasks;
    *state = x;
    return add_tensors(at, o, x);
}

/* The embeddings are multiplied by zero to have as many rows in use as the stream has. */
static var *multitask_forward(tape *t, const site *s, void *state, var *ids, var *y)
{
    const multitask_state *x = state;
    const row_names       *rows = &x->p->m->rows;
    const int32_t          first = rows->first + x->before;

    (void)ids;
    CHECK(rows->tasks && rows->offsets);
    var *zero = ag_scale(t, y, 0), *at = rows->positions;
    var *picks = ag_skill_weights(t, peft_var(t, x->p, x->picks), rows->tasks, NULL, NULL, x->tasks, s->number);
    var *cols = ag_mix_skills(t, peft_var(t, x->p, x->cols), picks, false);
    var *factors = ag_mix_skills(t, peft_var(t, x->p, x->rows), picks, false);
    var *token = ag_replace_rows(t, ag_columns(t, zero, 0, x->n), peft_var(t, x->p, x->each), at, NULL, first);
    var *own = ag_lora_each(t, zero, token, cols, factors, rows->offsets, 1);
    var *shared = ag_replace_rows(t, zero, peft_var(t, x->p, x->shared), at, NULL, first);
    var *others = ag_replace_rows(t, y, peft_var(t, x->p, x->none), at, NULL, first);
    return ag_add(t, others, ag_mul(t, shared, own));
}

static int64_t multitask_count(const site *s, const void *options)
{
    const multitask_options *o = options;

    return o->tokens * s->out + o->tasks * o->ranks * (o->tokens + s->out);
}

static status multitask_write_config(const void *options, cJSON *config)
{
    const multitask_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "MULTITASK_PROMPT_TUNING");
    cJSON_AddNumberToObject(config, "num_virtual_tokens", (double)o->tokens);
    cJSON_AddNumberToObject(config, "num_tasks", (double)o->tasks);
    cJSON_AddNumberToObject(config, "num_ranks", (double)o->ranks);
    cJSON_AddStringToObject(config, "prompt_tuning_init", "RANDOM");
    return STATUS_OK;
}

static status multitask_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    multitask_options *o = options;

    (void)a;
    *o = (multitask_options){.tasks = 1, .ranks = 1, .deviation = 0.02};
    TRY(json_int(config, "num_virtual_tokens", true, 1, 65536, &o->tokens, what));
    TRY(json_int(config, "num_tasks", false, 1, 65536, &o->tasks, what));
    return json_int(config, "num_ranks", false, 1, 65536, &o->ranks, what);
}

const peft_method peft_multitask_prompt = {
    .name = "multitask_prompt",
    .sites = SITE_EMBEDDING,
    .traits = PEFT_FILE,
    .everywhere = true,
    .keys = &multitask_table,
    .help = "Virtual tokens that every task makes of shared ones by low-rank factors of its own (Wang et al. 2023).",
    .peft_type = "MULTITASK_PROMPT_TUNING",
    .attach = multitask_attach,
    .forward = multitask_forward,
    .count = multitask_count,
    .write_config = multitask_write_config,
    .read_config = multitask_read_config,
};
