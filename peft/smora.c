/* smora: y' = y + alpha / k B (g * (A x)), A [r, in], B [out, r]: a low-rank product whose ranks are experts, k of r
 * for each token (Zhao et al. 2026). s = sigmoid(R x), R [r / p, in], each for p ranks that follow one another; chosen
 * are the k largest s + b, and their gates g sum to k. b [r] keeps them in balance: it is no parameter, starts at zero,
 * and goes by `balance_rate` down where a rank was chosen more often than the mean, up where less, once a step by all
 * tokens of the step, or once a micro-batch by those of it: then the next micro-batch's forward begins with the move,
 * and the last one's waits for the step's end. Evaluation and what is computed again neither count nor move.
 *
 * Which ranks work depends on the token: there is no weight that says the same. */
#include "peft/fields.h"
#include "peft/peft.h"

#include "autograd/ops/route.h"
#include "core/device.h"
#include "core/json.h"

#include <string.h>

typedef struct smora_options {
    int64_t     rank, active, partition;
    double      alpha, dropout, rate;
    const char *per;
    bool        in_weight;
} smora_options;

#define AT(member) offsetof(smora_options, member)
static const key smora_keys[] = {
    {.name = "rank", .kind = KEY_INT, .offset = AT(rank), .preset = "64", .lo = 1, .hi = 65536,
     .help = "Rank r: the number of experts of one rank at each site."},
    {.name = "active", .kind = KEY_INT, .offset = AT(active), .preset = "8", .lo = 1, .hi = 65536,
     .help = "Ranks k that work for a token."},
    {.name = "partition", .kind = KEY_INT, .offset = AT(partition), .preset = "1", .lo = 1, .hi = 65536,
     .help = "Ranks that share a score; divides rank and active."},
    {.name = "alpha", .kind = KEY_REAL, .offset = AT(alpha), .preset = "16", .lo = 1e-6, .hi = 1e6,
     .help = "The product is scaled by alpha / active."},
    {.name = "dropout", .kind = KEY_REAL, .offset = AT(dropout), .preset = "0", .lo = 0, .hi = 0.999, .unit = "share",
     .help = "Share of the inputs of A and of the router set to zero while training."},
    {.name = "balance_rate", .kind = KEY_REAL, .offset = AT(rate), .preset = "1e-5", .lo = 0, .hi = 1e3,
     .help = "Way of a rank's bias in a move towards equal use; 0: none moves."},
    {.name = "balance_per", .kind = KEY_CHOICE, .offset = AT(per), .preset = "step", .choices = "step|micro_batch",
     .help = "Biases move after each step, or after each micro-batch of it."},
    {.name = "bias_in_weight", .kind = KEY_BOOL, .offset = AT(in_weight), .preset = "yes",
     .help = "The biases have a part in the gates, not in the choice alone."},
};
static const key_table smora_table = KEY_TABLE("smora", smora_keys, smora_options);

typedef struct smora_state {
    peft                *p;
    const smora_options *o;
    bool                 trains;
    tuned               *a, *b, *router, *bias;
    tuned               *counts; /* how often each rank was chosen since the last move; NULL: it does not train */
} smora_state;

static bool each_batch(const smora_options *o)
{
    return strcmp(o->per, "micro_batch") == 0;
}

static status smora_open(const peft_attach *at, const void *options, const site *const *sites, int n, void **shared)
{
    const smora_options *o = options;

    (void)at, (void)sites, (void)n, (void)shared;
    if (o->active > o->rank)
        return fail(STATUS_USAGE, "smora: active is %lld, must be 1..%lld, the rank", (long long)o->active,
                    (long long)o->rank);
    if (o->rank % o->partition != 0 || o->active % o->partition != 0)
        return fail(STATUS_USAGE, "smora: partition is %lld, must divide rank %lld and active %lld",
                    (long long)o->partition, (long long)o->rank, (long long)o->active);
    return STATUS_OK;
}

static status smora_attach(const peft_attach *at, const void *options, void **state)
{
    const smora_options *o = options;
    const tuned_start    unsaved = {.how = INIT_VALUE, .unsaved = true}; /* zero at every step's end */
    const tuned_start    like_linear = start_linear(at->s->in);
    smora_state         *x;

    TRY_TAKE(x, at->p->a, 1);
    *x = (smora_state){.p = at->p, .o = o, .trains = at->p->modules[at->module].trains};
    TRY(peft_tuned(at, "lora_A", shape_2(o->rank, at->s->in), like_linear, &x->a));
    TRY(peft_tuned(at, "lora_B", shape_2(at->s->out, o->rank), START_ZERO, &x->b));
    TRY(peft_tuned(at, "router", shape_2(o->rank / o->partition, at->s->in), like_linear, &x->router));
    TRY(peft_fixed(at, "balance_bias", shape_1(o->rank), START_ZERO, &x->bias));
    if (x->trains)
        TRY(peft_fixed(at, "balance_counts", shape_1(o->rank), unsaved, &x->counts));
    *state = x;
    return STATUS_OK;
}

static var *smora_output(tape *t, const site *s, void *state, var *x, var *y)
{
    const smora_state   *m = state;
    const smora_options *o = m->o;
    var                 *bias = peft_var(t, m->p, m->bias);
    var                 *counts = m->trains ? peft_var(t, m->p, m->counts) : NULL, *chosen;

    if (m->trains && each_batch(o)) /* route reads `bias` itself: computed again, it finds it as it is */
        ag_balance(t, bias, counts, o->rate);
    x = peft_dropout(t, m->p, s, x, o->dropout);
    var *z = ag_scores(t, x, peft_var(t, m->p, m->router));
    var *gates = ag_route(t, z, bias, o->active, o->in_weight, &chosen);
    if (m->trains)
        ag_tally(t, counts, chosen, each_batch(o));
    return ag_lora_routed(t, y, x, peft_var(t, m->p, m->a), peft_var(t, m->p, m->b), gates, chosen,
                          o->alpha / (double)o->active, ROUTED_AUTO);
}

/* The choice is no function with a derivative, unless all are chosen. */
static uint32_t smora_traits(const void *options)
{
    const smora_options *o = options;

    return PEFT_IDENTITY_AT_START | PEFT_STEPS | (o->active < o->rank ? PEFT_HOLDS_GRADIENT : 0);
}

static int64_t smora_count(const site *s, const void *options)
{
    const smora_options *o = options;

    return o->rank * (s->in + s->out) + o->rank / o->partition * s->in;
}

/* ---- balance ------------------------------------------------------------------------------------------- */

/* Biases and counts of all sites, which lie one behind another, come here from a device. */
static void pull(const module *m)
{
    const smora_state *first = m->hooks[0].state, *last = m->hooks[m->n_sites - 1].state;
    float *const       from = first->bias->value.v, *const to = (float *)last->counts->value.v + last->o->rank;
    tensor             all = {.s = shape_1(to - from), .type = TYPE_F32, .v = from};
    dtype              type;

    if (device_current() && device_find(device_current(), from, &type))
        device_pull(device_current(), &all);
}

/* As ag_balance does, and nothing is left to be moved by. */
static void move(const smora_state *x)
{
    const int64_t r = x->o->rank;
    float        *bias = x->bias->value.v, *counts = x->counts->value.v;
    double        total = 0;

    for (int64_t i = 0; i < r; i++)
        total += (double)counts[i];
    for (int64_t i = 0; i < r; i++)
        bias[i] += (float)x->o->rate * (float)balance_way(total, (double)r, (double)counts[i]);
    memset(counts, 0, (size_t)r * sizeof *counts);
}

static status smora_after_step(peft *p, int number, const void *options, const peft_step *s)
{
    const module *m = &p->modules[number];

    (void)options, (void)s;
    pull(m);
    for (int k = 0; k < m->n_sites; k++)
        move(m->hooks[k].state);
    return STATUS_OK;
}

/* ---- files --------------------------------------------------------------------------------------------- */

static status smora_write_config(const void *options, cJSON *config)
{
    const smora_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "SMORA");
    cJSON_AddNumberToObject(config, "r", (double)o->rank);
    cJSON_AddNumberToObject(config, "activate_r", (double)o->active);
    cJSON_AddNumberToObject(config, "rank_partition", (double)o->partition);
    cJSON_AddNumberToObject(config, "lora_alpha", o->alpha);
    cJSON_AddNumberToObject(config, "lora_dropout", o->dropout);
    cJSON_AddNumberToObject(config, "balance_rate", o->rate);
    cJSON_AddStringToObject(config, "balance_per", o->per);
    cJSON_AddBoolToObject(config, "bias_in_weight", o->in_weight);
    return STATUS_OK;
}

static status smora_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    smora_options *o = options;
    const char    *per = "step";

    (void)a;
    *o = (smora_options){.rank = 64, .active = 8, .partition = 1, .alpha = 16, .rate = 1e-5, .in_weight = true};
    TRY(json_int(config, "r", false, 1, 65536, &o->rank, what));
    TRY(json_int(config, "activate_r", false, 1, 65536, &o->active, what));
    TRY(json_int(config, "rank_partition", false, 1, 65536, &o->partition, what));
    TRY(json_double(config, "lora_alpha", false, &o->alpha, what));
    TRY(json_double(config, "balance_rate", false, &o->rate, what));
    TRY(json_string(config, "balance_per", false, &per, what));
    TRY(json_bool(config, "bias_in_weight", false, &o->in_weight, what));
    if (strcmp(per, "step") != 0 && strcmp(per, "micro_batch") != 0)
        return fail(STATUS_FORMAT, "%s: balance_per is '%s', must be step or micro_batch", what, per);
    o->per = strcmp(per, "step") == 0 ? "step" : "micro_batch";
    if (!(o->rate >= 0))
        return fail(STATUS_FORMAT, "%s: balance_rate is %g, must be 0 or more", what, o->rate);
    return fields_share(config, "lora_dropout", &o->dropout, what);
}

const peft_method peft_smora = {
    .name = "smora",
    .sites = SITE_LINEAR,
    .traits_with = smora_traits,
    .keys = &smora_table,
    .help = "A low-rank product whose ranks are experts, of which a few work for each token (Zhao et al. 2026).",
    .open = smora_open,
    .attach = smora_attach,
    .forward = smora_output,
    .after_step = smora_after_step,
    .count = smora_count,
    .write_config = smora_write_config,
    .read_config = smora_read_config,
};
