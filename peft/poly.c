/* poly: an inventory of low-rank skills at each site, of which every task takes its own weighted mean: y' = y +
 * alpha / r (x A_t) B_t for the rows of a sequence of task t, A_t = sum_k w[t,k] A_k and B_t likewise: what is
 * averaged are factors, not products (Ponti et al. 2022, Polytropon).
 *
 * With `splits` inputs and outputs are cut into as many parts, each with weights and skills of its own; the parts of
 * A_t stand one below another, those of B_t beside another (Page-Caccia et al. 2023, multi-head routing).
 *
 * The weights are sigmoid(logits), divided by their sum over the skills. While training, `noise` makes relaxed
 * Bernoulli samples of them, a sequence its own.
 *
 * A new task begins with an `inventory`, the skills of a trained module, and fresh logits. What is trained then is
 * all (mhr), the logits (mhr_z), or one adapter that begins as the mean of the A_k and that of the B_k (mhr_mu): a
 * LoRA, and saved as one. mhr_mu_k_copies trains the skills under constant weights 1 / K. */
#include "peft/poly.h"

#include "core/json.h"
#include "core/text.h"

#include <string.h>

#define AT(member) offsetof(poly_options, member)
static const key poly_keys[] = {
    {.name = "rank", .kind = KEY_INT, .offset = AT(rank), .preset = "8", .lo = 1, .hi = 65536,
     .help = "Rank r of a skill; the product is divided by it."},
    {.name = "alpha", .kind = KEY_REAL, .offset = AT(alpha), .preset = "1", .lo = 1e-6, .hi = 1e6,
     .help = "Factor of the product; PEFT has 1 only."},
    {.name = "tasks", .kind = KEY_INT, .offset = AT(tasks), .preset = "1", .lo = 1, .hi = 1 << 20,
     .help = "Tasks in the data, numbered from 0 by a record's `task`."},
    {.name = "skills", .kind = KEY_INT, .offset = AT(skills), .preset = "4", .lo = 1, .hi = 65536,
     .help = "Pairs of low-rank factors at a site that tasks mix."},
    {.name = "splits", .kind = KEY_INT, .offset = AT(splits), .preset = "1", .lo = 1, .hi = 65536,
     .help = "Parts of a site's inputs and outputs that are mixed each by itself (MHR)."},
    {.name = "noise", .kind = KEY_BOOL, .offset = AT(noise), .preset = "yes",
     .help = "Sample the weights of the skills while training."},
    {.name = "init", .kind = KEY_CHOICE, .offset = AT(init), .preset = "peft", .choices = "peft|mhr",
     .help = "A starts below 1 / sqrt(inputs / splits) as in PEFT, or below 1 / sqrt(3 inputs) as in the paper's "
             "program."},
    {.name = "inventory", .kind = KEY_TEXT, .offset = AT(inventory),
     .help = "Folder of a trained module, whose skills this one begins with."},
    {.name = "adapt", .kind = KEY_CHOICE, .offset = AT(adapt), .preset = "mhr",
     .choices = "mhr|mhr_z|mhr_mu|mhr_mu_k_copies",
     .help = "With an inventory: train skills and mixture, the mixture, the mean of the skills, or skills under "
             "equal weights."},
};
static const key_table poly_table = KEY_TABLE("poly", poly_keys, poly_options);

typedef struct poly_state {
    peft               *p;
    const poly_options *o;
    tuned              *a, *b, *logits; /* logits NULL: a [r, in], b [out, r] are one adapter for all */
    const tensor       *noise, *rows;   /* given (poly_give_noise), else NULL */
} poly_state;

poly_way poly_way_of(const poly_options *o)
{
    static const char *const names[] = {"mhr", "mhr_z", "mhr_mu", "mhr_mu_k_copies"};

    return o->adapt ? (poly_way)text_index(o->adapt, names, COUNT_OF(names)) : POLY_ALL;
}

static double factor_of(const poly_options *o)
{
    return o->alpha / (double)o->rank;
}

static status check_site(const poly_options *o, const site *s)
{
    if (s->block < 0)
        return fail(STATUS_USAGE, "poly: sits on linear layers of blocks only, whose rows are tokens");
    if (s->in % o->splits != 0 || s->out % o->splits != 0)
        return fail(STATUS_SHAPE, "poly: splits is %lld, must divide %lld inputs and %lld outputs",
                    (long long)o->splits, (long long)s->in, (long long)s->out);
    return STATUS_OK;
}

static status poly_open(const peft_attach *at, const void *options, const site *const *sites, int n, void **shared)
{
    const poly_options *o = options;
    poly_inventory     *x = NULL;

    (void)sites;
    if (!o->inventory && poly_way_of(o) != POLY_ALL)
        return fail(STATUS_USAGE, "poly: adapt is %s, which needs an inventory: the folder of a trained module",
                    o->adapt);
    if (o->inventory)
        TRY(poly_inventory_open(at, o, n, &x));
    *shared = x;
    return STATUS_OK;
}

/* One adapter, in the form of a LoRA. */
static status attach_mean(const peft_attach *at, poly_state *x)
{
    tuned_start a, b;

    TRY(poly_inventory_mean(at, at->shared, "poly_lora_A", &a));
    TRY(poly_inventory_mean(at, at->shared, "poly_lora_B", &b));
    TRY(peft_tuned(at, "lora_A.weight", shape_2(x->o->rank, at->s->in), a, &x->a));
    return peft_tuned(at, "lora_B.weight", shape_2(at->s->out, x->o->rank), b, &x->b);
}

static status attach_skills(const peft_attach *at, poly_state *x)
{
    const poly_options *o = x->o;
    const int64_t       S = o->splits, K = o->skills, R = o->rank, in = at->s->in / S, out = at->s->out / S;
    const int64_t       a[] = {S, K, in, R}, b[] = {S, K, R, out};
    const shape         z = shape_2(o->tasks, S * K);
    const tuned_start   near_zero = {.how = INIT_UNIFORM, .size = 1e-3};
    const bool          paper = o->init && strcmp(o->init, "mhr") == 0, fixed = poly_way_of(o) == POLY_MIXTURE;
    tuned_start         low = start_linear(paper ? 3 * at->s->in : in), high = START_ZERO;

    at->hook->tasks = (int32_t)o->tasks;
    if (at->shared) {
        TRY(poly_inventory_start(at, at->shared, "poly_lora_A", &low));
        TRY(poly_inventory_start(at, at->shared, "poly_lora_B", &high));
    }
    TRY((fixed ? peft_fixed : peft_tuned)(at, "poly_lora_A", shape_of(4, a), low, &x->a));
    TRY((fixed ? peft_fixed : peft_tuned)(at, "poly_lora_B", shape_of(4, b), high, &x->b));
    if (poly_way_of(o) == POLY_COPIES)
        return peft_fixed(at, "poly_router.module_logits", z, START_ZERO, &x->logits);
    return peft_tuned(at, "poly_router.module_logits", z, near_zero, &x->logits);
}

static status poly_attach(const peft_attach *at, const void *options, void **state)
{
    const poly_options *o = options;
    poly_state         *x;

    TRY(check_site(o, at->s));
    TRY_TAKE(x, at->p->a, 1);
    *x = (poly_state){.p = at->p, .o = o};
    *state = x;
    return poly_way_of(o) == POLY_MEAN ? attach_mean(at, x) : attach_skills(at, x);
}

void poly_give_noise(const peft *p, int module, int i, const tensor *noise, const tensor *rows)
{
    poly_state *x = p->modules[module].hooks[i].state;

    x->noise = noise;
    x->rows = rows;
}

/* The weights of every sequence, [sequences, splits * skills]. */
static var *weights_of(tape *t, const site *s, const poly_state *x)
{
    const row_names *rows = &x->p->m->rows;
    const bool       noise = x->o->noise && rows->samples && poly_way_of(x->o) != POLY_COPIES;
    var             *logits = peft_var(t, x->p, x->logits);

    CHECK(rows->tasks && rows->offsets);
    if (!x->noise)
        return ag_skill_weights(t, logits, rows->tasks, noise ? rows->samples : NULL, noise ? rows->offsets : NULL,
                                x->o->skills, s->number);
    logits = ag_add(t, ag_gather_rows(t, logits, rows->tasks), tape_input(t, x->noise));
    return ag_skill_weights(t, logits, tape_input(t, x->rows), NULL, NULL, x->o->skills, s->number);
}

static var *poly_forward(tape *t, const site *s, void *state, var *x, var *y)
{
    const poly_state *p = state;
    var              *a = peft_var(t, p->p, p->a), *b = peft_var(t, p->p, p->b);

    if (!p->logits)
        return ag_lora(t, y, x, a, b, factor_of(p->o));
    var *w = weights_of(t, s, p);
    return ag_lora_each(t, y, x, ag_mix_skills(t, a, w, false), ag_mix_skills(t, b, w, true), p->p->m->rows.offsets,
                        factor_of(p->o));
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

/* w += alpha / r of [out, r] [r, in]; turned: high is [r, out], low is [in, r] */
static void add_product(const poly_options *o, const site *s, const void *high, const void *low, bool turned,
                        float *w)
{
    const int64_t R = o->rank;

    matmul_run(&(matmul){.m = s->out, .n = s->in, .k = R, .a = high, .type_a = TYPE_F32, .lda = turned ? s->out : R,
                         .a_turned = turned, .b = low, .type_b = TYPE_F32, .ldb = turned ? R : s->in,
                         .b_turned = turned, .c = w, .type_c = TYPE_F32, .ldc = s->in, .alpha = factor_of(o),
                         .accumulate = true});
}

/* w += alpha / r (A_t B_t)^T */
static status poly_merge(const site *s, const void *state, float *w, float *b)
{
    const poly_state *x = state;
    const tensor     *low, *high;
    arena             work;
    tape             *t = NULL;

    (void)b;
    if (!x->logits) {
        add_product(x->o, s, x->b->value.v, x->a->value.v, false, w);
        return STATUS_OK;
    }
    if (x->p->task < 0)
        return fail(STATUS_USAGE, "poly: every task has its own weights; say with --task which are to be merged");
    TRY(arena_open(&work, "merge", (size_t)1 << 32));
    status done = tape_open(&t, TYPE_F32);
    if (done == STATUS_OK)
        done = one_task(x, &work, t, &low, &high);
    if (done == STATUS_OK)
        add_product(x->o, s, high->v, low->v, true, w);
    tape_close(t);
    arena_close(&work);
    return done;
}

static int64_t poly_count(const site *s, const void *options)
{
    const poly_options *o = options;
    const int64_t       skill = o->rank * (s->in + s->out), mixture = o->tasks * o->splits * o->skills;

    switch (poly_way_of(o)) {
    case POLY_MIXTURE:
        return mixture;
    case POLY_MEAN:
        return skill;
    case POLY_COPIES:
        return o->skills * skill;
    case POLY_ALL:
        break;
    }
    return o->skills * skill + mixture;
}

static const char with_alpha[] = "poly_alpha"; /* PEFT refuses it: what it calls poly divides by r alone */

/* A mean is a LoRA. */
static status write_mean(const poly_options *o, cJSON *config)
{
    cJSON_AddStringToObject(config, "peft_type", "LORA");
    cJSON_AddNumberToObject(config, "r", (double)o->rank);
    cJSON_AddNumberToObject(config, "lora_alpha", o->alpha);
    cJSON_AddNumberToObject(config, "lora_dropout", 0);
    cJSON_AddStringToObject(config, "bias", "none");
    cJSON_AddBoolToObject(config, "fan_in_fan_out", false);
    return STATUS_OK;
}

static status poly_write_config(const void *options, cJSON *config)
{
    const poly_options *o = options;

    if (poly_way_of(o) == POLY_MEAN)
        return write_mean(o, config);
    cJSON_AddStringToObject(config, "peft_type", "POLY");
    cJSON_AddStringToObject(config, "poly_type", o->alpha == 1 ? "poly" : with_alpha);
    if (o->alpha != 1)
        cJSON_AddNumberToObject(config, "alpha", o->alpha);
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
    *o = (poly_options){.rank = 8, .alpha = 1, .tasks = 1, .skills = 4, .splits = 1, .noise = true};
    TRY(json_string(config, "poly_type", false, &type, what));
    if (strcmp(type, "poly") != 0 && strcmp(type, with_alpha) != 0)
        return fail(STATUS_UNSUPPORTED, "%s: poly_type is '%s', must be poly", what, type);
    if (strcmp(type, with_alpha) == 0)
        TRY(json_double(config, "alpha", true, &o->alpha, what));
    if (!(o->alpha > 0))
        return fail(STATUS_FORMAT, "%s: alpha is %g, must be above 0", what, o->alpha);
    TRY(json_int(config, "r", false, 1, 65536, &o->rank, what));
    TRY(json_int(config, "n_tasks", false, 1, 1 << 20, &o->tasks, what));
    TRY(json_int(config, "n_skills", false, 1, 65536, &o->skills, what));
    return json_int(config, "n_splits", false, 1, 65536, &o->splits, what);
}

/* The configuration cannot say that there was no noise, and PEFT always has some. */
static const char without_noise[] = "without noise";

static const char *poly_trained_as(const void *options)
{
    const poly_options *o = options;

    return o->noise || poly_way_of(o) == POLY_MEAN ? NULL : without_noise;
}

static status poly_train_as(arena *a, void *options, const char *was, const char *what)
{
    (void)a;
    if (strcmp(was, without_noise) != 0)
        return fail(STATUS_UNSUPPORTED, "%s: was trained as '%.40s', which this version does not know", what, was);
    ((poly_options *)options)->noise = false;
    return STATUS_OK;
}

static uint32_t poly_traits(const void *options)
{
    const poly_options *o = options;
    const bool          said = o->alpha == 1 || poly_way_of(o) == POLY_MEAN;

    return PEFT_MERGES | (o->inventory ? 0 : PEFT_IDENTITY_AT_START) | (said ? PEFT_FILE : 0);
}

const peft_method peft_poly = {
    .name = "poly",
    .sites = SITE_LINEAR,
    .traits_with = poly_traits,
    .keys = &poly_table,
    .help = "Low-rank skills that every task mixes in its own way (Ponti et al. 2022, Page-Caccia et al. 2023).",
    .open = poly_open,
    .attach = poly_attach,
    .forward = poly_forward,
    .merge = poly_merge,
    .count = poly_count,
    .write_config = poly_write_config,
    .read_config = poly_read_config,
    .trained_as = poly_trained_as,
    .train_as = poly_train_as,
};
