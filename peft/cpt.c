/* cpt: context-aware prompt tuning (Blau et al. 2024): the tokens of a context, examples of the task, stand in front
 * of every sequence, and their embeddings change a little: row i is E[token i] + d[i], |d[i]| at most
 * epsilon * sqrt(width / 2048) after every step, with an epsilon of its own for the words around inputs and outputs.
 *
 * Kinds of tokens count as in PEFT, by their remainder by 4: 1 words before an input, 2 inputs, 3 words before an
 * output, 0 (but not 0 itself) outputs. Outputs stay as they are, and the loss counts them as targets.
 *
 * d lies aside, since PEFT's file holds the rows alone. A file without it has rows that are trained as a prompt's. */
#include "peft/peft.h"

#include "core/json.h"
#include "core/quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct cpt_options {
    key_texts ids, types;
    double    epsilon, format_epsilon;
    bool      stored; /* only the rows are there */
    bool      decays; /* of a file: losses of the context count less with distance */
} cpt_options;

#define AT(member) offsetof(cpt_options, member)
static const key cpt_keys[] = {
    {.name = "token_ids", .kind = KEY_TEXTS, .offset = AT(ids), .preset = "!",
     .help = "Numbers of the context's tokens (`cambium tokenize` tells them)."},
    {.name = "token_types", .kind = KEY_TEXTS, .offset = AT(types),
     .help = "Their kinds, as many: by the remainder by 4, 1 words before an input, 2 input, 3 words before an "
             "output, 0 output, which is no more trained but predicted; 0 itself: not trained. Missing: all 1."},
    {.name = "epsilon", .kind = KEY_REAL, .offset = AT(epsilon), .preset = "0.1", .lo = 0, .hi = 1e6,
     .help = "Length that the change of an input's embedding may have, times sqrt(width / 2048)."},
    {.name = "format_epsilon", .kind = KEY_REAL, .offset = AT(format_epsilon), .preset = "0.1", .lo = 0, .hi = 1e6,
     .help = "The same for the words before inputs and outputs."},
};
static const key_table cpt_table = KEY_TABLE("cpt", cpt_keys, cpt_options);

typedef struct cpt_state {
    peft    *p;
    tuned   *rows;                       /* stored, else NULL */
    tuned   *changes, *words, *trained;  /* d and E [n, width]; [n] 1 where d is trained, else 0 */
    int64_t  n;
    int32_t *ids;                        /* [n] */
    double  *most;                       /* [n] lengths of d */
    int32_t  before;                     /* virtual tokens of other modules in front of these */
} cpt_state;

/* ---- the context -------------------------------------------------------------------------------------------- */

static status read_number(const char *text, const char *what, int64_t below, int32_t *out)
{
    char      *end;
    const long v = strtol(text, &end, 10);

    if (end == text || *end || v < 0 || v >= below)
        return fail(STATUS_USAGE, "cpt: %s has '%s', must be numbers in 0..%lld", what, text, (long long)below - 1);
    *out = (int32_t)v;
    return STATUS_OK;
}

/* Lengths of changes, and labels of what is predicted. */
static status read_context(const peft_attach *at, const cpt_options *o, cpt_state *x)
{
    const double width = sqrt((double)at->s->out / 2048);
    int32_t     *labels, type;

    if (o->types.n > 0 && o->types.n != o->ids.n)
        return fail(STATUS_USAGE, "cpt: token_types has %d numbers, token_ids %d; they must be as many", o->types.n,
                    o->ids.n);
    x->n = o->ids.n;
    TRY_TAKE(x->ids, at->p->a, x->n);
    TRY_TAKE(x->most, at->p->a, x->n);
    TRY_TAKE(labels, at->p->a, x->n);
    for (int64_t i = 0; i < x->n; i++) {
        TRY(read_number(o->ids.v[i], "token_ids", at->s->in, &x->ids[i]));
        TRY(read_number(o->types.n > 0 ? o->types.v[i] : "1", "token_types", INT32_MAX, &type));
        x->most[i] = (type % 4 == 2 ? o->epsilon : type % 4 != 0 ? o->format_epsilon : 0) * width;
        labels[i] = type > 0 && type % 4 == 0 ? x->ids[i] : -100;
    }
    at->hook->front = (int32_t)x->n;
    at->hook->front_labels = labels;
    return STATUS_OK;
}

/* ---- its rows -------------------------------------------------------------------------------------------------- */

static status start_words(arena *work, const void *context, const tensor *value)
{
    const cpt_state *x = context;
    const tensor    *table = &model_words(x->p->m)->weight->value;
    const int64_t    width = value->s.d[1], bytes = dtype_row_bytes(table->type, width);

    (void)work;
    for (int64_t i = 0; i < x->n; i++)
        quant_expand(table->type, (const uint8_t *)table->v + x->ids[i] * bytes, width,
                     (float *)value->v + i * width);
    return STATUS_OK;
}

static status start_trained(arena *work, const void *context, const tensor *value)
{
    const cpt_state *x = context;

    (void)work;
    for (int64_t i = 0; i < x->n; i++)
        ((float *)value->v)[i] = x->most[i] > 0;
    return STATUS_OK;
}

static status add_changes(const peft_attach *at, cpt_state *x)
{
    const shape s = shape_2(x->n, at->s->out);
    tuned_start start = {.how = INIT_MADE, .context = x, .make = start_words, .unsaved = true};

    TRY(peft_fixed(at, "cpt.words", s, start, &x->words));
    start.make = start_trained;
    TRY(peft_fixed(at, "cpt.trained", shape_1(x->n), start, &x->trained));
    TRY(peft_tuned_alone(at, "delta_embedding.weight", s, START_ZERO, &x->changes));
    x->changes->aside = true;
    return STATUS_OK;
}

static status cpt_attach(const peft_attach *at, const void *options, void **state)
{
    const cpt_options *o = options;
    cpt_state         *x;

    if (at->s != model_words(at->p->m))
        return fail(STATUS_USAGE, "cpt: sits on the embedding of words only");
    if (o->decays && at->p->modules[at->module].trains)
        return fail(STATUS_UNSUPPORTED, "cpt: opt_loss_decay_factor must be 1 for training in this version");
    TRY_TAKE(x, at->p->a, 1);
    *x = (cpt_state){.p = at->p, .before = model_in_front(at->p->m).tokens};
    TRY(read_context(at, o, x));
    *state = x;
    return o->stored ? peft_tuned_alone(at, "prompt_embeddings", shape_2(x->n, at->s->out), START_ZERO, &x->rows)
                     : add_changes(at, x);
}

static var *cpt_result(tape *t, void *state)
{
    const cpt_state *x = state;

    if (x->rows)
        return NULL;
    var *changes = ag_cut(t, peft_var(t, x->p, x->changes), peft_var(t, x->p, x->trained), x->n,
                          x->words->value.s.d[1]);
    return ag_add(t, peft_value(t, x->p, x->words), ag_expand(t, changes));
}

static var *cpt_forward(tape *t, const site *s, void *state, var *ids, var *y)
{
    const cpt_state *x = state;
    const row_names *names = &x->p->m->rows;
    var             *rows = x->rows ? peft_var(t, x->p, x->rows) : cpt_result(t, state);

    (void)s, (void)ids;
    return ag_replace_rows(t, y, rows, names->positions, NULL, names->first + x->before);
}

static status cpt_after_step(peft *p, int module, const void *options, const peft_step *step)
{
    const cpt_state *x = p->modules[module].hooks[0].state;

    (void)options, (void)step;
    if (x->rows)
        return STATUS_OK;
    const int64_t width = x->changes->value.s.d[1];
    for (int64_t i = 0; i < x->n; i++) {
        float *d = (float *)x->changes->value.v + i * width;
        double square = 0;
        for (int64_t c = 0; c < width; c++)
            square += (double)d[c] * d[c];
        const double length = sqrt(square), factor = length > x->most[i] ? x->most[i] / length : 1;
        for (int64_t c = 0; c < width && factor < 1; c++)
            d[c] = (float)(d[c] * factor);
    }
    return STATUS_OK;
}

static int64_t cpt_count(const site *s, const void *options)
{
    return s->out * ((const cpt_options *)options)->ids.n;
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

static void write_numbers(cJSON *config, const char *name, const key_texts *texts, int n)
{
    cJSON *list = cJSON_AddArrayToObject(config, name);

    for (int i = 0; i < n; i++)
        cJSON_AddItemToArray(list, cJSON_CreateRaw(texts && texts->n > 0 ? texts->v[i] : "1"));
}

static status cpt_write_config(const void *options, cJSON *config)
{
    const cpt_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "CPT");
    cJSON_AddNumberToObject(config, "num_virtual_tokens", o->ids.n);
    write_numbers(config, "cpt_token_ids", &o->ids, o->ids.n);
    write_numbers(config, "cpt_mask", NULL, o->ids.n);
    write_numbers(config, "cpt_tokens_type_mask", &o->types, o->ids.n);
    cJSON_AddStringToObject(config, "opt_weighted_loss_type", "none");
    cJSON_AddNumberToObject(config, "opt_loss_decay_factor", 1);
    cJSON_AddNumberToObject(config, "opt_projection_epsilon", o->epsilon);
    cJSON_AddNumberToObject(config, "opt_projection_format_epsilon", o->format_epsilon);
    return STATUS_OK;
}

static status read_numbers(const cJSON *config, const char *name, arena *a, key_texts *out, const char *what)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(config, name), *item;
    const char **v;

    *out = (key_texts){0};
    if (!list || cJSON_IsNull(list))
        return STATUS_OK;
    if (!cJSON_IsArray(list))
        return fail(STATUS_FORMAT, "%s: %s must be a list of numbers", what, name);
    TRY_TAKE(v, a, cJSON_GetArraySize(list) + 1);
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsNumber(item) || item->valuedouble != (double)item->valueint)
            return fail(STATUS_FORMAT, "%s: %s must be a list of whole numbers", what, name);
        v[out->n] = arena_printf(a, "%d", item->valueint);
        if (!v[out->n++])
            return STATUS_MEMORY;
    }
    out->v = v;
    return STATUS_OK;
}

static status cpt_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    cpt_options *o = options;
    const char  *weighted = "none";
    double       decay = 1;
    key_texts    mask;

    *o = (cpt_options){.stored = true, .epsilon = 0.1, .format_epsilon = 0.1};
    TRY(read_numbers(config, "cpt_token_ids", a, &o->ids, what));
    TRY(read_numbers(config, "cpt_tokens_type_mask", a, &o->types, what));
    TRY(read_numbers(config, "cpt_mask", a, &mask, what));
    if (o->ids.n == 0)
        return fail(STATUS_FORMAT, "%s: cpt_token_ids is missing", what);
    for (int i = 0; i < mask.n; i++)
        if (strcmp(mask.v[i], "1") != 0)
            return fail(STATUS_UNSUPPORTED, "%s: cpt_mask hides a token of the context, must be all 1", what);
    TRY(json_double(config, "opt_projection_epsilon", false, &o->epsilon, what));
    TRY(json_double(config, "opt_projection_format_epsilon", false, &o->format_epsilon, what));
    if (!(o->epsilon >= 0 && o->format_epsilon >= 0))
        return fail(STATUS_FORMAT, "%s: epsilons are %g and %g, must not be negative", what, o->epsilon,
                    o->format_epsilon);
    TRY(json_string(config, "opt_weighted_loss_type", false, &weighted, what));
    TRY(json_double(config, "opt_loss_decay_factor", false, &decay, what));
    o->decays = strcmp(weighted, "none") != 0 && decay != 1;
    return STATUS_OK;
}

static void cpt_with_encoder(void *options)
{
    ((cpt_options *)options)->stored = false;
}

static uint32_t cpt_traits(const void *options)
{
    return PEFT_FILE | (((const cpt_options *)options)->stored ? 0 : PEFT_STEPS);
}

const peft_method peft_cpt = {
    .name = "cpt",
    .sites = SITE_EMBEDDING,
    .traits = PEFT_FILE | PEFT_STEPS,
    .traits_with = cpt_traits,
    .everywhere = true,
    .keys = &cpt_table,
    .help = "A context of examples in front of every sequence, whose embeddings change a little (Blau et al. 2024).",
    .attach = cpt_attach,
    .forward = cpt_forward,
    .result = cpt_result,
    .with_encoder = cpt_with_encoder,
    .after_step = cpt_after_step,
    .count = cpt_count,
    .write_config = cpt_write_config,
    .read_config = cpt_read_config,
};
