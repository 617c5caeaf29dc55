/* convert: LoRA adapters as llama.cpp has them
 *
 * general.type = adapter, adapter.type = lora, adapter.lora.alpha; for each weight two tensors NAME.lora_a
 * [rank, in] and NAME.lora_b [out, rank]. The reader scales by alpha / rank, the rank being lora_b's. Of q
 * and k the rows of lora_b are permuted as those of the weight. */
#include "recipes/convert.h"

#include "core/file.h"
#include "core/json.h"
#include "core/quant.h"
#include "core/text.h"
#include "layers/gguf_map.h"
#include "peft/lora.h"
#include "recipes/session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char prefix[] = "base_model.model.", suffix_a[] = ".lora_A.weight",
                  suffix_b[] = ".lora_B.weight";

/* What both ways know of the trunk. */
typedef struct trunk {
    const gguf_map *map;
    gguf_sizes      s;
} trunk;

static status open_trunk(session *s, const char *base, trunk *t)
{
    const char *type;

    TRY(session_base(s, base, 0, false));
    TRY(json_string(s->w.config, "model_type", true, &type, base));
    t->map = gguf_map_of_model(type);
    if (!t->map)
        return fail(STATUS_UNSUPPORTED, "%s: model_type is '%.60s', GGUF adapters are made for %s", base,
                    type, gguf_map_names(&s->setup));
    return t->map->read_sizes(s->w.config, base, t->map, &t->s);
}

/* ---- folder to file ------------------------------------------------------------------------------- */

typedef struct export {
    session    s;
    trunk      t;
    gguf_item *items;
    int        n, folded;
    double     alpha;
} export;

static const tuned *tuned_at(const peft *p, const char *checkpoint, const char *suffix)
{
    for (int i = 0; i < p->n_tuned; i++) {
        const char  *name = p->tensors[i].name + strlen(prefix);
        const size_t n = strlen(checkpoint);
        if (strncmp(name, checkpoint, n) == 0 && strcmp(name + n, suffix) == 0)
            return &p->tensors[i];
    }
    return NULL;
}

/* B with its rows in the file's order, and with the factor that alpha / rank lacks. */
static status copy_b(export *e, const tuned *b, int64_t heads, double factor, tensor *out)
{
    const int64_t rows = b->value.s.d[0];
    float        *v = arena_take(&e->s.setup, tensor_bytes(&b->value), 1);

    if (!v)
        return STATUS_MEMORY;
    if (heads)
        gguf_permute(b->value.v, v, heads, rows / heads, tensor_bytes(&b->value) / (size_t)rows, true);
    else
        memcpy(v, b->value.v, tensor_bytes(&b->value));
    for (int64_t i = 0; factor != 1 && i < shape_count(b->value.s); i++)
        v[i] = (float)((double)v[i] * factor);
    *out = (tensor){.s = b->value.s, .type = TYPE_F32, .v = v};
    return STATUS_OK;
}

static status add_site(export *e, const void *options, const site *x)
{
    const tuned *a = tuned_at(e->s.p, x->checkpoint, suffix_a),
                *b = tuned_at(e->s.p, x->checkpoint, suffix_b);
    const gguf_role *role;
    const char      *name, *weight = arena_printf(&e->s.setup, "%s.weight", x->checkpoint);
    double           scale, factor;
    int64_t          rank;

    if (!weight)
        return STATUS_MEMORY;
    CHECK(a && b);
    TRY(gguf_map_name(&e->s.setup, e->t.map, weight, &role, &name));
    if (!role || (x->kind == SITE_HEAD && x->weight && !weights_find(&e->s.w, "lm_head.weight")))
        return fail(STATUS_UNSUPPORTED, "%s: a LoRA there has no place in a GGUF adapter", x->checkpoint);
    TRY(lora_rank_and_scale(options, x, &rank, &scale));
    if (e->n == 0)
        e->alpha = (double)(float)(scale * (double)rank);
    factor = scale * (double)rank / e->alpha;
    if (fabs(factor - 1) < 1e-7)
        factor = 1;
    e->folded += factor != 1;
    e->items[e->n].name = arena_printf(&e->s.setup, "%s.lora_a", name);
    e->items[e->n + 1].name = arena_printf(&e->s.setup, "%s.lora_b", name);
    if (!e->items[e->n].name || !e->items[e->n + 1].name)
        return STATUS_MEMORY;
    e->items[e->n].t = a->value;
    TRY(copy_b(e, b, gguf_map_heads(e->t.map, role, &e->t.s), factor, &e->items[e->n + 1].t));
    e->n += 2;
    return STATUS_OK;
}

static status export_run(export *e, const char *folder, const char *base, bool force, const char *path,
                         FILE *out)
{
    TRY(open_trunk(&e->s, base, &e->t));
    TRY(session_adapter(&e->s, folder, force));
    const module *x = &e->s.p->modules[0];
    gguf_meta     m = {.a = &e->s.setup};
    if (e->s.p->n_modules > 1)
        return fail(STATUS_UNSUPPORTED, "%s: is a router over %d adapters; a GGUF adapter is one LoRA", folder,
                    e->s.p->n_modules - 1);
    if (x->method != &peft_lora)
        return fail(STATUS_UNSUPPORTED, "%s: is of the method %s; a GGUF adapter can only be a LoRA", folder,
                    x->method->name);
    if (e->s.p->n_tuned > 0 && e->s.p->tensors[0].rest)
        return fail(STATUS_UNSUPPORTED, "%s: its start changes the trunk; save it as an ordinary LoRA first", folder);
    for (int i = 0; i < e->s.p->n_tuned; i++)
        if (e->s.p->tensors[i].place && e->s.p->tensors[i].fixed)
            return fail(STATUS_UNSUPPORTED, "%s: belongs to weights that its start quantised, which a GGUF adapter "
                        "cannot say; merge it", folder);
    if (e->s.p->n_tuned != 2 * x->n_sites)
        return fail(STATUS_UNSUPPORTED, "%s: trains biases too, which a GGUF adapter cannot hold", folder);
    TRY_TAKE(e->items, &e->s.setup, 2 * x->n_sites);
    for (int i = 0; i < x->n_sites; i++)
        TRY_IN(add_site(e, x->options, x->at[i]), "in %s", folder);
    gguf_put_string(&m, "general.architecture", e->t.map->stored_as);
    gguf_put_string(&m, "general.type", "adapter");
    gguf_put_string(&m, "adapter.type", "lora");
    gguf_put_f32(&m, "adapter.lora.alpha", (float)e->alpha);
    TRY(gguf_write(path, &m, e->items, e->n, NULL));
    fprintf(out, "%s: LoRA on %d weights, alpha %g, %s\n", path, x->n_sites, e->alpha,
            e->folded ? "factors that alpha cannot say multiplied into B" : "lossless");
    return STATUS_OK;
}

/* What the adapter's own config says is its base. */
static status base_of_folder(arena *a, const char *folder, const char **base)
{
    const char *path = path_join(a, folder, "adapter_config.json"), *text = "";
    cJSON      *config;

    if (!path)
        return STATUS_MEMORY;
    TRY(json_read(path, &config));
    status s = json_string(config, "base_model_name_or_path", false, &text, path);
    if (s == STATUS_OK && !text[0])
        s = fail(STATUS_USAGE, "%s: names no base; give one with --base", path);
    *base = s == STATUS_OK ? arena_string(a, text, strlen(text)) : NULL;
    cJSON_Delete(config);
    return s == STATUS_OK && !*base ? STATUS_MEMORY : s;
}

status convert_adapter_to_gguf(const char *folder, const char *base, bool force, const char *path, FILE *out)
{
    export e = {0};
    status s = session_open(&e.s);

    if (s == STATUS_OK && !base)
        s = base_of_folder(&e.s.setup, folder, &base);
    if (s == STATUS_OK)
        s = export_run(&e, folder, base, force, path, out);
    session_close(&e.s);
    return s;
}

/* ---- file to folder ------------------------------------------------------------------------------- */

typedef struct import {
    session           s;
    trunk             t;
    gguf              g;
    double            alpha;
    int64_t           rank; /* the first one; others go into rank_pattern */
    safetensors_item *items;
    int               n;
    const char       *base;
    const char      **sites;
    int64_t          *ranks;
    int               n_sites;
    bool              turned; /* the base has weights as [in, out] */
} import;

static status read_head(import *m)
{
    const char *path = m->g.map.path, *architecture, *kind;

    TRY(gguf_string(&m->s.setup, &m->g, "general.architecture", true, &architecture));
    TRY(gguf_string(&m->s.setup, &m->g, "adapter.type", true, &kind));
    TRY(gguf_double(&m->g, "adapter.lora.alpha", true, &m->alpha));
    if (strcmp(architecture, m->t.map->stored_as) != 0)
        return fail(STATUS_FORMAT, "%s: is for the architecture %.60s, the base is %s", path, architecture,
                    m->t.map->stored_as);
    if (strcmp(kind, "lora") != 0)
        return fail(STATUS_UNSUPPORTED, "%s: adapter.type is %.60s, must be lora", path, kind);
    if (!(m->alpha > 0) || !isfinite(m->alpha))
        return fail(STATUS_UNSUPPORTED, "%s: adapter.lora.alpha is %g, must be above 0", path, m->alpha);
    return STATUS_OK;
}

/* The trunk's site of that checkpoint name. */
static const site *site_of(const model *m, const char *weight)
{
    for (int i = 0; i < m->n_sites; i++) {
        const size_t n = strlen(m->sites[i].checkpoint);
        if (strncmp(weight, m->sites[i].checkpoint, n) == 0 && strcmp(weight + n, ".weight") == 0)
            return &m->sites[i];
    }
    return NULL;
}

static status expanded(import *m, const gguf_tensor *t, int64_t heads, tensor *out)
{
    const int64_t n = shape_count(t->t.s);
    float        *v, *turned;

    if (!quant_is_real(t->t.type))
        return fail(STATUS_FORMAT, "tensor %.200s is stored as %s, must hold real numbers", t->name,
                    dtype_name(t->t.type));
    TRY_TAKE(v, &m->s.setup, n);
    quant_expand(t->t.type, t->t.v, n, v);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return fail(STATUS_NUMERIC, "tensor %.200s: value %lld is %g, must be finite", t->name,
                        (long long)i, (double)v[i]);
    *out = (tensor){.s = t->t.s, .type = TYPE_F32, .v = v};
    if (!heads)
        return STATUS_OK;
    TRY_TAKE(turned, &m->s.setup, n);
    gguf_permute(v, turned, heads, t->t.s.d[0] / heads, (size_t)t->t.s.d[1] * sizeof *v, false);
    out->v = turned;
    return STATUS_OK;
}

/* A pair of tensors, found by its A. */
static status add_pair(import *m, const gguf_tensor *a)
{
    const size_t     n = strlen(a->name) - strlen(".lora_a");
    const char      *name = arena_string(&m->s.setup, a->name, n), *weight, *stem;
    const char      *other = arena_printf(&m->s.setup, "%.*s.lora_b", (int)n, a->name);
    const gguf_role *role;
    int64_t          block;

    if (!name || !other)
        return STATUS_MEMORY;
    const gguf_tensor *b = gguf_find_tensor(&m->g, other);
    TRY(gguf_map_checkpoint(&m->s.setup, m->t.map, name, &role, &block, &weight));
    const site *x = role ? site_of(&m->s.m, weight) : NULL;
    if (!x || !b)
        return fail(STATUS_FORMAT, "tensor %.200s: %s", a->name,
                    b ? "the base has no linear site of that name" : "its lora_b is missing");
    const int64_t rank = a->t.s.n == 2 ? a->t.s.d[0] : 0;
    if (!shape_equal(a->t.s, shape_2(rank, x->in)) || !shape_equal(b->t.s, shape_2(x->out, rank)))
        return fail(STATUS_SHAPE,
                    "tensor %.200s is %s and its lora_b %s, must be [rank, %lld] and [%lld, rank]", a->name,
                    shape_text(a->t.s), shape_text(b->t.s), (long long)x->in, (long long)x->out);
    stem = arena_printf(&m->s.setup, "%s%s", prefix, x->checkpoint);
    if (!stem)
        return STATUS_MEMORY;
    m->items[m->n].name = arena_printf(&m->s.setup, "%s%s", stem, suffix_a);
    m->items[m->n + 1].name = arena_printf(&m->s.setup, "%s%s", stem, suffix_b);
    if (!m->items[m->n].name || !m->items[m->n + 1].name)
        return STATUS_MEMORY;
    TRY(expanded(m, a, 0, &m->items[m->n].t));
    TRY(expanded(m, b, gguf_map_heads(m->t.map, role, &m->t.s), &m->items[m->n + 1].t));
    m->n += 2;
    m->turned |= x->weight->turned;
    m->sites[m->n_sites] = x->checkpoint;
    m->ranks[m->n_sites++] = rank;
    return STATUS_OK;
}

static status add_pairs(import *m)
{
    const int64_t n = m->g.n_tensors;

    TRY_TAKE(m->items, &m->s.setup, n + 2);
    TRY_TAKE(m->sites, &m->s.setup, n + 1);
    TRY_TAKE(m->ranks, &m->s.setup, n + 1);
    for (int64_t i = 0; i < n; i++) {
        const gguf_tensor *t = &m->g.tensors[i];
        if (text_ends(t->name, ".lora_a"))
            TRY_IN(add_pair(m, t), "in %s", m->g.map.path);
        else if (!text_ends(t->name, ".lora_b"))
            return fail(STATUS_UNSUPPORTED, "%s: tensor %.200s is neither a lora_a nor a lora_b",
                        m->g.map.path, t->name);
    }
    if (m->n != n || n == 0)
        return fail(STATUS_FORMAT, "%s: has %lld tensors, of which %d are pairs of lora_a and lora_b",
                    m->g.map.path, (long long)n, m->n);
    m->rank = m->ranks[0];
    return STATUS_OK;
}

static cJSON *config_of(const import *m)
{
    cJSON *config = cJSON_CreateObject(), *targets, *ranks;

    cJSON_AddStringToObject(config, "base_model_name_or_path", m->base);
    cJSON_AddStringToObject(config, "task_type", "CAUSAL_LM");
    cJSON_AddBoolToObject(config, "inference_mode", true);
    cJSON_AddStringToObject(config, "peft_type", "LORA");
    cJSON_AddNumberToObject(config, "r", (double)m->rank);
    cJSON_AddNumberToObject(config, "lora_alpha", m->alpha);
    cJSON_AddNumberToObject(config, "lora_dropout", 0);
    cJSON_AddBoolToObject(config, "use_rslora", false);
    cJSON_AddStringToObject(config, "bias", "none");
    cJSON_AddBoolToObject(config, "fan_in_fan_out", m->turned);
    cJSON_AddBoolToObject(config, "init_lora_weights", true);
    ranks = cJSON_AddObjectToObject(config, "rank_pattern");
    cJSON_AddObjectToObject(config, "alpha_pattern");
    targets = cJSON_AddArrayToObject(config, "target_modules");
    for (int i = 0; i < m->n_sites; i++) {
        cJSON_AddItemToArray(targets, cJSON_CreateString(m->sites[i]));
        if (m->ranks[i] != m->rank)
            cJSON_AddNumberToObject(ranks, m->sites[i], (double)m->ranks[i]);
    }
    return config;
}

static status write_adapter(void *context, const char *folder)
{
    import                *m = context;
    const safetensors_pair pair = {.key = "format", .value = "pt"};
    const char            *tensors = path_join(&m->s.setup, folder, "adapter_model.safetensors");
    const char            *path = path_join(&m->s.setup, folder, "adapter_config.json");
    cJSON                 *config = config_of(m);
    char                  *text = cJSON_Print(config);
    status s = tensors && path && text ? STATUS_OK : fail(STATUS_MEMORY, "%s: no memory", folder);

    if (s == STATUS_OK)
        s = safetensors_write(tensors, m->items, m->n, &pair, 1);
    if (s == STATUS_OK)
        s = file_replace(path, text, strlen(text));
    free(text);
    cJSON_Delete(config);
    return s;
}

static status import_run(import *m, const char *file, const char *folder, FILE *out)
{
    TRY(open_trunk(&m->s, m->base, &m->t));
    TRY(gguf_open(&m->s.setup, file, &m->g));
    TRY(read_head(m));
    TRY(add_pairs(m));
    TRY(convert_publish(&m->s.setup, folder, write_adapter, m));
    fprintf(out, "%s: LoRA on %d sites, rank %lld, alpha %g, lossless\n", folder, m->n_sites,
            (long long)m->rank, m->alpha);
    return STATUS_OK;
}

status convert_adapter_to_folder(const char *file, const char *base, const char *folder, FILE *out)
{
    import m = {.base = base};

    if (!base)
        return fail(STATUS_USAGE, "%s: an adapter file does not say its base; give one with --base", file);
    status s = session_open(&m.s);
    if (s == STATUS_OK)
        s = import_run(&m, file, folder, out);
    gguf_close(&m.g);
    session_close(&m.s);
    return s;
}
