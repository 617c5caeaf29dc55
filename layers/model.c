/* model: what all families share */
#include "layers/model.h"

#include "core/json.h"
#include "core/quant.h"
#include "core/rng.h"

#include <stdio.h>
#include <string.h>

/* Tensors of a trunk without a file at most: of a block, and beside the blocks. */
enum { BLOCK_TENSORS = 64, OTHER_TENSORS = 64 };

#define MODEL(family) extern const model_family model_##family;
#include "layers/models.def"
#undef MODEL

static const model_family *const families[] = {
#define MODEL(family) &model_##family,
#include "layers/models.def"
#undef MODEL
};

static status find_family(const char *type, const char *path, const model_family **out)
{
    char known[512] = "";

    for (size_t i = 0; i < COUNT_OF(families); i++) {
        if (strcmp(families[i]->name, type) == 0) {
            *out = families[i];
            return STATUS_OK;
        }
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "",
                 families[i]->name);
    }
    return fail(STATUS_UNSUPPORTED, "%s: model_type is '%s', must be one of: %s", path, type, known);
}

/* The number of blocks as the families' configs call it; what is wrong with it is said by the family. */
static int config_blocks(const cJSON *config)
{
    const char *const names[] = {"num_hidden_layers", "n_layer", "n_layers", "num_layers"};

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(config, names[i]);
        if (cJSON_IsNumber(v) && v->valuedouble > 0 && v->valuedouble < 1e5)
            return (int)v->valuedouble;
    }
    return 1;
}

status model_open(arena *a, const weights *w, dtype real_type, model *out)
{
    const char *type = NULL;

    CHECK(real_type == TYPE_F32 || real_type == TYPE_F64);
    *out = (model){.source = w, .real = real_type, .max_tensors = w->n + 8};
    if (w->random)
        out->max_tensors = OTHER_TENSORS + BLOCK_TENSORS * config_blocks(w->config);
    TRY_TAKE(out->tensors, a, out->max_tensors);
    TRY(json_string(w->config, "model_type", true, &type, w->path));
    TRY(find_family(type, w->path, &out->family));
    TRY_IN(out->family->open(a, out), "in %s", w->path);
    for (int i = 0; i < out->n_sites; i++)
        out->sites[i].number = (uint32_t)i;
    return STATUS_OK;
}

model_weight *model_find(model *m, const char *name)
{
    for (int i = 0; i < m->n_tensors; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            return &m->tensors[i];
    return NULL;
}

/* The weight as values of the model's real type. */
static status expand_tensor(arena *a, const model *m, const weight *from, tensor *to)
{
    const int64_t n = shape_count(from->t.s);
    float        *narrow = NULL;

    if (from->t.type == m->real) {
        *to = from->t;
        return STATUS_OK;
    }
    if (!quant_is_real(from->t.type))
        return fail(STATUS_FORMAT, "%s: type is %s, must be a real type", from->name,
                    dtype_name(from->t.type));
    *to = (tensor){.s = from->t.s, .type = m->real};
    if (m->real == TYPE_F32) {
        TRY_TAKE(narrow, a, n);
        to->v = narrow;
        quant_expand(from->t.type, from->t.v, n, narrow);
        return STATUS_OK;
    }
    double *wide;
    TRY_TAKE(wide, a, n);
    const size_t mark = arena_mark(a);
    TRY_TAKE(narrow, a, n);
    quant_expand(from->t.type, from->t.v, n, narrow);
    for (int64_t i = 0; i < n; i++)
        wide[i] = narrow[i];
    arena_rewind(a, mark);
    to->v = wide;
    return STATUS_OK;
}

/* Makes a tensor of a random trunk. */
static status make_tensor(arena *a, const model *m, const char *name, shape s, tensor *out)
{
    const int64_t n = shape_count(s);
    double        deviation = 0.02;
    char          purpose[600];
    float        *v;

    TRY(json_double(m->source->config, "initializer_range", false, &deviation, "config.json"));
    TRY_TAKE(v, a, n);
    *out = (tensor){.s = s, .type = TYPE_F32, .v = v};
    snprintf(purpose, sizeof purpose, "weight:%s", name);
    if (s.n > 1 && !m->source->empty)
        rng_fill_normal(rng_key_for(m->source->seed, purpose), 0, (float)deviation, v, n);
    for (int64_t i = 0; s.n == 1 && i < n; i++)
        v[i] = strstr(name, "norm") && !strstr(name, "bias") ? 1 : 0;
    return STATUS_OK;
}

status model_tensor(arena *a, model *m, const char *name, shape want, bool expand, bool need,
                    model_weight **out)
{
    const weight *from = weights_find(m->source, name);
    weight        made;

    *out = model_find(m, name);
    if (*out)
        return STATUS_OK;
    if (!from && m->source->random && need) {
        made.name = arena_string(a, name, strlen(name));
        if (!made.name)
            return STATUS_MEMORY;
        TRY(make_tensor(a, m, name, want, &made.t));
        from = &made;
    }
    if (!from)
        return need ? fail(STATUS_FORMAT, "tensor %s is missing", name) : STATUS_OK;
    if (!shape_equal(from->t.s, want))
        return fail(STATUS_SHAPE, "tensor %s is %s, must be %s", name, shape_text(from->t.s),
                    shape_text(want));
    if (!quant_is_real(from->t.type))
        return fail(STATUS_FORMAT, "tensor %s is of type %s, must be a real type", name,
                    dtype_name(from->t.type));
    CHECK(m->n_tensors < m->max_tensors);

    model_weight *w = &m->tensors[m->n_tensors];
    *w = (model_weight){.name = from->name, .value = from->t};
    if (expand)
        TRY(expand_tensor(a, m, from, &w->value));
    m->n_tensors++;
    *out = w;
    return STATUS_OK;
}

static status name_site(arena *a, site *s, const char *name, const char *checkpoint)
{
    s->name = arena_string(a, name, strlen(name));
    s->checkpoint = arena_string(a, checkpoint, strlen(checkpoint));
    return s->name && s->checkpoint ? STATUS_OK : STATUS_MEMORY;
}

/* `checkpoint`.weight, and .bias [bias] unless that is 0. */
static status site_tensors(arena *a, model *m, site *s, shape weight, bool expand, int64_t bias)
{
    char tensor_name[512];

    snprintf(tensor_name, sizeof tensor_name, "%s.weight", s->checkpoint);
    TRY(model_tensor(a, m, tensor_name, weight, expand, true, &s->weight));
    if (bias == 0)
        return STATUS_OK;
    snprintf(tensor_name, sizeof tensor_name, "%s.bias", s->checkpoint);
    return model_tensor(a, m, tensor_name, shape_1(bias), true, true, &s->bias);
}

status model_site(arena *a, model *m, site *s, site_kind kind, const char *name,
                  const char *checkpoint, int block, int64_t in, int64_t out, bool with_bias)
{
    *s = (site){.kind = kind, .block = block, .in = in, .out = out};
    TRY(name_site(a, s, name, checkpoint));
    return site_tensors(a, m, s, shape_2(out, in), false, with_bias ? out : 0);
}

status model_norm(arena *a, model *m, site *s, const char *name, const char *checkpoint, int block,
                  int64_t width, bool with_bias)
{
    *s = (site){.kind = SITE_NORM, .block = block, .in = width, .out = width};
    TRY(name_site(a, s, name, checkpoint));
    return site_tensors(a, m, s, shape_1(width), true, with_bias ? width : 0);
}

status model_embedding(arena *a, model *m, site *s, const char *name, const char *checkpoint, int64_t rows,
                       int64_t width)
{
    *s = (site){.kind = SITE_EMBEDDING, .block = -1, .in = rows, .out = width};
    TRY(name_site(a, s, name, checkpoint));
    return site_tensors(a, m, s, shape_2(rows, width), false, 0);
}

var *model_hidden(model *m, tape *t, stream *s)
{
    m->rows = (row_names){s->samples, s->positions};
    return m->family->hidden(m, t, s);
}

var *model_logits(model *m, tape *t, var *hidden)
{
    return site_linear(t, m->head_site, hidden);
}

var *model_loss(model *m, tape *t, var *hidden, var *rows, var *targets, var **each)
{
    var *x = ag_gather_rows(t, hidden, rows);

    tape_enter(t, "head");
    var *loss = m->head_site->hooks
                    ? ag_cross_entropy(t, model_logits(m, t, x), targets, each)
                    : ag_cross_entropy_head(t, x, weight_var(t, m->head_site->weight),
                                            weight_var(t, m->head_site->bias), targets, each);
    tape_leave(t);
    return loss;
}
