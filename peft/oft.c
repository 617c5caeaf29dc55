/* oft: the input of a site is turned in blocks of h channels, x'_b = x_b R_b, so W' = W R^T with R
 * block-diagonal and orthogonal (Qiu et al. 2023; OFT v2, Qiu et al. 2025). A block's R comes from a skew
 * matrix Q, of which the strict upper triangle is trained: (I - Q)(I + Q)^-1, or with cayley_neumann the
 * first terms of a series, which turns the other way. coft keeps |Q| below eps / sqrt(blocks); like PEFT it
 * takes the shortened Q for the trained one. */
#include "peft/fields.h"
#include "peft/peft.h"

#include "core/json.h"

typedef struct oft_options {
    int64_t rank, block_size, terms;
    double  eps;
    bool    coft, block_share, cayley_neumann;
} oft_options;

#define AT(member) offsetof(oft_options, member)
static const key oft_keys[] = {
    {.name = "block_size", .kind = KEY_INT, .offset = AT(block_size), .preset = "32", .lo = 0, .hi = 65536,
     .unit = "channels",
     .help = "Channels of a block; the nearest divisor of the input is taken. 0: rank says it."},
    {.name = "rank", .kind = KEY_INT, .offset = AT(rank), .preset = "0", .lo = 0, .hi = 65536,
     .unit = "blocks",
     .help = "Number of blocks; the nearest divisor of the input is taken. 0: block_size says it."},
    {.name = "coft", .kind = KEY_BOOL, .offset = AT(coft), .preset = "no",
     .help = "Bound each block's distance from no rotation."},
    {.name = "eps", .kind = KEY_REAL, .offset = AT(eps), .preset = "6e-5", .lo = 1e-12, .hi = 1e6,
     .help = "The bound of coft, divided by the square root of the number of trained blocks."},
    {.name = "block_share", .kind = KEY_BOOL, .offset = AT(block_share), .preset = "no",
     .help = "One rotation for all blocks of a site."},
    {.name = "cayley_neumann", .kind = KEY_BOOL, .offset = AT(cayley_neumann), .preset = "yes",
     .help = "Approximate the rotation by a series instead of an inverse."},
    {.name = "terms", .kind = KEY_INT, .offset = AT(terms), .preset = "5", .lo = 1, .hi = 64,
     .help = "Terms of that series."},
};
static const key_table oft_table = KEY_TABLE("oft", oft_keys, oft_options);

typedef struct oft_state {
    peft   *p;
    tuned  *q;
    int     terms; /* 0: exact */
    double  limit;
    int64_t trained; /* blocks */
} oft_state;

/* PEFT's rule: the divisor of `in` nearest to n, the smaller one of two. */
static int64_t nearest_divisor(int64_t in, int64_t n)
{
    int64_t up = n, down = n;

    if (n >= in)
        return in;
    while (in % up != 0)
        up++;
    while (in % down != 0)
        down--;
    return n - down <= up - n ? down : up;
}

static status plan_site(const oft_options *o, const site *s, int64_t *size, int64_t *trained)
{
    if ((o->rank == 0) == (o->block_size == 0))
        return fail(STATUS_USAGE,
                    "oft: rank is %lld and block_size %lld; one of them must be 0, the other not",
                    (long long)o->rank, (long long)o->block_size);
    *size = o->rank ? s->in / nearest_divisor(s->in, o->rank) : nearest_divisor(s->in, o->block_size);
    *trained = o->block_share ? 1 : s->in / *size;
    return STATUS_OK;
}

static status oft_attach(const peft_attach *at, const void *options, void **state)
{
    const oft_options *o = options;
    oft_state         *x;
    int64_t            size;

    TRY_TAKE(x, at->p->a, 1);
    *x = (oft_state){.p = at->p, .terms = o->cayley_neumann ? (int)o->terms : 0};
    TRY(plan_site(o, at->s, &size, &x->trained));
    x->limit = o->coft ? o->eps / sqrt((double)x->trained) : 0;
    TRY(peft_tuned(at, "oft_R.weight", shape_2(x->trained, size * (size - 1) / 2), START_ZERO, &x->q));
    *state = x;
    return STATUS_OK;
}

static var *oft_input(tape *t, const site *s, void *state, var *x)
{
    const oft_state *o = state;

    (void)s;
    tape_weight_begin(t);
    var *r = ag_cayley(t, peft_var(t, o->p, o->q), o->terms, o->limit);
    tape_weight_end(t);
    return ag_rotate(t, x, r, NULL, 0, o->trained);
}

/* The trained triangles become the shortened ones. */
static status oft_after_step(peft *p, int number, const void *options, const peft_step *s)
{
    const module *m = &p->modules[number];

    (void)options, (void)s;
    for (int k = 0; k < m->n_sites; k++) {
        const oft_state *o = m->hooks[k].state;
        const int64_t    n = o->q->value.s.d[1];
        for (int64_t b = 0; b < o->trained; b++) {
            float *q = (float *)o->q->value.v + b * n;
            double sum = 0;
            for (int64_t i = 0; i < n; i++)
                sum += 2 * (double)q[i] * q[i];
            for (int64_t i = 0; sqrt(sum) > o->limit && i < n; i++)
                q[i] = (float)(q[i] * (o->limit / sqrt(sum)));
        }
    }
    return STATUS_OK;
}

static int64_t oft_count(const site *s, const void *options)
{
    int64_t size, trained;

    return plan_site(options, s, &size, &trained) == STATUS_OK ? trained * (size * (size - 1) / 2) : -1;
}

static status oft_write_config(const void *options, cJSON *config)
{
    const oft_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "OFT");
    cJSON_AddNumberToObject(config, "r", (double)o->rank);
    cJSON_AddNumberToObject(config, "oft_block_size", (double)o->block_size);
    cJSON_AddBoolToObject(config, "fan_in_fan_out", false);
    cJSON_AddBoolToObject(config, "coft", o->coft);
    cJSON_AddNumberToObject(config, "eps", o->eps);
    cJSON_AddBoolToObject(config, "block_share", o->block_share);
    cJSON_AddBoolToObject(config, "use_cayley_neumann", o->cayley_neumann);
    cJSON_AddNumberToObject(config, "num_cayley_neumann_terms", (double)o->terms);
    return STATUS_OK;
}

static status oft_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    static const char *const off[] = {"module_dropout", "bias", NULL};
    oft_options             *o = options;

    (void)a;
    *o = (oft_options){.block_size = 32, .eps = 6e-5, .cayley_neumann = true, .terms = 5};
    TRY(fields_refuse(config, off, what));
    TRY(json_int(config, "r", false, 0, 1 << 30, &o->rank, what));
    TRY(json_int(config, "oft_block_size", false, 0, 1 << 30, &o->block_size, what));
    TRY(json_bool(config, "coft", false, &o->coft, what));
    TRY(json_double(config, "eps", false, &o->eps, what));
    TRY(json_bool(config, "block_share", false, &o->block_share, what));
    TRY(json_bool(config, "use_cayley_neumann", false, &o->cayley_neumann, what));
    return json_int(config, "num_cayley_neumann_terms", false, 1, 64, &o->terms, what);
}

static uint32_t oft_traits(const void *options)
{
    const oft_options *o = options;

    return PEFT_IDENTITY_AT_START | PEFT_MERGES | PEFT_FILE |
           (o->coft ? PEFT_HOLDS_GRADIENT | PEFT_STEPS : 0);
}

const peft_method peft_oft = {
    .name = "oft",
    .sites = SITE_LINEAR,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES | PEFT_FILE,
    .traits_with = oft_traits,
    .keys = &oft_table,
    .help = "Turns blocks of input channels by trained rotations (Qiu et al. 2023).",
    .attach = oft_attach,
    .input = oft_input,
    .after_step = oft_after_step,
    .count = oft_count,
    .write_config = oft_write_config,
    .read_config = oft_read_config,
};
