/* loha: W' = W + alpha / r (w1_a w1_b) * (w2_a w2_b), the two products multiplied value by value; w1_a, w2_a
 * [out, r], w1_b, w2_b [r, in] (Hyeon-Woo et al. 2022, FedPara, eq. 1; Yeh et al. 2024). w2_a starts at zero, w1_a
 * with deviation 0.1, the others with 1, as PEFT's do. */
#include "peft/patterns.h"
#include "peft/peft.h"

#include "core/json.h"

typedef struct loha_options {
    int64_t rank;
    double  alpha;
    key_map rank_pattern, alpha_pattern;
} loha_options;

#define AT(member) offsetof(loha_options, member)
static const key loha_keys[] = {
    {.name = "rank", .kind = KEY_INT, .offset = AT(rank), .preset = "8", .lo = 1, .hi = 65536,
     .help = "Rank r of each of the two products."},
    {.name = "alpha", .kind = KEY_REAL, .offset = AT(alpha), .preset = "8", .lo = 1e-6, .hi = 1e6,
     .help = "The change of the weight is scaled by alpha / rank."},
    {.name = "rank_pattern", .kind = KEY_MAP, .offset = AT(rank_pattern), .lo = 1, .hi = 65536, .whole = true,
     .help = "Other ranks for sites whose checkpoint name ends with the pattern."},
    {.name = "alpha_pattern", .kind = KEY_MAP, .offset = AT(alpha_pattern), .lo = 1e-6, .hi = 1e6,
     .help = "Other alphas for sites whose checkpoint name ends with the pattern."},
};
static const key_table loha_table = KEY_TABLE("loha", loha_keys, loha_options);

typedef struct loha_state {
    peft  *p;
    tuned *a[2], *b[2];
    double scale;
} loha_state;

static status rank_and_scale(const loha_options *o, const site *s, int64_t *rank, double *scale)
{
    double r = (double)o->rank, alpha = o->alpha;

    TRY(pattern_value(&o->rank_pattern, s->checkpoint, &r));
    TRY(pattern_value(&o->alpha_pattern, s->checkpoint, &alpha));
    *rank = (int64_t)r;
    *scale = alpha / r;
    return STATUS_OK;
}

static status loha_attach(const peft_attach *at, const void *options, void **state)
{
    const tuned_start small = {.how = INIT_NORMAL, .size = 0.1}, one = {.how = INIT_NORMAL, .size = 1};
    const int64_t     in = at->s->in, out = at->s->out;
    loha_state       *l;
    int64_t           rank;

    TRY_TAKE(l, at->p->a, 1);
    l->p = at->p;
    TRY(rank_and_scale(options, at->s, &rank, &l->scale));
    TRY(peft_tuned(at, "hada_w1_a", shape_2(out, rank), small, &l->a[0]));
    TRY(peft_tuned(at, "hada_w1_b", shape_2(rank, in), one, &l->b[0]));
    TRY(peft_tuned(at, "hada_w2_a", shape_2(out, rank), START_ZERO, &l->a[1]));
    TRY(peft_tuned(at, "hada_w2_b", shape_2(rank, in), one, &l->b[1]));
    *state = l;
    return STATUS_OK;
}

static var *loha_weight(tape *t, const site *s, void *state, var *w)
{
    const loha_state *l = state;
    var              *product[2];

    (void)s;
    for (int i = 0; i < 2; i++)
        product[i] = ag_linear(t, peft_value(t, l->p, l->a[i]), ag_transpose(t, peft_value(t, l->p, l->b[i])), NULL);
    return ag_add(t, w, ag_scale(t, ag_mul(t, product[0], product[1]), l->scale));
}

static int64_t loha_count(const site *s, const void *options)
{
    int64_t rank;
    double  scale;

    return rank_and_scale(options, s, &rank, &scale) == STATUS_OK ? 2 * rank * (s->in + s->out) : -1;
}

static status loha_write_config(const void *options, cJSON *config)
{
    const loha_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "LOHA");
    cJSON_AddNumberToObject(config, "r", (double)o->rank);
    cJSON_AddNumberToObject(config, "alpha", o->alpha);
    pattern_write(config, "rank_pattern", &o->rank_pattern);
    pattern_write(config, "alpha_pattern", &o->alpha_pattern);
    return STATUS_OK;
}

static status loha_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    loha_options *o = options;

    *o = (loha_options){.rank = 8, .alpha = 8};
    TRY(json_int(config, "r", false, 1, 65536, &o->rank, what));
    TRY(json_double(config, "alpha", false, &o->alpha, what));
    TRY(pattern_read(config, "rank_pattern", a, &o->rank_pattern, what));
    return pattern_read(config, "alpha_pattern", a, &o->alpha_pattern, what);
}

const peft_method peft_loha = {
    .name = "loha",
    .sites = SITE_LINEAR,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES | PEFT_FILE,
    .keys = &loha_table,
    .help = "The change of a weight is the elementwise product of two low-rank ones (Hyeon-Woo et al. 2022).",
    .attach = loha_attach,
    .weight = loha_weight,
    .count = loha_count,
    .write_config = loha_write_config,
    .read_config = loha_read_config,
};
