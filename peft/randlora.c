/* randlora: W' = W + alpha / r B A', a change of full rank from n = min(in, out) / r random products of rank
 * r (Albert et al. 2025). With low = min(in, out) and high = max(in, out):
 *
 *     A' [r n, low] with rows (k, b): lambda[k,b] * A[k, :low] * gamma[b, :low],
 *     B  [high, n r] with columns (b, k): the first rows and products of a random one;
 *
 * rows and columns pair by their flat number, whatever they mean, as in PEFT. A [r, 1, largest low] and B
 * [largest high, largest n, r] are frozen, shared by all sites, and from torch's generator; lambda [r, n] and
 * gamma [n, low] are trained at each. Where out is the smaller side the change is turned over. */
#include "peft/fields.h"
#include "peft/peft.h"
#include "peft/torch_random.h"

#include "core/json.h"

typedef struct rand_options {
    int64_t rank, projection_key;
    double  alpha;
    bool    save_projection;
} rand_options;

#define AT(member) offsetof(rand_options, member)
static const key rand_keys[] = {
    {.name = "rank", .kind = KEY_INT, .offset = AT(rank), .preset = "32", .lo = 1, .hi = 65536,
     .help = "Rank r of each random product; smaller ones train more values."},
    {.name = "alpha", .kind = KEY_REAL, .offset = AT(alpha), .preset = "640", .lo = 1e-6, .hi = 1e6,
     .help = "The change of the weight is scaled by alpha / rank."},
    {.name = "projection_key", .kind = KEY_INT, .offset = AT(projection_key), .preset = "0", .lo = 0,
     .hi = 4294967295.0,
     .help = "Seed of the random matrices."},
    {.name = "save_projection", .kind = KEY_BOOL, .offset = AT(save_projection), .preset = "yes",
     .help = "Write the random matrices into the adapter's file."},
};
static const key_table rand_table = KEY_TABLE("randlora", rand_keys, rand_options);

typedef struct rand_shared {
    tuned      *a, *b;
    torch_start start_a;
    tensor      flat_a, flat_b; /* as matrices [r, low] and [high, n r] */
    int64_t     rank, bases, seed;
} rand_shared;

typedef struct rand_state {
    peft        *p;
    rand_shared *all;
    tuned       *lambda, *gamma;
    double       scale;
} rand_state;

static int64_t low_of(const site *s)
{
    return s->in < s->out ? s->in : s->out;
}

static int64_t high_of(const site *s)
{
    return s->in > s->out ? s->in : s->out;
}

static int64_t bases_of(int64_t low, int64_t rank)
{
    return (low + rank - 1) / rank;
}

/* B [high, n, r] is drawn basis by basis, each [high, 1, r], behind A. */
static status make_b(arena *work, const void *context, const tensor *value)
{
    const rand_shared *s = context;
    const int64_t      high = value->s.d[0], n = value->s.d[1], r = value->s.d[2];
    const size_t       mark = arena_mark(work);
    float             *v = value->v, *one;
    torch_start        start = {.seed = (uint64_t)s->seed, .skip = shape_count(s->a->value.s),
                                .bound = 1 / sqrt((double)r)};

    TRY_TAKE(one, work, high * n * r);
    const tensor drawn = {.s = value->s, .type = TYPE_F32, .v = one};
    start.bf16_normalised = true; /* the order of values does not matter for their deviation */
    TRY(torch_make(work, &start, &drawn));
    for (int64_t b = 0; b < n; b++)
        for (int64_t h = 0; h < high; h++)
            for (int64_t k = 0; k < r; k++)
                v[(h * n + b) * r + k] = one[(b * high + h) * r + k];
    arena_rewind(work, mark);
    return STATUS_OK;
}

static status rand_open(const peft_attach *at, const void *options, const site *const *sites, int n,
                        void **shared)
{
    const rand_options *o = options;
    int64_t             in = 0, out = 0;
    rand_shared        *r;
    tuned_start         start = {.how = INIT_MADE, .make = torch_make, .unsaved = !o->save_projection};

    for (int i = 0; i < n; i++) {
        in = sites[i]->in > in ? sites[i]->in : in;
        out = sites[i]->out > out ? sites[i]->out : out;
    }
    const int64_t low = in < out ? in : out, high = in < out ? out : in;
    TRY_TAKE(r, at->p->a, 1);
    *r = (rand_shared){.rank = o->rank, .bases = bases_of(low, o->rank), .seed = o->projection_key};
    r->start_a = (torch_start){.seed = (uint64_t)o->projection_key, .bound = 1 / sqrt((double)low),
                               .bf16_normalised = true};
    start.context = &r->start_a;
    TRY(peft_fixed(at, "randlora_A", shape_3(o->rank, 1, low), start, &r->a));
    start.context = r;
    start.make = make_b;
    TRY(peft_fixed(at, "randlora_B", shape_3(high, r->bases, o->rank), start, &r->b));
    *shared = r;
    return STATUS_OK;
}

static status rand_attach(const peft_attach *at, const void *options, void **state)
{
    const rand_options *o = options;
    const int64_t       low = low_of(at->s), n = bases_of(low, o->rank);
    const tuned_start   gamma = {.how = INIT_VALUE, .size = 1 / (double)(n > low ? n : low)};
    rand_state         *r;

    TRY_TAKE(r, at->p->a, 1);
    *r = (rand_state){.p = at->p, .all = at->shared, .scale = o->alpha / (double)o->rank};
    TRY(peft_tuned(at, "randlora_lambda", shape_2(o->rank, n), START_ZERO, &r->lambda));
    TRY(peft_tuned(at, "randlora_gamma", shape_2(n, low), gamma, &r->gamma));
    *state = r;
    return STATUS_OK;
}

/* Views of the shared ones whose values are where they are by now. */
static void view_shared(rand_shared *s)
{
    const int64_t low = s->a->value.s.d[2], high = s->b->value.s.d[0];

    s->flat_a = s->a->value;
    s->flat_a.s = shape_2(s->rank, low);
    s->flat_b = s->b->value;
    s->flat_b.s = shape_2(high, s->bases * s->rank);
}

static var *rand_weight(tape *t, const site *s, void *state, var *w)
{
    const rand_state *r = state;
    rand_shared      *all = r->all;
    const int64_t     low = low_of(s), high = high_of(s), n = r->gamma->value.s.d[0];

    view_shared(all);
    var *a = ag_cut(t, tape_tensor(t, &all->flat_a), NULL, all->rank, low);
    var *b = ag_expand(t, ag_cut(t, tape_tensor(t, &all->flat_b), NULL, high, n * all->rank));
    var *small = ag_affine(t, ag_khatri_rao(t, a, peft_var(t, r->p, r->gamma)), peft_var(t, r->p, r->lambda),
                           NULL);
    var *change = s->in <= s->out ? ag_linear(t, b, small, NULL) : ag_linear(t, small, b, NULL);
    return ag_add(t, w, ag_scale(t, change, r->scale));
}

static int64_t rand_count(const site *s, const void *options)
{
    const rand_options *o = options;
    const int64_t       low = low_of(s);

    return bases_of(low, o->rank) * (o->rank + low);
}

static status rand_write_config(const void *options, cJSON *config)
{
    const rand_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "RANDLORA");
    cJSON_AddNumberToObject(config, "r", (double)o->rank);
    cJSON_AddBoolToObject(config, "fan_in_fan_out", false);
    cJSON_AddNumberToObject(config, "randlora_alpha", o->alpha);
    cJSON_AddNumberToObject(config, "projection_prng_key", (double)o->projection_key);
    cJSON_AddBoolToObject(config, "save_projection", o->save_projection);
    return STATUS_OK;
}

static status rand_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    static const char *const off[] = {"bias", "randlora_dropout", NULL};
    rand_options            *o = options;
    bool                     sparse = false, very = false;

    (void)a;
    *o = (rand_options){.rank = 32, .alpha = 640, .save_projection = true};
    TRY(fields_refuse(config, off, what));
    TRY(json_int(config, "r", false, 1, 65536, &o->rank, what));
    TRY(json_double(config, "randlora_alpha", false, &o->alpha, what));
    TRY(json_int(config, "projection_prng_key", false, 0, UINT32_MAX, &o->projection_key, what));
    TRY(json_bool(config, "save_projection", false, &o->save_projection, what));
    TRY(json_bool(config, "sparse", false, &sparse, what));
    TRY(json_bool(config, "very_sparse", false, &very, what));
    if ((sparse || very) && !o->save_projection)
        return fail(STATUS_UNSUPPORTED, "%s: sparse random matrices that are not saved cannot be made again",
                    what);
    return STATUS_OK;
}

const peft_method peft_randlora = {
    .name = "randlora",
    .sites = SITE_LINEAR,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES | PEFT_FILE,
    .keys = &rand_table,
    .help = "Scales random low-rank products whose sum has full rank (Albert et al. 2025).",
    .open = rand_open,
    .attach = rand_attach,
    .weight = rand_weight,
    .count = rand_count,
    .write_config = rand_write_config,
    .read_config = rand_read_config,
};
