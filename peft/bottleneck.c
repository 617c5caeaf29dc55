/* bottleneck: a small network u(x) = s U act(D x), D [r, in], U [out, r], beside or behind what a site computes
 * (Houlsby et al. 2019; Pfeiffer et al. 2021; He et al. 2022; Hu et al. 2023, LLM-Adapters); with biases
 * u(x) = s (U act(D x + d) + u) (Gao et al. 2023, LAE, at block.*.after_attn with `parallel` and `learned`).
 *
 *     series    y' = y + u(y); at the linears of the mlp that read the stream it comes first: x' = x + u(x)
 *     parallel  y' = y + u(x)
 *
 * At what attention or mlp add to the stream (block.*.after_attn, block.*.after_mlp) both are Houlsby's adapters, at
 * the latter alone Pfeiffer's. Files are those of LLM-Adapters' fork of PEFT, with its name for U = 0 at the start. */
#include "peft/peft.h"

#include "core/json.h"
#include "core/text.h"
#include "layers/activation.h"

#include <string.h>

typedef struct bottleneck_options {
    int64_t     size;
    const char *act, *place, *init;
    double      scale, dropout;
    bool        learned, bias;
} bottleneck_options;

#define AT(member) offsetof(bottleneck_options, member)
static const key bottleneck_keys[] = {
    {.name = "size", .kind = KEY_INT, .offset = AT(size), .preset = "64", .lo = 1, .hi = 65536,
     .help = "Width r of the bottleneck."},
    {.name = "act", .kind = KEY_CHOICE, .offset = AT(act), .preset = "tanh", .choices = "tanh|relu|gelu|silu|linear",
     .help = "Function in the middle."},
    {.name = "place", .kind = KEY_CHOICE, .offset = AT(place), .preset = "series", .choices = "series|parallel",
     .help = "Behind what the site computes, or beside it."},
    {.name = "scale", .kind = KEY_REAL, .offset = AT(scale), .preset = "1", .lo = 1e-6, .hi = 1e6,
     .help = "Factor of what is added."},
    {.name = "learned", .kind = KEY_BOOL, .offset = AT(learned), .preset = "no",
     .help = "Train the factor; it starts at 1."},
    {.name = "bias", .kind = KEY_BOOL, .offset = AT(bias), .preset = "no",
     .help = "Train biases of D and U, which start at zero."},
    {.name = "dropout", .kind = KEY_REAL, .offset = AT(dropout), .preset = "0", .lo = 0, .hi = 0.999,
     .unit = "share", .help = "Share of the inputs of D set to zero while training."},
    {.name = "init", .kind = KEY_CHOICE, .offset = AT(init), .preset = "zero", .choices = "zero|bert",
     .help = "U starts at zero, or D and U with deviation 0.02."},
};
static const key_table bottleneck_table = KEY_TABLE("bottleneck", bottleneck_keys, bottleneck_options);

typedef struct bottleneck_state {
    peft       *p;
    tuned      *down, *up, *factor, *down_bias, *up_bias; /* factor: learned, else NULL; the last two: bias */
    activation *act;
    double      scale, dropout;
    bool        parallel;
} bottleneck_state;

typedef enum placement { BEFORE, BEHIND, BESIDE } placement;

/* LLM-Adapters' rule: at the linears that widen, a series adapter comes first. */
static placement place_of(const bottleneck_options *o, const site *s)
{
    static const char *const widening[] = {"gate_proj", "up_proj", "fc_in", "fc1", "dense_h_to_4h"};

    if (strcmp(o->place, "parallel") == 0)
        return BESIDE;
    for (size_t i = 0; i < COUNT_OF(widening); i++)
        if (s->kind == SITE_LINEAR && text_ends(s->checkpoint, widening[i]))
            return BEFORE;
    return BEHIND;
}

static void widths(const bottleneck_options *o, const site *s, int64_t *in, int64_t *out)
{
    const placement where = place_of(o, s);

    *in = where == BEHIND ? s->out : s->in;
    *out = where == BEFORE ? s->in : s->out;
}

static status bottleneck_attach(const peft_attach *at, const void *options, void **state)
{
    const bottleneck_options *o = options;
    const bool                bert = strcmp(o->init, "bert") == 0;
    const tuned_start         small = {.how = INIT_NORMAL, .size = 0.02};
    bottleneck_state         *x;
    int64_t                   in, out;

    TRY_TAKE(x, at->p->a, 1);
    *x = (bottleneck_state){.p = at->p, .scale = o->scale, .dropout = o->dropout,
                            .parallel = place_of(o, at->s) == BESIDE};
    TRY(activation_find(o->act, "bottleneck", &x->act));
    widths(o, at->s, &in, &out);
    TRY(peft_tuned(at, "adapter_down.weight", shape_2(o->size, in), bert ? small : start_linear(in), &x->down));
    TRY(peft_tuned(at, "adapter_up.weight", shape_2(out, o->size), bert ? small : START_ZERO, &x->up));
    if (o->bias) {
        TRY(peft_tuned(at, "adapter_down.bias", shape_1(o->size), START_ZERO, &x->down_bias));
        TRY(peft_tuned(at, "adapter_up.bias", shape_1(out), START_ZERO, &x->up_bias));
    }
    if (o->learned)
        TRY(peft_tuned(at, "adapter_scaling", shape_1(1), START_ONE, &x->factor));
    if (place_of(o, at->s) == BEFORE)
        at->hook->output = NULL;
    else
        at->hook->input = NULL;
    *state = x;
    return STATUS_OK;
}

static var *product(tape *t, const bottleneck_state *x, var *from, tuned *weight, tuned *bias)
{
    return ag_linear(t, from, peft_var(t, x->p, weight), bias ? peft_var(t, x->p, bias) : NULL);
}

/* to + u(from) */
static var *add_network(tape *t, const site *s, const bottleneck_state *x, var *from, var *to)
{
    const row_names *rows = &x->p->m->rows;

    if (x->dropout > 0 && rows->samples)
        from = ag_dropout(t, from, rows->samples, rows->positions, x->dropout, s->number);
    var *h = x->act(t, product(t, x, from, x->down, x->down_bias));
    var *u = product(t, x, h, x->up, x->up_bias);
    if (x->factor)
        u = ag_scale_by(t, u, peft_var(t, x->p, x->factor));
    else if (x->scale != 1)
        u = ag_scale(t, u, x->scale);
    return ag_add(t, to, u);
}

static var *bottleneck_input(tape *t, const site *s, void *state, var *x)
{
    return add_network(t, s, state, x, x);
}

static var *bottleneck_output(tape *t, const site *s, void *state, var *x, var *y)
{
    const bottleneck_state *b = state;

    return add_network(t, s, b, b->parallel ? x : y, y);
}

static int64_t bottleneck_count(const site *s, const void *options)
{
    const bottleneck_options *o = options;
    int64_t                   in, out;

    widths(o, s, &in, &out);
    return o->size * (in + out) + o->learned + (o->bias ? o->size + out : 0);
}

static status bottleneck_write_config(const void *options, cJSON *config)
{
    const bottleneck_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "BOTTLENECK");
    cJSON_AddNumberToObject(config, "bottleneck_size", (double)o->size);
    cJSON_AddStringToObject(config, "non_linearity", o->act);
    cJSON_AddNumberToObject(config, "adapter_dropout", o->dropout);
    cJSON_AddBoolToObject(config, "use_parallel_adapter", strcmp(o->place, "parallel") == 0);
    if (o->learned)
        cJSON_AddStringToObject(config, "scaling", "learned");
    else
        cJSON_AddNumberToObject(config, "scaling", o->scale);
    cJSON_AddStringToObject(config, "bias", "none"); /* the trunk's */
    if (o->bias)
        cJSON_AddBoolToObject(config, "adapter_bias", true);
    cJSON_AddStringToObject(config, "init_weights", strcmp(o->init, "bert") == 0 ? "bert" : "mam_adapter");
    return STATUS_OK;
}

static status read_scaling(const cJSON *config, bottleneck_options *o, const char *what)
{
    const cJSON *scaling = cJSON_GetObjectItemCaseSensitive(config, "scaling");

    o->learned = cJSON_IsString(scaling) && strcmp(scaling->valuestring, "learned") == 0;
    return o->learned ? STATUS_OK : json_double(config, "scaling", false, &o->scale, what);
}

static status bottleneck_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    bottleneck_options *o = options;
    const char         *act = "tanh", *bias = "none", *init = "bert";
    activation         *known;
    bool                parallel = false;

    *o = (bottleneck_options){.size = 256, .scale = 1};
    TRY(json_int(config, "bottleneck_size", false, 1, 65536, &o->size, what));
    TRY(json_string(config, "non_linearity", false, &act, what));
    TRY(json_double(config, "adapter_dropout", false, &o->dropout, what));
    TRY(json_bool(config, "use_parallel_adapter", false, &parallel, what));
    TRY(json_string(config, "bias", false, &bias, what));
    TRY(json_bool(config, "adapter_bias", false, &o->bias, what));
    TRY(json_string(config, "init_weights", false, &init, what));
    TRY(read_scaling(config, o, what));
    TRY(activation_find(act, what, &known));
    if (strcmp(bias, "none") != 0)
        return fail(STATUS_UNSUPPORTED, "%s: bias is '%s', must be none", what, bias);
    if (!(o->dropout >= 0 && o->dropout < 1))
        return fail(STATUS_FORMAT, "%s: adapter_dropout is %g, must be 0 or more and below 1", what, o->dropout);
    o->place = parallel ? "parallel" : "series";
    o->init = strcmp(init, "bert") == 0 ? "bert" : "zero";
    o->act = arena_string(a, act, strlen(act));
    return o->act ? STATUS_OK : STATUS_MEMORY;
}

static uint32_t bottleneck_traits(const void *options)
{
    return strcmp(((const bottleneck_options *)options)->init, "zero") == 0 ? PEFT_IDENTITY_AT_START : 0;
}

static const char *bottleneck_default_targets(const char *family)
{
    return strcmp(family, "llama") == 0 ? "[\"gate_proj\", \"up_proj\", \"down_proj\"]" : NULL;
}

const peft_method peft_bottleneck = {
    .name = "bottleneck",
    .sites = SITE_LINEAR | SITE_BLOCK,
    .traits_with = bottleneck_traits,
    .keys = &bottleneck_table,
    .help = "Adapters: a narrow network behind or beside what a site computes (Houlsby et al. 2019).",
    .default_targets = bottleneck_default_targets,
    .attach = bottleneck_attach,
    .input = bottleneck_input,
    .forward = bottleneck_output,
    .count = bottleneck_count,
    .write_config = bottleneck_write_config,
    .read_config = bottleneck_read_config,
};
