/* shira: W' = W + S, S sparse with trained values at r (in + out) fixed places, which are drawn at random and
 * stored beside the values (Bhardwaj et al. 2024). S x is added to the output: the cost grows with the number
 * of values. With `seed` the places are those that PEFT draws with its random_seed; without one each site
 * draws from the run's. */
#include "peft/fields.h"
#include "peft/peft.h"
#include "peft/torch_random.h"

#include "core/json.h"
#include "core/rng.h"

#include <stdio.h>

typedef struct shira_options {
    int64_t rank, seed; /* seed -1: the run's */
} shira_options;

#define AT(member) offsetof(shira_options, member)
static const key shira_keys[] = {
    {.name = "rank", .kind = KEY_INT, .offset = AT(rank), .preset = "32", .lo = 1, .hi = 65536,
     .help = "A site has rank * (in + out) values, as many as a LoRA of that rank."},
    {.name = "seed", .kind = KEY_INT, .offset = AT(seed), .preset = "-1", .lo = -1, .hi = 4294967295.0,
     .help = "Of the places, the same for all sites of a shape; -1: the run's seed, each site its own."},
};
static const key_table shira_table = KEY_TABLE("shira", shira_keys, shira_options);

typedef struct shira_state {
    peft        *p;
    tuned       *v, *places;
    torch_places start;
} shira_state;

static uint64_t seed_of(const peft_attach *at, const shira_options *o)
{
    char purpose[600];

    if (o->seed >= 0)
        return (uint64_t)o->seed;
    snprintf(purpose, sizeof purpose, "places:%s:%s", at->p->modules[at->module].name, at->s->checkpoint);
    return rng_key_for(at->p->seed, purpose).k[0];
}

static status shira_attach(const peft_attach *at, const void *options, void **state)
{
    const shira_options *o = options;
    const int64_t        in = at->s->in, out = at->s->out, n = o->rank * (in + out);
    shira_state         *x;

    if (n > in * out)
        return fail(STATUS_SHAPE, "shira: rank %lld needs %lld values, the weight has %lld",
                    (long long)o->rank, (long long)n, (long long)(in * out));
    TRY_TAKE(x, at->p->a, 1);
    *x = (shira_state){.p = at->p, .start = {.seed = seed_of(at, o), .rows = out, .columns = in}};
    TRY(peft_tuned(at, "shira_weight", shape_1(n), START_ZERO, &x->v));
    const tuned_start start = {.how = INIT_MADE, .context = &x->start, .make = torch_make_places};
    TRY(peft_places(at, "shira_indices", n, out, in, start, &x->places));
    *state = x;
    return STATUS_OK;
}

static var *shira_output(tape *t, const site *s, void *state, var *x, var *y)
{
    const shira_state *h = state;

    (void)s;
    return ag_sparse(t, y, x, peft_var(t, h->p, h->v), peft_var(t, h->p, h->places));
}

static int64_t shira_count(const site *s, const void *options)
{
    return ((const shira_options *)options)->rank * (s->in + s->out);
}

static status shira_write_config(const void *options, cJSON *config)
{
    const shira_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "SHIRA");
    cJSON_AddNumberToObject(config, "r", (double)o->rank);
    cJSON_AddBoolToObject(config, "fan_in_fan_out", false);
    cJSON_AddStringToObject(config, "mask_type", "random");
    if (o->seed >= 0)
        cJSON_AddNumberToObject(config, "random_seed", (double)o->seed);
    else
        cJSON_AddNullToObject(config, "random_seed");
    return STATUS_OK;
}

static status shira_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    shira_options *o = options;

    (void)a;
    *o = (shira_options){.rank = 32, .seed = -1};
    TRY(json_int(config, "r", false, 1, 65536, &o->rank, what));
    return json_int(config, "random_seed", false, 0, UINT32_MAX, &o->seed, what);
}

const peft_method peft_shira = {
    .name = "shira",
    .sites = SITE_LINEAR,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES | PEFT_FILE,
    .keys = &shira_table,
    .help = "Trains a few values of a weight, at fixed random places (Bhardwaj et al. 2024).",
    .attach = shira_attach,
    .forward = shira_output,
    .count = shira_count,
    .write_config = shira_write_config,
    .read_config = shira_read_config,
};
