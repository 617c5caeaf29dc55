/* lora: y' = y + s (x A^T) B^T, A [r, in], B [out, r] starting at zero, s = alpha / r, or alpha / sqrt(r)
 * with rslora (Hu et al. 2021; Kalajdzievski 2023).
 *
 * With dora, W + s B A is the direction of a weight whose rows have the length m (Liu et al. 2024, eq. 5):
 * y' = (x W^T + s (x A^T) B^T) * m / |W + s B A| + bias, m starting at the lengths of W's rows. The lengths
 * that divide have no gradient (section 4.3).
 *
 * With a start that takes a part out of the weight (peft/lora_start.h), y' = y + s (x A^T) B^T - s (x A0^T) B0^T;
 * with loftq y is that of the quantised weight.
 *
 * With `learned` s is trained (Gao et al. 2023, LAE). With lora_bias s b is added too, b [out]. At an embedding x is a row of the identity: A [r, words], B
 * [width, r], and dora's lengths are those of a channel over all words. A tied head keeps the plain table. */
#include "peft/lora.h"

#include "peft/fields.h"
#include "peft/lora_start.h"
#include "peft/patterns.h"

#include "core/json.h"
#include "core/quant.h"
#include "core/text.h"
#include "core/threads.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct lora_options {
    int64_t     rank;
    double      alpha, dropout;
    bool        rslora, dora, lora_bias, learned;
    bool        any_rank; /* of an adapter file: PEFT allows ranks above the matrix's own */
    const char *bias;
    key_map     rank_pattern, alpha_pattern;
    lora_start  start;
} lora_options;

#define AT(member) offsetof(lora_options, member)
static const key lora_keys[] = {
    {.name = "rank", .kind = KEY_INT, .offset = AT(rank), .preset = "8", .lo = 1, .hi = 65536,
     .help = "Rank r of the two factors A [r, in] and B [out, r]."},
    {.name = "alpha", .kind = KEY_REAL, .offset = AT(alpha), .preset = "16", .lo = 1e-6, .hi = 1e6,
     .help = "The product is scaled by alpha / rank."},
    {.name = "rslora", .kind = KEY_BOOL, .offset = AT(rslora), .preset = "no",
     .help = "Scale by alpha / sqrt(rank) instead."},
    {.name = "dora", .kind = KEY_BOOL, .offset = AT(dora), .preset = "no",
     .help = "Train the length of each row of the weight apart from its direction."},
    {.name = "dropout", .kind = KEY_REAL, .offset = AT(dropout), .preset = "0", .lo = 0, .hi = 0.999,
     .unit = "share", .help = "Share of the inputs of A set to zero while training."},
    {.name = "bias", .kind = KEY_CHOICE, .offset = AT(bias), .preset = "none",
     .choices = "none|all|lora_only",
     .help = "Trunk biases that are trained too: none, all, or those of the sites."},
    {.name = "rank_pattern", .kind = KEY_MAP, .offset = AT(rank_pattern), .lo = 1, .hi = 65536,
     .whole = true, .help = "Other ranks for sites whose checkpoint name ends with the pattern."},
    {.name = "alpha_pattern", .kind = KEY_MAP, .offset = AT(alpha_pattern), .lo = 1e-6, .hi = 1e6,
     .help = "Other alphas for sites whose checkpoint name ends with the pattern."},
    {.name = "lora_bias", .kind = KEY_BOOL, .offset = AT(lora_bias), .preset = "no",
     .help = "Train a bias beside B, scaled as the product is."},
    {.name = "learned", .kind = KEY_BOOL, .offset = AT(learned), .preset = "no",
     .help = "Train the factor alpha / rank too, one a site; it starts there."},
    {.name = "init_lora_weights", .kind = KEY_CHOICE, .offset = AT(start.init), .preset = "default",
     .choices = "default|gaussian|pissa|olora|corda|loftq",
     .help = "Where A and B begin: default and gaussian without effect; pissa with the weight's largest singular "
             "vectors, olora with its first orthogonal ones, corda with those that matter for samples of the data, "
             "which the weight goes on without; loftq with what quantising the weight loses."},
    {.name = "pissa_niter", .kind = KEY_INT, .offset = AT(start.pissa_niter), .preset = "0", .lo = 0, .hi = 1000,
     .help = "With pissa: find the vectors nearly, in this many turns, which is much quicker; 0 finds them exactly."},
    {.name = "corda_method", .kind = KEY_CHOICE, .offset = AT(start.corda_method), .preset = "ipm",
     .choices = "ipm|kpm",
     .help = "With corda: train the directions that matter most (ipm: samples of what is to be learnt), or those "
             "that matter least (kpm: samples of what is to be kept)."},
    {.name = "corda_samples", .kind = KEY_INT, .offset = AT(start.corda_samples), .preset = "256", .lo = 1, .hi = 1e9,
     .unit = "samples", .help = "With corda: samples of data.prepare, or else data.train, that are run before."},
    {.name = "loftq_type", .kind = KEY_CHOICE, .offset = AT(start.loftq.type), .preset = "nf4",
     .choices = LOFTQ_TYPES,
     .help = "With loftq: what the weights are quantised to; nf4 and int8 as PEFT does, others as a GGUF file has "
             "them."},
    {.name = "loftq_iter", .kind = KEY_INT, .offset = AT(start.loftq.turns), .preset = "1", .lo = 1, .hi = 1000,
     .help = "With loftq: turns of quantising what the factors leave and decomposing what that loses."},
};
static const key_table lora_table = KEY_TABLE("lora", lora_keys, lora_options);

typedef struct lora_state {
    peft  *p;
    lora_factors f;
    tuned *length, *bias, *factor; /* length: dora, else NULL; bias: lora_bias, else NULL; factor: learned, else NULL */
    double scale, dropout;
} lora_state;

status lora_rank_and_scale(const void *options, const site *s, int64_t *rank, double *scale)
{
    const lora_options *o = options;
    const int64_t most = o->any_rank ? s->in + s->out : s->in < s->out ? s->in : s->out;
    double        r = (double)o->rank, alpha = o->alpha;

    TRY(pattern_value(&o->rank_pattern, s->checkpoint, &r));
    TRY(pattern_value(&o->alpha_pattern, s->checkpoint, &alpha));
    if (r < 1 || r > (double)most)
        return fail(STATUS_SHAPE, "lora: rank is %.0f, must be 1..%lld", r, (long long)most);
    *rank = (int64_t)r;
    *scale = o->rslora ? alpha / sqrt(r) : alpha / r;
    return STATUS_OK;
}

status lora_parts(const void *state, tuned **a, tuned **b, double *scale)
{
    const lora_state *l = state;

    if (l->length || l->bias || l->f.out_a)
        return fail(STATUS_UNSUPPORTED, "lora: is with %s, must be its two factors alone",
                    l->length ? "dora" : l->bias ? "lora_bias" : "a part taken out of the weight");
    *a = l->f.a;
    *b = l->f.b;
    *scale = l->scale;
    return STATUS_OK;
}

static var *dora_product(tape *t, const site *s, void *state, var *x, var *y);

/* The lengths over a site's inputs of a trunk's weight: of its rows, at an embedding of its columns. */
static status start_lengths(arena *work, const void *context, const tensor *value)
{
    const site   *s = context;
    const tensor *w = &s->weight->value;
    const size_t  mark = arena_mark(work);
    const int64_t rows = w->s.d[0], columns = w->s.d[1], row_bytes = dtype_row_bytes(w->type, columns);
    double       *sum;
    float        *row, *v = value->v;

    TRY_TAKE(sum, work, s->out);
    TRY_TAKE(row, work, columns);
    memset(sum, 0, (size_t)s->out * sizeof *sum);
    for (int64_t r = 0; r < rows; r++) {
        quant_expand(w->type, (const uint8_t *)w->v + r * row_bytes, columns, row);
        for (int64_t c = 0; c < columns; c++)
            sum[s->kind == SITE_EMBEDDING ? c : r] += (double)row[c] * row[c];
    }
    for (int64_t o = 0; o < s->out; o++)
        v[o] = (float)sqrt(sum[o]);
    arena_rewind(work, mark);
    return STATUS_OK;
}

static var *embedding_output(tape *t, const site *s, void *state, var *ids, var *y);

static status add_factors(const peft_attach *at, const lora_options *o, int64_t rank, lora_state *l)
{
    if (lora_start_changes(&o->start) && (o->dora || o->lora_bias))
        return fail(STATUS_UNSUPPORTED, "lora: init_lora_weights %s goes neither with dora nor with lora_bias",
                    o->start.init);
    if (at->s->kind == SITE_EMBEDDING)
        at->hook->output = embedding_output;
    return lora_start_add(at, &o->start, rank, l->scale, &l->f);
}

static status add_lengths(const peft_attach *at, lora_state *l)
{
    const tuned_start start = {.how = INIT_MADE, .context = at->s, .make = start_lengths};

    TRY(peft_tuned(at, "lora_magnitude_vector", shape_1(at->s->out), start, &l->length));
    if (at->s->kind != SITE_EMBEDDING) {
        at->hook->product = dora_product;
        at->hook->output = NULL;
    }
    return STATUS_OK;
}

static status add_bias(const peft_attach *at, const lora_options *o, lora_state *l)
{
    if (o->dora || at->s->kind == SITE_EMBEDDING)
        return fail(STATUS_UNSUPPORTED, "lora: lora_bias goes neither with dora nor with an embedding");
    return peft_tuned(at, "lora_B.bias", shape_1(at->s->out), START_ZERO, &l->bias);
}

static status add_factor(const peft_attach *at, const lora_options *o, lora_state *l)
{
    const tuned_start start = {.how = INIT_VALUE, .size = l->scale};

    if (o->dora || o->lora_bias || lora_start_changes(&o->start) || at->s->kind == SITE_EMBEDDING)
        return fail(STATUS_UNSUPPORTED, "lora: learned goes with none of dora, lora_bias, embeddings and "
                    "init_lora_weights that change the weight");
    return peft_tuned(at, "lora_scale", shape_1(1), start, &l->factor);
}

static status lora_attach(const peft_attach *at, const void *options, void **state)
{
    const lora_options *o = options;
    lora_state         *l;
    int64_t             rank;

    TRY_TAKE(l, at->p->a, 1);
    *l = (lora_state){.p = at->p, .dropout = o->dropout};
    TRY(lora_rank_and_scale(o, at->s, &rank, &l->scale));
    TRY(add_factors(at, o, rank, l));
    if (o->lora_bias)
        TRY(add_bias(at, o, l));
    if (o->dora)
        TRY(add_lengths(at, l));
    if (o->learned)
        TRY(add_factor(at, o, l));
    if (strcmp(o->bias, "none") != 0 && at->s->bias) {
        const char *name = arena_printf(at->p->a, "%s.base_layer.bias", at->s->checkpoint);
        if (!name)
            return STATUS_MEMORY;
        TRY(peft_in_place(at->p, at->module, at->s->bias, name));
    }
    *state = l;
    return STATUS_OK;
}

/* A bias of the trunk that is not of a site the module sits on. */
static bool is_other_bias(const peft *p, int module, const model_weight *w)
{
    if (w->value.s.n != 1 || !text_ends(w->full, ".bias"))
        return false;
    for (int i = 0; i < p->m->n_sites; i++)
        if (p->m->sites[i].bias == w && peft_sits(p, module, &p->m->sites[i]))
            return false;
    return true;
}

/* bias: all trains the other biases too, also those of norms. */
static status lora_beside(peft *p, int module, const void *options)
{
    const lora_options *o = options;

    for (int i = 0; i < p->m->n_tensors && strcmp(o->bias, "all") == 0; i++)
        if (is_other_bias(p, module, &p->m->tensors[i]))
            TRY(peft_in_place(p, module, &p->m->tensors[i], NULL));
    return STATUS_OK;
}

static var *lora_forward(tape *t, const site *s, void *state, var *x, var *y)
{
    const lora_state *l = state;
    var              *fed = peft_dropout(t, l->p, s, x, l->dropout);

    if (l->factor) {
        var *h = ag_scale_by(t, ag_linear(t, fed, peft_var(t, l->p, l->f.a), NULL), peft_var(t, l->p, l->factor));
        return ag_add(t, y, ag_linear(t, h, peft_var(t, l->p, l->f.b), NULL));
    }
    y = ag_lora(t, y, fed, peft_var(t, l->p, l->f.a), peft_var(t, l->p, l->f.b), l->scale);
    if (l->f.out_a)
        y = ag_lora(t, y, x, peft_var(t, l->p, l->f.out_a), peft_var(t, l->p, l->f.out_b), l->scale);
    return l->bias ? ag_shift(t, y, peft_var(t, l->p, l->bias), l->scale) : y;
}

static var *dora_product(tape *t, const site *s, void *state, var *x, var *y)
{
    const lora_state *l = state;
    var              *both = lora_forward(t, s, state, x, y);
    var              *gain = ag_dora_gain(t, peft_var(t, l->p, l->length), weight_var(t, s->weight),
                                          peft_var(t, l->p, l->f.a), peft_var(t, l->p, l->f.b), l->scale);

    return ag_affine(t, both, gain, NULL);
}

/* y of the ids' rows, and the same rows of A^T times B^T */
static var *embedding_output(tape *t, const site *s, void *state, var *ids, var *y)
{
    const lora_state *l = state;
    var              *a = peft_var(t, l->p, l->f.a), *b = peft_var(t, l->p, l->f.b), *gain = NULL;

    tape_weight_begin(t);
    var *rows = ag_transpose(t, ag_expand(t, a));
    if (l->length) {
        var *table = ag_transpose(t, ag_expand(t, weight_var(t, s->weight)));
        gain = ag_dora_gain(t, peft_var(t, l->p, l->length), table, a, b, l->scale);
    }
    tape_weight_end(t);
    y = ag_add(t, y, ag_scale(t, ag_linear(t, ag_embed(t, rows, ids), b, NULL), l->scale));
    return gain ? ag_affine(t, y, gain, NULL) : y;
}

/* What is summed over the inputs of output o, of w [out, in], to this length; at an embedding w is turned. */
static void set_lengths(const site *s, const float *lengths, float *w)
{
    const bool    turned = s->kind == SITE_EMBEDDING;
    const int64_t step = turned ? s->out : 1;

    for (int64_t o = 0; o < s->out; o++) {
        float *row = turned ? w + o : w + o * s->in;
        double sum = 0;
        for (int64_t i = 0; i < s->in; i++)
            sum += (double)row[i * step] * row[i * step];
        const float gain = (float)(lengths[o] / sqrt(sum));
        for (int64_t i = 0; i < s->in; i++)
            row[i * step] *= gain;
    }
}

/* w += scale b a, at an embedding turned */
static void add_product(const site *s, const tuned *a, const tuned *b, double scale, float *w)
{
    const int64_t rank = a->value.s.d[0];
    const bool    turned = s->kind == SITE_EMBEDDING; /* w += scale A^T B^T */
    const matmul  p = {.m = turned ? s->in : s->out, .n = turned ? s->out : s->in, .k = rank,
                       .a = turned ? a->value.v : b->value.v, .type_a = TYPE_F32,
                       .lda = turned ? s->in : rank, .a_turned = turned,
                       .b = turned ? b->value.v : a->value.v, .type_b = TYPE_F32,
                       .ldb = turned ? rank : s->in, .b_turned = turned,
                       .c = w, .type_c = TYPE_F32, .ldc = turned ? s->out : s->in,
                       .alpha = scale, .accumulate = true};

    matmul_run(&p);
}

static status lora_merge(const site *s, const void *state, float *w, float *b)
{
    const lora_state *l = state;

    if (l->bias && !b)
        return fail(STATUS_UNSUPPORTED, "lora: lora_bias cannot be merged into a site without a bias");
    add_product(s, l->f.a, l->f.b, l->factor ? *(const float *)l->factor->value.v : l->scale, w);
    if (l->f.out_a)
        add_product(s, l->f.out_a, l->f.out_b, l->scale, w);
    if (l->length)
        set_lengths(s, l->length->value.v, w);
    for (int64_t o = 0; l->bias && o < s->out; o++)
        b[o] += (float)l->scale * ((const float *)l->bias->value.v)[o];
    return STATUS_OK;
}

static int64_t lora_count(const site *s, const void *options)
{
    const lora_options *o = options;
    int64_t             rank;
    double              scale;

    if (lora_rank_and_scale(o, s, &rank, &scale) != STATUS_OK)
        return -1;
    return rank * (s->in + s->out) + (o->dora ? s->out : 0) + (o->lora_bias ? s->out : 0) + o->learned +
           (strcmp(o->bias, "none") != 0 && s->bias ? s->out : 0);
}

static int64_t lora_count_beside(const peft *p, int module, const void *options)
{
    const lora_options *o = options;
    int64_t             n = 0;

    for (int i = 0; i < p->m->n_tensors && strcmp(o->bias, "all") == 0; i++)
        if (is_other_bias(p, module, &p->m->tensors[i]))
            n += shape_count(p->m->tensors[i].value.s);
    return n;
}

static status lora_write_config(const void *options, cJSON *config)
{
    const lora_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "LORA");
    cJSON_AddNumberToObject(config, "r", (double)o->rank);
    cJSON_AddNumberToObject(config, "lora_alpha", o->alpha);
    cJSON_AddNumberToObject(config, "lora_dropout", o->dropout);
    cJSON_AddBoolToObject(config, "use_rslora", o->rslora);
    cJSON_AddBoolToObject(config, "use_dora", o->dora);
    cJSON_AddBoolToObject(config, "lora_bias", o->lora_bias);
    if (o->learned)
        cJSON_AddBoolToObject(config, "learned_scale", true);
    cJSON_AddStringToObject(config, "bias", o->bias);
    pattern_write(config, "rank_pattern", &o->rank_pattern);
    pattern_write(config, "alpha_pattern", &o->alpha_pattern);
    cJSON_AddBoolToObject(config, "fan_in_fan_out", false);
    lora_start_write(config, &o->start);
    if (lora_start_takes(&o->start))
        lora_start_double(config, o->rslora);
    return STATUS_OK;
}

/* Fields that change what the adapter computes and that this version does not compute. */
static const char *const other_flavours[] = {
    "use_qalora", "alora_invocation_tokens", "layer_replication",
    "target_parameters", "use_bdlora", "kasa_config", "velora_config", "monteclora_config",
    "arrow_config", NULL};

static status lora_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    lora_options *o = options;

    *o = (lora_options){.rank = 8, .alpha = 8, .bias = "none", .any_rank = true};
    TRY(fields_refuse(config, other_flavours, what));
    TRY(lora_start_read(config, a, &o->start, what));
    TRY(json_int(config, "r", false, 1, 65536, &o->rank, what));
    TRY(json_double(config, "lora_alpha", false, &o->alpha, what));
    TRY(fields_share(config, "lora_dropout", &o->dropout, what));
    TRY(json_bool(config, "lora_bias", false, &o->lora_bias, what));
    TRY(json_bool(config, "learned_scale", false, &o->learned, what));
    TRY(json_bool(config, "use_rslora", false, &o->rslora, what));
    TRY(json_bool(config, "use_dora", false, &o->dora, what));
    TRY(json_string(config, "bias", false, &o->bias, what));
    if (strcmp(o->bias, "none") && strcmp(o->bias, "all") && strcmp(o->bias, "lora_only"))
        return fail(STATUS_FORMAT, "%s: bias is '%s', must be none, all or lora_only", what, o->bias);
    o->bias = arena_string(a, o->bias, strlen(o->bias));
    if (!o->bias)
        return STATUS_MEMORY;
    TRY(pattern_read(config, "rank_pattern", a, &o->rank_pattern, what));
    return pattern_read(config, "alpha_pattern", a, &o->alpha_pattern, what);
}

static const char *lora_trained_as(const void *options)
{
    const lora_options *o = options;

    return lora_start_takes(&o->start) ? o->start.init : NULL;
}

/* Ranks of a file that holds twice the trained ones, and alphas that keep the scale. */
static status halve_ranks(arena *a, key_map *map, double by, bool whole, const char *what)
{
    struct key_pair *v;

    TRY_TAKE(v, a, map->n);
    for (int i = 0; i < map->n; i++) {
        v[i] = map->v[i];
        v[i].value /= by;
        if (whole && v[i].value != floor(v[i].value))
            return fail(STATUS_FORMAT, "%s: rank_pattern.%s is %.0f, must be even", what, v[i].name, map->v[i].value);
    }
    map->v = v;
    return STATUS_OK;
}

static status lora_train_as(arena *a, void *options, const char *was, const char *what)
{
    lora_options *o = options;
    const double  by = o->rslora ? sqrt(2) : 2;

    o->start = (lora_start){.init = was, .known = true};
    if (!lora_start_takes(&o->start))
        return fail(STATUS_UNSUPPORTED, "%s: was trained as '%.40s', which this version does not know", what, was);
    if (o->rank % 2 != 0)
        return fail(STATUS_FORMAT, "%s: r is %lld, must be even", what, (long long)o->rank);
    o->rank /= 2;
    o->alpha /= by;
    TRY(halve_ranks(a, &o->rank_pattern, 2, true, what));
    return halve_ranks(a, &o->alpha_pattern, by, false, what);
}

/* dora starts at lengths that were rounded once more, and what is taken out and put back leaves roundings. */
static uint32_t lora_traits(const void *options)
{
    const lora_options *o = options;

    return PEFT_MERGES | (o->learned ? 0 : PEFT_FILE) | (lora_start_sees(&o->start) ? PEFT_SEES : 0) |
           (o->dora ? PEFT_HOLDS_GRADIENT : 0) |
           (o->dora || lora_start_changes(&o->start) ? 0 : PEFT_IDENTITY_AT_START);
}

static void lora_start_costs(const site *s, const void *options, peft_start_cost *c)
{
    const lora_options *o = options;
    int64_t             rank;
    double              scale;

    if (lora_rank_and_scale(o, s, &rank, &scale) == STATUS_OK)
        lora_start_cost(&o->start, s, rank, c);
}

static int64_t lora_samples(const void *options)
{
    return ((const lora_options *)options)->start.corda_samples;
}

static status lora_see(const site *s, void *state, const peft_inputs *in)
{
    const lora_state *l = state, *same = in->same;

    return lora_start_see(s, &l->f, in, same ? &same->f : NULL);
}

const peft_method peft_lora = {
    .name = "lora",
    .sites = SITE_LINEAR | SITE_HEAD | SITE_EMBEDDING,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES | PEFT_FILE,
    .traits_with = lora_traits,
    .keys = &lora_table,
    .help = "Low-rank adaptation: a product of two thin matrices beside each weight (Hu et al. 2021).",
    .attach = lora_attach,
    .start_cost = lora_start_costs,
    .samples = lora_samples,
    .see = lora_see,
    .beside = lora_beside,
    .forward = lora_forward,
    .merge = lora_merge,
    .count = lora_count,
    .count_beside = lora_count_beside,
    .write_config = lora_write_config,
    .read_config = lora_read_config,
    .trained_as = lora_trained_as,
    .train_as = lora_train_as,
};
