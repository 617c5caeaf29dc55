/* miss: y' = y + B^T S x, B [r, out] trained, (S x)_j the sum of the inputs j, j + r, j + 2 r ..: a low-rank change whose
 * first factor is fixed and only adds (Kang and Yin 2025, MiSS, eq. 5; PEFT's init_weights true and false). */
#include "peft/fields.h"
#include "peft/peft.h"

#include "core/json.h"

typedef struct miss_options {
    int64_t rank;
    double  dropout;
    bool    zero;
} miss_options;

#define AT(member) offsetof(miss_options, member)
static const key miss_keys[] = {
    {.name = "rank", .kind = KEY_INT, .offset = AT(rank), .preset = "64", .lo = 1, .hi = 65536,
     .help = "Rank r: sums that the inputs of a site are brought to; at most its inputs."},
    {.name = "dropout", .kind = KEY_REAL, .offset = AT(dropout), .preset = "0", .lo = 0, .hi = 0.999, .unit = "share",
     .help = "Share of the inputs of the sums set to zero while training."},
    {.name = "init_weights", .kind = KEY_BOOL, .offset = AT(zero), .preset = "yes",
     .help = "Start at zero, without effect; no: like a linear layer's weight."},
};
static const key_table miss_table = KEY_TABLE("miss", miss_keys, miss_options);

typedef struct miss_state {
    peft  *p;
    tuned *block, *sums;
    double dropout;
} miss_state;

/* S [r, in]: ones where the input's number leaves the row's. */
static status make_sums(arena *work, const void *context, const tensor *value)
{
    const int64_t r = value->s.d[0], in = value->s.d[1];
    float        *v = value->v;

    (void)work, (void)context;
    for (int64_t i = 0; i < r * in; i++)
        v[i] = i % in % r == i / in;
    return STATUS_OK;
}

static status miss_attach(const peft_attach *at, const void *options, void **state)
{
    const miss_options *o = options;
    const tuned_start   sums = {.how = INIT_MADE, .make = make_sums, .unsaved = true};
    miss_state         *x;

    if (o->rank > at->s->in)
        return fail(STATUS_SHAPE, "miss: rank is %lld, must be at most %lld, the inputs", (long long)o->rank,
                    (long long)at->s->in);
    TRY_TAKE(x, at->p->a, 1);
    *x = (miss_state){.p = at->p, .dropout = o->dropout};
    *state = x;
    TRY(peft_tuned(at, "miss_block", shape_2(o->rank, at->s->out), o->zero ? START_ZERO : start_linear(at->s->out),
                   &x->block));
    return peft_fixed(at, "miss_sums", shape_2(o->rank, at->s->in), sums, &x->sums);
}

static var *miss_output(tape *t, const site *s, void *state, var *x, var *y)
{
    const miss_state *m = state;

    tape_weight_begin(t);
    var *up = ag_transpose(t, peft_value(t, m->p, m->block));
    tape_weight_end(t);
    var *u = ag_linear(t, peft_dropout(t, m->p, s, x, m->dropout), peft_value(t, m->p, m->sums), NULL);
    return ag_add(t, y, ag_linear(t, u, up, NULL));
}

static uint32_t miss_traits(const void *options)
{
    return PEFT_MERGES | PEFT_FILE | (((const miss_options *)options)->zero ? PEFT_IDENTITY_AT_START : 0);
}

static int64_t miss_count(const site *s, const void *options)
{
    return s->out * ((const miss_options *)options)->rank;
}

static status miss_write_config(const void *options, cJSON *config)
{
    const miss_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "MISS");
    cJSON_AddNumberToObject(config, "r", (double)o->rank);
    cJSON_AddNumberToObject(config, "miss_dropout", o->dropout);
    cJSON_AddBoolToObject(config, "init_weights", o->zero);
    return STATUS_OK;
}

static status miss_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    static const char *const off[] = {"bias", NULL};
    miss_options            *o = options;

    (void)a;
    *o = (miss_options){.rank = 64, .zero = true};
    TRY(fields_refuse(config, off, what));
    TRY(json_int(config, "r", false, 1, 65536, &o->rank, what));
    if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(config, "init_weights")))
        return fail(STATUS_UNSUPPORTED, "%s: init_weights is '%s', another form of the method; must be true or false", what,
                    cJSON_GetObjectItemCaseSensitive(config, "init_weights")->valuestring);
    TRY(json_bool(config, "init_weights", false, &o->zero, what));
    return fields_share(config, "miss_dropout", &o->dropout, what);
}

const peft_method peft_miss = {
    .name = "miss",
    .sites = SITE_LINEAR,
    .traits_with = miss_traits,
    .keys = &miss_table,
    .help = "Adds a trained matrix times sums of the inputs (Kang and Yin 2025).",
    .attach = miss_attach,
    .forward = miss_output,
    .count = miss_count,
    .write_config = miss_write_config,
    .read_config = miss_read_config,
};
