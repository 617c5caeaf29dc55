/* lora: y' = y + s (x A^T) B^T, A [r, in], B [out, r] starting at zero, s = alpha / r, or alpha / sqrt(r)
 * with rslora (Hu et al. 2021; Kalajdzievski 2023). */
#include "peft/lora.h"

#include "core/json.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

typedef struct lora_options {
    int64_t     rank;
    double      alpha, dropout;
    bool        rslora;
    bool        any_rank; /* of an adapter file: PEFT allows ranks above the matrix's own */
    const char *bias;
    key_map     rank_pattern, alpha_pattern;
} lora_options;

#define AT(member) offsetof(lora_options, member)
static const key lora_keys[] = {
    {.name = "rank", .kind = KEY_INT, .offset = AT(rank), .preset = "8", .lo = 1, .hi = 65536,
     .help = "Rank r of the two factors A [r, in] and B [out, r]."},
    {.name = "alpha", .kind = KEY_REAL, .offset = AT(alpha), .preset = "16", .lo = 1e-6, .hi = 1e6,
     .help = "The product is scaled by alpha / rank."},
    {.name = "rslora", .kind = KEY_BOOL, .offset = AT(rslora), .preset = "no",
     .help = "Scale by alpha / sqrt(rank) instead."},
    {.name = "dropout", .kind = KEY_REAL, .offset = AT(dropout), .preset = "0", .lo = 0, .hi = 0.999,
     .unit = "share", .help = "Share of the inputs of A set to zero while training."},
    {.name = "bias", .kind = KEY_CHOICE, .offset = AT(bias), .preset = "none",
     .choices = "none|all|lora_only",
     .help = "Trunk biases that are trained too: none, all, or those of the sites."},
    {.name = "rank_pattern", .kind = KEY_MAP, .offset = AT(rank_pattern), .lo = 1, .hi = 65536,
     .whole = true, .help = "Other ranks for sites whose checkpoint name ends with the pattern."},
    {.name = "alpha_pattern", .kind = KEY_MAP, .offset = AT(alpha_pattern), .lo = 1e-6, .hi = 1e6,
     .help = "Other alphas for sites whose checkpoint name ends with the pattern."},
};
static const key_table lora_table = KEY_TABLE("lora", lora_keys, lora_options);

typedef struct lora_state {
    peft  *p;
    tuned *a, *b;
    double scale, dropout;
} lora_state;

/* PEFT's rule: the key, as a regular expression, must match the name's end, from its start or a dot. */
static status pattern_matches(const char *key_text, const char *name, bool *match)
{
    char        expression[1024];
    int         code;
    size_t      at;
    pcre2_code *re;

    if ((size_t)snprintf(expression, sizeof expression, "^(?:.*\\.)?(?:%s)$", key_text) >=
        sizeof expression)
        return fail(STATUS_USAGE, "pattern '%.40s...' is longer than 1000 characters", key_text);
    re = pcre2_compile((PCRE2_SPTR)expression, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &at, NULL);
    if (!re)
        return fail(STATUS_USAGE, "pattern '%s' is not a regular expression", key_text);
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(re, NULL);
    *match = pcre2_match(re, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, data, NULL) >= 0;
    pcre2_match_data_free(data);
    pcre2_code_free(re);
    return STATUS_OK;
}

/* The value of the first pattern that matches the site, else `value`. */
static status from_patterns(const key_map *map, const char *name, double *value)
{
    for (int i = 0; i < map->n; i++) {
        bool match;
        TRY(pattern_matches(map->v[i].name, name, &match));
        if (match) {
            *value = map->v[i].value;
            break;
        }
    }
    return STATUS_OK;
}

status lora_rank_and_scale(const void *options, const site *s, int64_t *rank, double *scale)
{
    const lora_options *o = options;
    const int64_t most = o->any_rank ? s->in + s->out : s->in < s->out ? s->in : s->out;
    double        r = (double)o->rank, alpha = o->alpha;

    TRY(from_patterns(&o->rank_pattern, s->checkpoint, &r));
    TRY(from_patterns(&o->alpha_pattern, s->checkpoint, &alpha));
    if (r < 1 || r > (double)most)
        return fail(STATUS_SHAPE, "lora: rank is %.0f, must be 1..%lld", r, (long long)most);
    *rank = (int64_t)r;
    *scale = o->rslora ? alpha / sqrt(r) : alpha / r;
    return STATUS_OK;
}

static status lora_attach(const peft_attach *at, const void *options, void **state)
{
    const lora_options *o = options;
    lora_state         *l;
    int64_t             rank;

    TRY_TAKE(l, at->p->a, 1);
    *l = (lora_state){.p = at->p, .dropout = o->dropout};
    TRY(lora_rank_and_scale(o, at->s, &rank, &l->scale));
    TRY(peft_tuned(at, "lora_A.weight", shape_2(rank, at->s->in), INIT_KAIMING, NULL, &l->a));
    TRY(peft_tuned(at, "lora_B.weight", shape_2(at->s->out, rank), INIT_ZERO, NULL, &l->b));
    if (strcmp(o->bias, "none") != 0 && at->s->bias)
        TRY(peft_in_place(at, at->s->bias, "base_layer.bias"));
    *state = l;
    return STATUS_OK;
}

/* bias: all trains the biases of the other sites too. */
static status lora_beside(peft *p, int module, const void *options)
{
    const lora_options *o = options;

    if (strcmp(o->bias, "all") != 0)
        return STATUS_OK;
    for (int i = 0; i < p->m->n_sites; i++) {
        const peft_attach at = {.p = p, .module = module, .s = &p->m->sites[i]};
        if (at.s->bias && !peft_sits(p, module, at.s))
            TRY_IN(peft_in_place(&at, at.s->bias, "bias"), "in %s", at.s->name);
    }
    return STATUS_OK;
}

static var *lora_forward(tape *t, const site *s, void *state, var *x, var *y)
{
    const lora_state *l = state;
    const row_names  *rows = &l->p->m->rows;

    if (l->dropout > 0 && rows->samples)
        x = ag_dropout(t, x, rows->samples, rows->positions, l->dropout, s->number);
    return ag_lora(t, y, x, peft_var(t, l->p, l->a), peft_var(t, l->p, l->b), l->scale);
}

static status lora_merge(const site *s, const void *state, float *w)
{
    const lora_state *l = state;
    const matmul      p = {.m = s->out, .n = s->in, .k = l->a->value.s.d[0],
                           .a = l->b->value.v, .type_a = TYPE_F32, .lda = l->a->value.s.d[0],
                           .b = l->a->value.v, .type_b = TYPE_F32, .ldb = s->in,
                           .c = w, .type_c = TYPE_F32, .ldc = s->in,
                           .alpha = l->scale, .accumulate = true};

    matmul_run(&p);
    return STATUS_OK;
}

static int64_t lora_count(const site *s, const void *options)
{
    const lora_options *o = options;
    int64_t             rank;
    double              scale;

    if (lora_rank_and_scale(o, s, &rank, &scale) != STATUS_OK)
        return -1;
    return rank * (s->in + s->out) + (strcmp(o->bias, "none") != 0 && s->bias ? s->out : 0);
}

static int64_t lora_count_beside(const peft *p, int module, const void *options)
{
    const lora_options *o = options;
    int64_t             n = 0;

    for (int i = 0; i < p->m->n_sites && strcmp(o->bias, "all") == 0; i++)
        if (p->m->sites[i].bias && !peft_sits(p, module, &p->m->sites[i]))
            n += p->m->sites[i].out;
    return n;
}

static void add_map(cJSON *config, const char *name, const key_map *map)
{
    cJSON *o = cJSON_AddObjectToObject(config, name);

    for (int i = 0; i < map->n; i++)
        cJSON_AddNumberToObject(o, map->v[i].name, map->v[i].value);
}

static status lora_write_config(const void *options, cJSON *config)
{
    const lora_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "LORA");
    cJSON_AddNumberToObject(config, "r", (double)o->rank);
    cJSON_AddNumberToObject(config, "lora_alpha", o->alpha);
    cJSON_AddNumberToObject(config, "lora_dropout", o->dropout);
    cJSON_AddBoolToObject(config, "use_rslora", o->rslora);
    cJSON_AddStringToObject(config, "bias", o->bias);
    add_map(config, "rank_pattern", &o->rank_pattern);
    add_map(config, "alpha_pattern", &o->alpha_pattern);
    cJSON_AddBoolToObject(config, "fan_in_fan_out", false);
    cJSON_AddBoolToObject(config, "init_lora_weights", true);
    return STATUS_OK;
}

static status read_map(const cJSON *config, const char *name, arena *a, key_map *map,
                       const char *what)
{
    const cJSON *o = cJSON_GetObjectItemCaseSensitive(config, name), *item;

    *map = (key_map){0};
    if (!o || cJSON_IsNull(o))
        return STATUS_OK;
    if (!cJSON_IsObject(o))
        return fail(STATUS_FORMAT, "%s: %s must be an object of numbers", what, name);

    struct key_pair *v;
    TRY_TAKE(v, a, cJSON_GetArraySize(o));
    cJSON_ArrayForEach(item, o)
    {
        if (!cJSON_IsNumber(item) || !(item->valuedouble > 0))
            return fail(STATUS_FORMAT, "%s: %s.%s must be a number above 0", what, name, item->string);
        v[map->n].name = arena_string(a, item->string, strlen(item->string));
        v[map->n].value = item->valuedouble;
        if (!v[map->n++].name)
            return STATUS_MEMORY;
    }
    map->v = v;
    return STATUS_OK;
}

/* Fields that change what the adapter computes and that this version does not compute. */
static status refuse_other_flavours(const cJSON *config, const char *what)
{
    static const char *const off[] = {
        "use_dora",       "use_qalora",           "lora_bias",
        "trainable_token_indices", "alora_invocation_tokens", "layer_replication", "target_parameters",
        "use_bdlora",     "modules_to_save",      "kasa_config",    "velora_config",
        "monteclora_config", "arrow_config"};

    for (size_t i = 0; i < COUNT_OF(off); i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(config, off[i]);
        if (item && !cJSON_IsNull(item) && !cJSON_IsFalse(item) &&
            !(cJSON_IsArray(item) && cJSON_GetArraySize(item) == 0))
            return fail(STATUS_UNSUPPORTED,
                        "%s: %s is set; this flavour of LoRA is not in this version", what, off[i]);
    }
    const cJSON *init = cJSON_GetObjectItemCaseSensitive(config, "init_lora_weights");
    if (cJSON_IsString(init)) {
        static const char *const residual[] = {"pissa", "olora", "corda", "mica", "loftq"};
        for (size_t i = 0; i < COUNT_OF(residual); i++)
            if (strncasecmp(init->valuestring, residual[i], strlen(residual[i])) == 0)
                return fail(STATUS_UNSUPPORTED,
                            "%s: init_lora_weights is '%s', which changes the trunk when it is "
                            "loaded; convert the adapter to an ordinary LoRA first",
                            what, init->valuestring);
    }
    return STATUS_OK;
}

static status lora_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    lora_options *o = options;

    *o = (lora_options){.rank = 8, .alpha = 8, .bias = "none", .any_rank = true};
    TRY(refuse_other_flavours(config, what));
    TRY(json_int(config, "r", false, 1, 65536, &o->rank, what));
    TRY(json_double(config, "lora_alpha", false, &o->alpha, what));
    TRY(json_double(config, "lora_dropout", false, &o->dropout, what));
    TRY(json_bool(config, "use_rslora", false, &o->rslora, what));
    TRY(json_string(config, "bias", false, &o->bias, what));
    if (strcmp(o->bias, "none") && strcmp(o->bias, "all") && strcmp(o->bias, "lora_only"))
        return fail(STATUS_FORMAT, "%s: bias is '%s', must be none, all or lora_only", what, o->bias);
    if (!(o->dropout >= 0 && o->dropout < 1))
        return fail(STATUS_FORMAT, "%s: lora_dropout is %g, must be 0 or more and below 1", what,
                    o->dropout);
    o->bias = arena_string(a, o->bias, strlen(o->bias));
    if (!o->bias)
        return STATUS_MEMORY;
    TRY(read_map(config, "rank_pattern", a, &o->rank_pattern, what));
    return read_map(config, "alpha_pattern", a, &o->alpha_pattern, what);
}

const peft_method peft_lora = {
    .name = "lora",
    .sites = SITE_LINEAR | SITE_HEAD,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES | PEFT_FILE,
    .keys = &lora_table,
    .help = "Low-rank adaptation: a product of two thin matrices beside each weight (Hu et al. 2021).",
    .attach = lora_attach,
    .beside = lora_beside,
    .forward = lora_forward,
    .merge = lora_merge,
    .count = lora_count,
    .count_beside = lora_count_beside,
    .write_config = lora_write_config,
    .read_config = lora_read_config,
};
