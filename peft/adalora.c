/* adalora: y' = y + alpha / (r + 1e-5) B (E * (A x)), A [r, in], E [r, 1], B [out, r]: a singular value
 * decomposition whose values E are taken away from where they matter least (Zhang et al. 2023). E starts at
 * zero, A and B with deviation 0.02. |A A^T - I| and |B^T B - I| are part of the loss.
 *
 * After each step every value gets an importance: s, the smoothed |value * gradient|, times u, the smoothed
 * distance of |value * gradient| from s (eqs. 8 to 10). A singular value has its own, and the means of its
 * row of A and its column of B. From step `warmup` on, every `interval` steps, those of least importance in
 * all sites together become zero, until `target_rank` a site are left on average `final` steps before the end
 * (eq. 12, a cubic schedule); then the choice stays.
 *
 * A file holds all r directions, those without a value too, which compute the same. Files that PEFT has
 * pruned say in rank_pattern which directions of each site they hold; r stays in the scaling. */
#include "peft/fields.h"
#include "peft/peft.h"

#include "core/json.h"
#include "core/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct ada_options {
    int64_t rank, target_rank, warmup, final, interval, total;
    double  alpha, beta1, beta2, orthogonality, dropout;
    key_map kept; /* of a pruned file: checkpoint name and rank */
} ada_options;

#define AT(member) offsetof(ada_options, member)
static const key ada_keys[] = {
    {.name = "rank", .kind = KEY_INT, .offset = AT(rank), .preset = "12", .lo = 1, .hi = 65536,
     .help = "Rank r that every site begins with."},
    {.name = "target_rank", .kind = KEY_INT, .offset = AT(target_rank), .preset = "8", .lo = 1, .hi = 65536,
     .help = "Average rank of the sites at the end."},
    {.name = "alpha", .kind = KEY_REAL, .offset = AT(alpha), .preset = "8", .lo = 1e-6, .hi = 1e6,
     .help = "The product is scaled by alpha / rank."},
    {.name = "warmup", .kind = KEY_INT, .offset = AT(warmup), .preset = "0", .lo = 0, .hi = 1e12,
     .unit = "steps",
     .help = "Steps before ranks begin to shrink."},
    {.name = "final", .kind = KEY_INT, .offset = AT(final), .preset = "0", .lo = 0, .hi = 1e12,
     .unit = "steps",
     .help = "Last steps, in which the ranks stay."},
    {.name = "interval", .kind = KEY_INT, .offset = AT(interval), .preset = "1", .lo = 1, .hi = 1e12,
     .unit = "steps",
     .help = "Steps between two choices in between."},
    {.name = "beta1", .kind = KEY_REAL, .offset = AT(beta1), .preset = "0.85", .lo = 1e-6, .hi = 0.999999,
     .help = "Smoothing of the importance."},
    {.name = "beta2", .kind = KEY_REAL, .offset = AT(beta2), .preset = "0.85", .lo = 1e-6, .hi = 0.999999,
     .help = "Smoothing of its uncertainty."},
    {.name = "orthogonality", .kind = KEY_REAL, .offset = AT(orthogonality), .preset = "0.5", .lo = 0,
     .hi = 1e6,
     .help = "Weight in the loss of the factors' mean distance from orthonormal ones."},
    {.name = "total", .kind = KEY_INT, .offset = AT(total), .preset = "0", .lo = 0, .hi = 1e12,
     .unit = "steps",
     .help = "Steps that the schedule is made for; 0: those of the run."},
    {.name = "dropout", .kind = KEY_REAL, .offset = AT(dropout), .preset = "0", .lo = 0, .hi = 0.999,
     .unit = "share",
     .help = "Share of the inputs of A set to zero while training."},
};
static const key_table ada_table = KEY_TABLE("adalora", ada_keys, ada_options);

enum { FACTOR_A, FACTOR_B, FACTOR_E, FACTORS };

typedef struct ada_state {
    peft  *p;
    tuned *factor[FACTORS], *sensitivity[FACTORS], *uncertainty[FACTORS];
    tuned *chosen; /* [r]: 1 where a singular value stays */
    double scale, dropout;
    var   *low;    /* E * A of the recording under way */
} ada_state;

/* ---- at a site ----------------------------------------------------------------------------------------- */

static int64_t rank_at(const ada_options *o, const site *s)
{
    for (int i = 0; i < o->kept.n; i++)
        if (strcmp(o->kept.v[i].name, s->checkpoint) == 0)
            return (int64_t)o->kept.v[i].value;
    return o->rank;
}

/* What the choice of ranks remembers; only where there is one. */
static status add_memory(const peft_attach *at, ada_state *a)
{
    static const char *const names[FACTORS] = {"lora_A", "lora_B", "lora_E"};
    const tuned_start        zero = {.how = INIT_VALUE, .unsaved = true, .kept = true};
    const tuned_start        one = {.how = INIT_VALUE, .size = 1, .unsaved = true, .kept = true};
    char                     name[64];

    if (!at->p->modules[at->module].trains)
        return STATUS_OK;
    for (int f = 0; f < FACTORS; f++) {
        const shape s = a->factor[f]->value.s;
        snprintf(name, sizeof name, "%s.sensitivity", names[f]);
        TRY(peft_fixed(at, name, s, zero, &a->sensitivity[f]));
        snprintf(name, sizeof name, "%s.uncertainty", names[f]);
        TRY(peft_fixed(at, name, s, zero, &a->uncertainty[f]));
    }
    return peft_fixed(at, "lora_E.chosen", a->factor[FACTOR_E]->value.s, one, &a->chosen);
}

static status ada_attach(const peft_attach *at, const void *options, void **state)
{
    const ada_options *o = options;
    const tuned_start  small = {.how = INIT_NORMAL, .size = 0.02};
    const int64_t      rank = rank_at(o, at->s);
    ada_state         *a;

    if (o->target_rank > o->rank)
        return fail(STATUS_USAGE, "adalora: target_rank is %lld, must be 1..%lld", (long long)o->target_rank,
                    (long long)o->rank);
    TRY_TAKE(a, at->p->a, 1);
    *a = (ada_state){.p = at->p, .dropout = o->dropout, .scale = o->alpha / ((double)o->rank + 1e-5)};
    TRY(peft_tuned(at, "lora_A", shape_2(rank, at->s->in), small, &a->factor[FACTOR_A]));
    TRY(peft_tuned(at, "lora_B", shape_2(at->s->out, rank), small, &a->factor[FACTOR_B]));
    TRY(peft_tuned(at, "lora_E", shape_2(rank, 1), START_ZERO, &a->factor[FACTOR_E]));
    TRY(add_memory(at, a));
    *state = a;
    return STATUS_OK;
}

/* The factor stands before the product, so that it takes it in. */
static var *ada_input(tape *t, const site *s, void *state, var *x)
{
    ada_state    *a = state;
    const int64_t rank = a->factor[FACTOR_E]->value.s.d[0];

    if (rank == 0)
        return x;
    tape_weight_begin(t);
    a->low = ag_cut(t, peft_var(t, a->p, a->factor[FACTOR_A]), peft_var(t, a->p, a->factor[FACTOR_E]), rank,
                    s->in);
    tape_weight_end(t);
    return x;
}

static var *ada_output(tape *t, const site *s, void *state, var *x, var *y)
{
    const ada_state *a = state;

    if (a->factor[FACTOR_E]->value.s.d[0] == 0)
        return y;
    return ag_lora(t, y, peft_dropout(t, a->p, s, x, a->dropout), a->low,
                   peft_var(t, a->p, a->factor[FACTOR_B]), a->scale);
}

static int64_t ada_count(const site *s, const void *options)
{
    return rank_at(options, s) * (s->in + s->out + 1);
}

/* ---- the loss ------------------------------------------------------------------------------------------ */

/* orthogonality times the mean over all A and B */
static void ada_extra_loss(tape *t, const peft *p, int number, const void *options, peft_losses *l)
{
    const ada_options *o = options;
    const module      *m = &p->modules[number];

    for (int k = 0; k < m->n_sites && o->orthogonality > 0; k++) {
        const ada_state *a = m->hooks[k].state;
        for (int f = FACTOR_A; f <= FACTOR_B; f++)
            peft_add_loss(l, ag_orthogonality(t, peft_var(t, p, a->factor[f]), f == FACTOR_B),
                          o->orthogonality / (2.0 * m->n_sites));
    }
}

/* ---- the choice of ranks ------------------------------------------------------------------------------- */

static void remember(const ada_options *o, const ada_state *a, const peft_step *s)
{
    for (int f = 0; f < FACTORS; f++) {
        const tuned *x = a->factor[f];
        const float *v = x->value.v, *g = s->gradients + x->first;
        float       *sensitivity = a->sensitivity[f]->value.v, *uncertainty = a->uncertainty[f]->value.v;
        for (int64_t i = 0; i < shape_count(x->value.s); i++) {
            const float now = fabsf(v[i] * (float)(g[i] * s->factor));
            sensitivity[i] = (float)(o->beta1 * sensitivity[i] + (1 - o->beta1) * now);
            uncertainty[i] = (float)(o->beta2 * uncertainty[i] +
                                     (1 - o->beta2) * fabsf(now - sensitivity[i]));
        }
    }
}

/* The mean importance of n values of a factor, `step` apart. */
static double importance(const ada_state *a, int f, int64_t first, int64_t step, int64_t n)
{
    const float *s = a->sensitivity[f]->value.v, *u = a->uncertainty[f]->value.v;
    double       sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += (double)s[first + i * step] * (double)u[first + i * step];
    return sum / (double)n;
}

static double score(const ada_state *a, int64_t r)
{
    const shape A = a->factor[FACTOR_A]->value.s, B = a->factor[FACTOR_B]->value.s;

    return importance(a, FACTOR_E, r, 1, 1) + importance(a, FACTOR_A, r * A.d[1], 1, A.d[1]) +
           importance(a, FACTOR_B, r, B.d[1], B.d[0]);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Takes the singular values that were not chosen away. */
static void mask_values(const ada_state *a)
{
    const float *chosen = a->chosen->value.v;
    float       *e = a->factor[FACTOR_E]->value.v;

    for (int64_t r = 0; r < a->chosen->value.s.d[0]; r++)
        if (chosen[r] == 0)
            e[r] = 0;
}

static int64_t ranks(const module *m)
{
    int64_t n = 0;

    for (int k = 0; k < m->n_sites; k++)
        n += ((const ada_state *)m->hooks[k].state)->chosen->value.s.d[0];
    return n;
}

/* Chooses the `budget` most important ones of all sites. */
static status choose(peft *p, const module *m, int64_t budget)
{
    const size_t  mark = arena_mark(p->a);
    const int64_t all = ranks(m);
    double       *scores;
    int64_t       n = 0;

    if (budget >= all)
        return STATUS_OK;
    TRY_TAKE(scores, p->a, all);
    for (int k = 0; k < m->n_sites; k++)
        for (int64_t r = 0; r < ((const ada_state *)m->hooks[k].state)->chosen->value.s.d[0]; r++)
            scores[n++] = score(m->hooks[k].state, r);
    qsort(scores, (size_t)n, sizeof *scores, ascending);
    for (int k = 0; k < m->n_sites; k++) {
        const ada_state *a = m->hooks[k].state;
        for (int64_t r = 0; r < a->chosen->value.s.d[0]; r++)
            ((float *)a->chosen->value.v)[r] = score(a, r) > scores[all - budget - 1];
        mask_values(a);
    }
    arena_rewind(p->a, mark);
    return STATUS_OK;
}

/* How many stay at a step in between: from all to the target by the third power of the way left. */
static int64_t budget_at(const ada_options *o, int64_t step, int64_t last, int64_t all, int64_t target)
{
    const double left = 1 - (double)(step - o->warmup) / (double)(last - o->warmup);

    return (int64_t)((double)(all - target) * (left * left * left)) + target;
}

static status ada_after_step(peft *p, int number, const void *options, const peft_step *s)
{
    const ada_options *o = options;
    const module      *m = &p->modules[number];
    const int64_t      last = (o->total ? o->total : s->steps) - o->final, all = ranks(m);
    const int64_t      target = o->target_rank * m->n_sites < all ? o->target_rank * m->n_sites : all;

    if (o->warmup >= last)
        return fail(STATUS_USAGE,
                    "adalora: %lld steps of warmup and %lld final ones leave none of %lld between them",
                    (long long)o->warmup, (long long)o->final, (long long)(last + o->final));
    for (int k = 0; k < m->n_sites; k++)
        if (s->step < last)
            remember(o, m->hooks[k].state, s);
        else if (s->step > last)
            mask_values(m->hooks[k].state);
    if (s->step == last)
        return choose(p, m, target);
    if (s->step > o->warmup && s->step < last && s->step % o->interval == 0)
        return choose(p, m, budget_at(o, s->step, last, all, target));
    return STATUS_OK;
}

/* ---- files --------------------------------------------------------------------------------------------- */

static const char kept_end[] = ".lora_E";

static status ada_write_config(const void *options, cJSON *config)
{
    const ada_options *o = options;
    const int64_t      least = o->warmup + o->final + 1; /* PEFT wants a number */

    cJSON_AddStringToObject(config, "peft_type", "ADALORA");
    cJSON_AddNumberToObject(config, "init_r", (double)o->rank);
    cJSON_AddNumberToObject(config, "target_r", (double)o->target_rank);
    cJSON_AddNumberToObject(config, "lora_alpha", o->alpha);
    cJSON_AddNumberToObject(config, "tinit", (double)o->warmup);
    cJSON_AddNumberToObject(config, "tfinal", (double)o->final);
    cJSON_AddNumberToObject(config, "deltaT", (double)o->interval);
    cJSON_AddNumberToObject(config, "beta1", o->beta1);
    cJSON_AddNumberToObject(config, "beta2", o->beta2);
    cJSON_AddNumberToObject(config, "orth_reg_weight", o->orthogonality);
    cJSON_AddNumberToObject(config, "total_step", (double)(o->total > least ? o->total : least));
    cJSON_AddNumberToObject(config, "lora_dropout", o->dropout);
    cJSON_AddBoolToObject(config, "fan_in_fan_out", false);
    if (o->kept.n == 0)
        return STATUS_OK;
    cJSON *pattern = cJSON_AddObjectToObject(config, "rank_pattern");
    for (int i = 0; i < o->kept.n; i++) {
        char name[512];
        snprintf(name, sizeof name, "%s%s", o->kept.v[i].name, kept_end);
        cJSON *list = cJSON_AddArrayToObject(pattern, name);
        for (int64_t r = 0; r < o->rank; r++)
            cJSON_AddItemToArray(list, cJSON_CreateBool(r < (int64_t)o->kept.v[i].value));
    }
    return STATUS_OK;
}

/* "model.layers.0.self_attn.q_proj.lora_E": [true, false, ...] */
static status read_kept(const cJSON *item, arena *a, struct key_pair *out, const char *what)
{
    const size_t length = strlen(item->string), end = sizeof kept_end - 1;
    const cJSON *flag;

    if (!text_ends(item->string, kept_end) || length == end || !cJSON_IsArray(item))
        return fail(STATUS_FORMAT, "%s: rank_pattern.%s must be a list under a name that ends with %s", what,
                    item->string, kept_end);
    *out = (struct key_pair){.name = arena_string(a, item->string, length - end)};
    if (!out->name)
        return STATUS_MEMORY;
    cJSON_ArrayForEach(flag, item)
    {
        if (!cJSON_IsBool(flag))
            return fail(STATUS_FORMAT, "%s: rank_pattern.%s must hold true and false", what, item->string);
        out->value += cJSON_IsTrue(flag);
    }
    return STATUS_OK;
}

static status read_pattern(const cJSON *config, arena *a, key_map *kept, const char *what)
{
    const cJSON     *pattern = cJSON_GetObjectItemCaseSensitive(config, "rank_pattern"), *item;
    struct key_pair *v;

    if (!pattern || cJSON_IsNull(pattern))
        return STATUS_OK;
    if (!cJSON_IsObject(pattern))
        return fail(STATUS_FORMAT, "%s: rank_pattern must be an object", what);
    TRY_TAKE(v, a, cJSON_GetArraySize(pattern) + 1);
    cJSON_ArrayForEach(item, pattern)
        TRY(read_kept(item, a, &v[kept->n++], what));
    kept->v = v;
    return STATUS_OK;
}

static status ada_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    static const char *const off[] = {"bias", "use_dora", "layer_replication", "target_parameters", NULL};
    ada_options             *o = options;

    *o = (ada_options){.rank = 12, .target_rank = 8, .interval = 1, .alpha = 8, .beta1 = 0.85, .beta2 = 0.85,
                       .orthogonality = 0.5};
    TRY(fields_refuse(config, off, what));
    TRY(json_int(config, "init_r", false, 1, 65536, &o->rank, what));
    TRY(json_int(config, "target_r", false, 1, o->rank, &o->target_rank, what));
    TRY(json_double(config, "lora_alpha", false, &o->alpha, what));
    TRY(json_int(config, "tinit", false, 0, (int64_t)1 << 40, &o->warmup, what));
    TRY(json_int(config, "tfinal", false, 0, (int64_t)1 << 40, &o->final, what));
    TRY(json_int(config, "deltaT", false, 1, (int64_t)1 << 40, &o->interval, what));
    TRY(json_double(config, "beta1", false, &o->beta1, what));
    TRY(json_double(config, "beta2", false, &o->beta2, what));
    TRY(json_double(config, "orth_reg_weight", false, &o->orthogonality, what));
    TRY(json_int(config, "total_step", false, 0, (int64_t)1 << 40, &o->total, what));
    TRY(fields_share(config, "lora_dropout", &o->dropout, what));
    if (o->alpha <= 0) /* PEFT takes the rank */
        o->alpha = (double)o->rank;
    return read_pattern(config, a, &o->kept, what);
}

const peft_method peft_adalora = {
    .name = "adalora",
    .sites = SITE_LINEAR,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES | PEFT_FILE | PEFT_STEPS,
    .keys = &ada_table,
    .help = "Low-rank adaptation whose ranks go where they matter most (Zhang et al. 2023).",
    .attach = ada_attach,
    .input = ada_input,
    .forward = ada_output,
    .extra_loss = ada_extra_loss,
    .after_step = ada_after_step,
    .count = ada_count,
    .write_config = ada_write_config,
    .read_config = ada_read_config,
};
