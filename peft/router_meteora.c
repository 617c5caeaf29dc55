/* meteora: a gate g [E, in] at each site weighs the k modules that fit a token best: with the logits z = x g^T
 * y' = y + sum_e w_e s_e (x A_e^T) B_e^T, w the softmax of z over its k largest (of equal ones the first), 0
 * elsewhere (Xu et al. 2025, MeteoRA).
 *
 * To the loss is added beta times the mean, over all gates and all tokens but the last of a sequence, of the
 * cross-entropy of z against the number of the sequence's task, which is that of its module. With k = 1 nothing else
 * moves the gates. */
#include "peft/router.h"

#include "core/json.h"

typedef struct meteora_options {
    router_options common;
    int64_t        top_k;
    double         beta, temperature, dropout;
} meteora_options;

#define AT(member) offsetof(meteora_options, member)
static const key meteora_keys[] = {
    {.name = "top_k", .kind = KEY_INT, .offset = AT(top_k), .preset = "2", .lo = 1, .hi = 256, .unit = "modules",
     .help = "Modules that a token goes through at each site."},
    {.name = "beta", .kind = KEY_REAL, .offset = AT(beta), .preset = "50", .lo = 0, .hi = 1e6,
     .help = "Weight of the gates' cross-entropy against the tasks in the loss."},
    {.name = "temperature", .kind = KEY_REAL, .offset = AT(temperature), .preset = "1", .lo = 1e-3, .hi = 1e6,
     .help = "Divides the chosen modules' logits, but while training."},
    {.name = "dropout", .kind = KEY_REAL, .offset = AT(dropout), .preset = "0", .lo = 0, .hi = 0.999, .unit = "share",
     .help = "Share of the modules' inputs set to zero while training; the gates see all."},
};
static const key_table meteora_table = KEY_TABLE("meteora", meteora_keys, meteora_options);

typedef struct meteora_state {
    router_experts         experts;
    const meteora_options *o;
    const module          *own;
    tuned                 *gate;
} meteora_state;

static status meteora_attach(const peft_attach *at, const void *options, void **state)
{
    const meteora_options *o = options;
    meteora_state         *x;

    if (o->top_k > o->common.n)
        return fail(STATUS_USAGE, "router meteora: top_k is %lld, must be 1..%lld, the number of modules",
                    (long long)o->top_k, (long long)o->common.n);
    TRY_TAKE(x, at->p->a, 1);
    *x = (meteora_state){.o = o, .own = &at->p->modules[at->module]};
    TRY(router_experts_at(at, &x->experts));
    at->hook->tasks = (int32_t)o->common.n;
    *state = x;
    return peft_tuned(at, "gate.weight", shape_2(o->common.n, at->s->in), start_linear(at->s->in), &x->gate);
}

static var *meteora_forward(tape *t, const site *s, void *state, var *x, var *y)
{
    meteora_state         *m = state;
    router_experts        *e = &m->experts;
    const meteora_options *o = m->o;
    peft                  *p = e->p;
    const row_names       *rows = &p->m->rows;
    var                   *in = peft_dropout(t, p, s, x, o->dropout), *z;

    if (e->n == 1) /* its weight is 1: the LoRA itself, which may ride along with the site's product */
        y = ag_lora(t, y, in, peft_var(t, p, e->a[0]), peft_var(t, p, e->b[0]), e->scale[0]);
    var *w = ag_top_gate(t, x, peft_var(t, p, m->gate), o->top_k, o->temperature, &z);
    if (p->terms && o->beta > 0)
        peft_add_term(p, ag_gate_loss(t, z, rows->tasks, rows->offsets), o->beta / m->own->n_sites);
    return e->n == 1 ? y : router_mixture(t, e, y, in, w, o->top_k);
}

static int64_t meteora_count(const site *s, const void *options)
{
    return ((const meteora_options *)options)->common.n * s->in;
}

static status meteora_write_config(const void *options, cJSON *config)
{
    const meteora_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "METEORA");
    cJSON_AddNumberToObject(config, "top_k", (double)o->top_k);
    cJSON_AddNumberToObject(config, "beta", o->beta);
    cJSON_AddNumberToObject(config, "temperature", o->temperature);
    cJSON_AddNumberToObject(config, "dropout", o->dropout);
    return STATUS_OK;
}

static status meteora_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    meteora_options *o = options;

    (void)a;
    *o = (meteora_options){.top_k = 2, .beta = 50, .temperature = 1};
    TRY(json_int(config, "top_k", false, 1, 256, &o->top_k, what));
    TRY(json_double(config, "beta", false, &o->beta, what));
    TRY(json_double(config, "temperature", false, &o->temperature, what));
    TRY(json_double(config, "dropout", false, &o->dropout, what));
    if (!(o->temperature > 0) || !(o->beta >= 0) || !(o->dropout >= 0 && o->dropout < 1))
        return fail(STATUS_FORMAT, "%s: temperature is %g, must be above 0; beta %g, at least 0; dropout %g, in 0..1",
                    what, o->temperature, o->beta, o->dropout);
    return STATUS_OK;
}

const peft_method peft_router_meteora = {
    .name = "meteora",
    .sites = SITE_LINEAR,
    .keys = &meteora_table,
    .everywhere = true,
    .help = "A gate at each site sends every token through the modules that fit it best (Xu et al. 2025, MeteoRA).",
    .attach = meteora_attach,
    .forward = meteora_forward,
    .count = meteora_count,
    .write_config = meteora_write_config,
    .read_config = meteora_read_config,
};
