/* vera: y' = y + b * (B (d * (A x))), A [r, in] and B [out, r] random, frozen and shared by all sites, d [r]
 * and b [out] trained at each (Kopiczko et al. 2024, eq. 2). A and B have the largest sizes of all sites; a
 * smaller site takes their first columns and rows. Both come from torch's generator, as PEFT's do:
 * `projection_key` stands for them where the file leaves them out. */
#include "peft/fields.h"
#include "peft/peft.h"
#include "peft/torch_random.h"

#include "core/json.h"

typedef struct vera_options {
    int64_t rank, projection_key;
    bool    save_projection;
    double  d_initial, dropout;
} vera_options;

#define AT(member) offsetof(vera_options, member)
static const key vera_keys[] = {
    {.name = "rank", .kind = KEY_INT, .offset = AT(rank), .preset = "256", .lo = 1, .hi = 65536,
     .help = "Rank r of the shared projections A [r, in] and B [out, r]."},
    {.name = "d_initial", .kind = KEY_REAL, .offset = AT(d_initial), .preset = "0.1", .lo = -1e6, .hi = 1e6,
     .help = "Start of the r factors between A and B."},
    {.name = "dropout", .kind = KEY_REAL, .offset = AT(dropout), .preset = "0", .lo = 0, .hi = 0.999,
     .unit = "share",
     .help = "Share of the inputs of A set to zero while training."},
    {.name = "projection_key", .kind = KEY_INT, .offset = AT(projection_key), .preset = "0", .lo = 0,
     .hi = 4294967295.0,
     .help = "Seed of A and B."},
    {.name = "save_projection", .kind = KEY_BOOL, .offset = AT(save_projection), .preset = "yes",
     .help = "Write A and B into the adapter's file."},
};
static const key_table vera_table = KEY_TABLE("vera", vera_keys, vera_options);

typedef struct vera_shared {
    tuned      *a, *b;
    torch_start start_a, start_b;
} vera_shared;

typedef struct vera_state {
    peft              *p;
    const vera_shared *all;
    tuned             *d, *b;
    double             dropout;
    var               *low, *high; /* factors of the recording under way */
} vera_state;

static status vera_open(const peft_attach *at, const void *options, const site *const *sites, int n,
                        void **shared)
{
    const vera_options *o = options;
    int64_t             in = 0, out = 0;
    vera_shared        *v;
    tuned_start         start = {.how = INIT_MADE, .make = torch_make, .unsaved = !o->save_projection};

    for (int i = 0; i < n; i++) {
        in = sites[i]->in > in ? sites[i]->in : in;
        out = sites[i]->out > out ? sites[i]->out : out;
    }
    TRY_TAKE(v, at->p->a, 1);
    const uint64_t seed = (uint64_t)o->projection_key;
    *v = (vera_shared){.start_a = {.seed = seed, .bound = sqrt(6.0 / (double)in)},
                       .start_b = {.seed = seed, .skip = o->rank * in, .bound = sqrt(6.0 / (double)o->rank)}};
    start.context = &v->start_a;
    TRY(peft_fixed(at, "vera_A", shape_2(o->rank, in), start, &v->a));
    start.context = &v->start_b;
    TRY(peft_fixed(at, "vera_B", shape_2(out, o->rank), start, &v->b));
    *shared = v;
    return STATUS_OK;
}

static status vera_attach(const peft_attach *at, const void *options, void **state)
{
    const vera_options *o = options;
    const tuned_start   start = {.how = INIT_VALUE, .size = o->d_initial};
    vera_state         *v;

    TRY_TAKE(v, at->p->a, 1);
    *v = (vera_state){.p = at->p, .all = at->shared, .dropout = o->dropout};
    TRY(peft_tuned(at, "vera_lambda_b", shape_1(at->s->out), START_ZERO, &v->b));
    TRY(peft_tuned(at, "vera_lambda_d", shape_1(o->rank), start, &v->d));
    *state = v;
    return STATUS_OK;
}

/* The factors stand before the product, so that it takes them in. */
static var *vera_input(tape *t, const site *s, void *state, var *x)
{
    vera_state   *v = state;
    const int64_t rank = v->d->value.s.d[0];

    tape_weight_begin(t);
    v->low = ag_cut(t, peft_var(t, v->p, v->all->a), peft_var(t, v->p, v->d), rank, s->in);
    v->high = ag_cut(t, peft_var(t, v->p, v->all->b), peft_var(t, v->p, v->b), s->out, rank);
    tape_weight_end(t);
    return x;
}

static var *vera_output(tape *t, const site *s, void *state, var *x, var *y)
{
    const vera_state *v = state;

    return ag_lora(t, y, peft_dropout(t, v->p, s, x, v->dropout), v->low, v->high, 1);
}

static int64_t vera_count(const site *s, const void *options)
{
    return s->out + ((const vera_options *)options)->rank;
}

static status vera_write_config(const void *options, cJSON *config)
{
    const vera_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "VERA");
    cJSON_AddNumberToObject(config, "r", (double)o->rank);
    cJSON_AddNumberToObject(config, "projection_prng_key", (double)o->projection_key);
    cJSON_AddBoolToObject(config, "save_projection", o->save_projection);
    cJSON_AddBoolToObject(config, "fan_in_fan_out", false);
    cJSON_AddNumberToObject(config, "d_initial", o->d_initial);
    cJSON_AddNumberToObject(config, "vera_dropout", o->dropout);
    return STATUS_OK;
}

static status vera_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    static const char *const off[] = {"bias", NULL};
    vera_options            *o = options;

    (void)a;
    *o = (vera_options){.rank = 256, .save_projection = true, .d_initial = 0.1};
    TRY(fields_refuse(config, off, what));
    TRY(json_int(config, "r", false, 1, 65536, &o->rank, what));
    TRY(json_int(config, "projection_prng_key", false, 0, UINT32_MAX, &o->projection_key, what));
    TRY(json_bool(config, "save_projection", false, &o->save_projection, what));
    TRY(json_double(config, "d_initial", false, &o->d_initial, what));
    return fields_share(config, "vera_dropout", &o->dropout, what);
}

const peft_method peft_vera = {
    .name = "vera",
    .sites = SITE_LINEAR,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES | PEFT_FILE,
    .keys = &vera_table,
    .help = "Vectors that scale two random projections, which all sites share (Kopiczko et al. 2024).",
    .open = vera_open,
    .attach = vera_attach,
    .input = vera_input,
    .forward = vera_output,
    .count = vera_count,
    .write_config = vera_write_config,
    .read_config = vera_read_config,
};
