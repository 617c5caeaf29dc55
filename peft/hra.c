/* hra: W' = W H_1 ... H_r, H_i = I - 2 u_i u_i^T / |u_i|^2, u [in, r] (Yuan et al. 2024, eq. 3); with
 * gram_schmidt the u are made orthonormal first. W stays as it is: the reflections turn the input, as one
 * low-rank change.
 *
 * An even number of reflections starts with pairs that undo each other, but for roundings. With gram_schmidt
 * such pairs have no second direction, so there all start apart. */
#include "peft/fields.h"
#include "peft/peft.h"

#include "core/json.h"
#include "core/rng.h"

typedef struct hra_options {
    int64_t rank;
    bool    gram_schmidt;
} hra_options;

#define AT(member) offsetof(hra_options, member)
static const key hra_keys[] = {
    {.name = "rank", .kind = KEY_INT, .offset = AT(rank), .preset = "8", .lo = 1, .hi = 65536,
     .unit = "reflections", .help = "Number r of reflections at a site; an even one starts without effect."},
    {.name = "gram_schmidt", .kind = KEY_BOOL, .offset = AT(gram_schmidt), .preset = "no",
     .help = "Make the directions orthogonal."},
};
static const key_table hra_table = KEY_TABLE("hra", hra_keys, hra_options);

typedef struct hra_state {
    peft  *p;
    tuned *u;
    bool   gram_schmidt;
    char  *purpose; /* of the start's numbers */
} hra_state;

/* Pairs of equal columns, uniform like a linear layer's weight [in, r / 2]. */
static status start_pairs(arena *work, const void *context, const tensor *value)
{
    const hra_state *h = context;
    const int64_t    in = value->s.d[0], half = value->s.d[1] / 2;
    const size_t     mark = arena_mark(work);
    const float      size = (float)(1 / sqrt((double)half));
    float           *v = value->v, *u;

    TRY_TAKE(u, work, in * half);
    rng_fill_uniform(rng_key_for(h->p->seed, h->purpose), 0, -size, size, u, in * half);
    for (int64_t i = 0; i < 2 * in * half; i++)
        v[i] = u[i / 2];
    arena_rewind(work, mark);
    return STATUS_OK;
}

static status hra_attach(const peft_attach *at, const void *options, void **state)
{
    const hra_options *o = options;
    const int64_t      in = at->s->in;
    hra_state         *h;

    TRY_TAKE(h, at->p->a, 1);
    *h = (hra_state){.p = at->p, .gram_schmidt = o->gram_schmidt};
    h->purpose = arena_printf(at->p->a, "init:%s:%s.hra_u", at->p->modules[at->module].name,
                              at->s->checkpoint);
    if (!h->purpose)
        return STATUS_MEMORY;
    if (o->gram_schmidt && o->rank > in)
        return fail(STATUS_SHAPE, "hra: rank is %lld, must be 1..%lld with gram_schmidt", (long long)o->rank,
                    (long long)in);
    const bool        pairs = o->rank % 2 == 0 && !o->gram_schmidt;
    const tuned_start start = {.how = INIT_MADE, .context = h, .make = start_pairs};
    TRY(peft_tuned(at, "hra_u", shape_2(in, o->rank), pairs ? start : start_linear(o->rank), &h->u));
    *state = h;
    return STATUS_OK;
}

static var *hra_input(tape *t, const site *s, void *state, var *x)
{
    const hra_state *h = state;
    var             *b;

    (void)s;
    tape_weight_begin(t);
    var *a = ag_householder(t, peft_var(t, h->p, h->u), h->gram_schmidt, &b);
    tape_weight_end(t);
    return ag_lora(t, x, x, a, b, 1);
}

static int64_t hra_count(const site *s, const void *options)
{
    return s->in * ((const hra_options *)options)->rank;
}

static status hra_write_config(const void *options, cJSON *config)
{
    const hra_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "HRA");
    cJSON_AddNumberToObject(config, "r", (double)o->rank);
    cJSON_AddBoolToObject(config, "apply_GS", o->gram_schmidt);
    return STATUS_OK;
}

static status hra_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    static const char *const off[] = {"bias", NULL};
    hra_options             *o = options;

    (void)a;
    *o = (hra_options){.rank = 8};
    TRY(fields_refuse(config, off, what));
    TRY(json_int(config, "r", false, 1, 65536, &o->rank, what));
    return json_bool(config, "apply_GS", false, &o->gram_schmidt, what);
}

const peft_method peft_hra = {
    .name = "hra",
    .sites = SITE_LINEAR,
    .traits = PEFT_MERGES | PEFT_FILE,
    .keys = &hra_table,
    .help = "Multiplies a weight by a chain of trained Householder reflections (Yuan et al. 2024).",
    .attach = hra_attach,
    .input = hra_input,
    .count = hra_count,
    .write_config = hra_write_config,
    .read_config = hra_read_config,
};
