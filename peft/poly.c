/* poly: an inventory of low-rank skills at each site, of which every task takes its own weighted mean: y' = y +
 * (x A_t) B_t / r for the rows of a sequence of task t, A_t = sum_k w[t,k] A_k and B_t likewise: what is averaged are
 * factors, not products (Ponti et al. 2022, Polytropon).
 *
 * With `splits` inputs and outputs are cut into as many parts, each with weights and skills of its own; the parts of
 * A_t stand one below another, those of B_t beside another (Page-Caccia et al. 2023, multi-head routing).
 *
 * The weights are sigmoid(logits), divided by their sum over the skills. While training, `noise` makes relaxed
 * Bernoulli samples of them, a sequence its own. */
#include "peft/peft.h"

#include "core/json.h"

#include <string.h>

typedef struct poly_options {
    int64_t rank, tasks, skills, splits;
    bool    noise;
} poly_options;

#define AT(member) offsetof(poly_options, member)
static const key poly_keys[] = {
    {.name = "rank", .kind = KEY_INT, .offset = AT(rank), .preset = "8", .lo = 1, .hi = 65536,
     .help = "Rank r of a skill; the product is divided by it."},
    {.name = "tasks", .kind = KEY_INT, .offset = AT(tasks), .preset = "1", .lo = 1, .hi = 1 << 20,
     .help = "Tasks in the data, numbered from 0 by a record's `task`."},
    {.name = "skills", .kind = KEY_INT, .offset = AT(skills), .preset = "4", .lo = 1, .hi = 65536,
     .help = "Pairs of low-rank factors at a site that tasks mix."},
    {.name = "splits", .kind = KEY_INT, .offset = AT(splits), .preset = "1", .lo = 1, .hi = 65536,
     .help = "Parts of a site's inputs and outputs that are mixed each by itself (MHR)."},
    {.name = "noise", .kind = KEY_BOOL, .offset = AT(noise), .preset = "yes",
     .help = "Sample the weights of the skills while training."},
};
static const key_table poly_table = KEY_TABLE("poly", poly_keys, poly_options);

typedef struct poly_state {
    peft               *p;
    const poly_options *o;
    tuned              *a, *b, *logits;
} poly_state;

static status check_site(const poly_options *o, const site *s)
{
    if (s->block < 0)
        return fail(STATUS_USAGE, "poly: sits on linear layers of blocks only, whose rows are tokens");
    if (s->in % o->splits != 0 || s->out % o->splits != 0)
        return fail(STATUS_SHAPE, "poly: splits is %lld, must divide %lld inputs and %lld outputs",
                    (long long)o->splits, (long long)s->in, (long long)s->out);
    return STATUS_OK;
}

static status poly_attach(const peft_attach *at, const void *options, void **state)
{
    const poly_options *o = options;
    const int64_t       S = o->splits, K = o->skills, R = o->rank, in = at->s->in / S, out = at->s->out / S;
    const int64_t       a[] = {S, K, in, R}, b[] = {S, K, R, out};
    const tuned_start   near_zero = {.how = INIT_UNIFORM, .size = 1e-3};
    poly_state         *x;

    TRY(check_site(o, at->s));
    TRY_TAKE(x, at->p->a, 1);
    *x = (poly_state){.p = at->p, .o = o};
    at->hook->tasks = (int32_t)o->tasks;
    TRY(peft_tuned(at, "poly_lora_A", shape_of(4, a), start_linear(in), &x->a));
    TRY(peft_tuned(at, "poly_lora_B", shape_of(4, b), START_ZERO, &x->b));
    *state = x;
    return peft_tuned(at, "poly_router.module_logits", shape_2(o->tasks, S * K), near_zero, &x->logits);
}

static var *poly_forward(tape *t, const site *s, void *state, var *x, var *y)
{
    const poly_state   *p = state;
    const row_names    *rows = &p->p->m->rows;
    const poly_options *o = p->o;
    const bool          noise = o->noise && rows->samples;

    CHECK(rows->tasks && rows->offsets);
    var *w = ag_skill_weights(t, peft_var(t, p->p, p->logits), rows->tasks, noise ? rows->samples : NULL,
                              noise ? rows->offsets : NULL, o->skills, s->number);
    var *a = ag_mix_skills(t, peft_var(t, p->p, p->a), w, false);
    var *b = ag_mix_skills(t, peft_var(t, p->p, p->b), w, true);
    return ag_lora_each(t, y, x, a, b, rows->offsets, 1 / (double)o->rank);
}

/* The factors that one task takes of the skills, as ag_mix_skills has them: A_t [in, r], B_t [r, out]. */
static status one_task(const poly_state *x, arena *a, tape *t, const tensor **low, const tensor **high)
{
    const tensor task = {.s = shape_1(1), .type = TYPE_I32, .v = &x->p->task};
    var         *logits = tape_tensor(t, &x->logits->value);
    var         *w = ag_skill_weights(t, logits, tape_input(t, &task), NULL, NULL, x->o->skills, 0);
    var         *mixed_a = ag_mix_skills(t, tape_tensor(t, &x->a->value), w, false);
    var         *mixed_b = ag_mix_skills(t, tape_tensor(t, &x->b->value), w, true);

    tape_keep(t, mixed_a);
    tape_keep(t, mixed_b);
    TRY(tape_plan(t, NULL, RECOMPUTE_NONE));
    TRY(tape_bind(t, a));
    tape_forward(t);
    *low = &mixed_a->t;
    *high = &mixed_b->t;
    return tape_check(t);
}

/* w += (A_t B_t)^T / r */
static status poly_merge(const site *s, const void *state, float *w, float *b)
{
    const poly_state *x = state;
    const tensor     *low, *high;
    arena             work;
    tape             *t = NULL;

    (void)b;
    if (x->p->task < 0)
        return fail(STATUS_USAGE, "poly: every task has its own weights; say with --task which are to be merged");
    TRY(arena_open(&work, "merge", (size_t)1 << 32));
    status done = tape_open(&t, TYPE_F32);
    if (done == STATUS_OK)
        done = one_task(x, &work, t, &low, &high);
    if (done == STATUS_OK)
        matmul_run(&(matmul){.m = s->out, .n = s->in, .k = x->o->rank, .a = high->v, .type_a = TYPE_F32, .lda = s->out,
                             .a_turned = true, .b = low->v, .type_b = TYPE_F32, .ldb = x->o->rank, .b_turned = true,
                             .c = w, .type_c = TYPE_F32, .ldc = s->in, .alpha = 1 / (double)x->o->rank,
                             .accumulate = true});
    tape_close(t);
    arena_close(&work);
    return done;
}

static int64_t poly_count(const site *s, const void *options)
{
    const poly_options *o = options;

    return o->skills * (o->rank * (s->in + s->out) + o->tasks * o->splits);
}

static status poly_write_config(const void *options, cJSON *config)
{
    const poly_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "POLY");
    cJSON_AddStringToObject(config, "poly_type", "poly");
    cJSON_AddNumberToObject(config, "r", (double)o->rank);
    cJSON_AddNumberToObject(config, "n_tasks", (double)o->tasks);
    cJSON_AddNumberToObject(config, "n_skills", (double)o->skills);
    cJSON_AddNumberToObject(config, "n_splits", (double)o->splits);
    cJSON_AddBoolToObject(config, "init_weights", true);
    return STATUS_OK;
}

static status poly_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    poly_options *o = options;
    const char   *type = "poly";

    (void)a;
    *o = (poly_options){.rank = 8, .tasks = 1, .skills = 4, .splits = 1, .noise = true};
    TRY(json_string(config, "poly_type", false, &type, what));
    if (strcmp(type, "poly") != 0)
        return fail(STATUS_UNSUPPORTED, "%s: poly_type is '%s', must be poly", what, type);
    TRY(json_int(config, "r", false, 1, 65536, &o->rank, what));
    TRY(json_int(config, "n_tasks", false, 1, 1 << 20, &o->tasks, what));
    TRY(json_int(config, "n_skills", false, 1, 65536, &o->skills, what));
    return json_int(config, "n_splits", false, 1, 65536, &o->splits, what);
}

const peft_method peft_poly = {
    .name = "poly",
    .sites = SITE_LINEAR,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES | PEFT_FILE,
    .keys = &poly_table,
    .help = "Low-rank skills that every task mixes in its own way (Ponti et al. 2022, Page-Caccia et al. 2023).",
    .attach = poly_attach,
    .forward = poly_forward,
    .merge = poly_merge,
    .count = poly_count,
    .write_config = poly_write_config,
    .read_config = poly_read_config,
};
