/* model: what all families share */
#include "layers/model.h"

#include "core/json.h"
#include "core/quant.h"
#include "core/rng.h"
#include "core/text.h"

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

/* The number of blocks as the families' configs call it; what is wrong with it is said by the family. Of two stacks
 * the decoder may have as many as the encoder. */
static int config_blocks(const cJSON *config)
{
    const char *const names[] = {"num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers"};
    int               blocks = 1;

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(config, names[i]);
        if (cJSON_IsNumber(v) && v->valuedouble > blocks && v->valuedouble < 1e5)
            blocks = (int)v->valuedouble;
    }
    return blocks;
}

status model_open(arena *a, const weights *w, dtype real_type, model *out)
{
    const head_wish none = {0};

    return model_open_for(a, w, real_type, &none, out);
}

status model_open_for(arena *a, const weights *w, dtype real_type, const head_wish *wish, model *out)
{
    const char *type = NULL;

    CHECK(real_type == TYPE_F32 || real_type == TYPE_F64);
    *out = (model){.source = w, .real = real_type, .max_tensors = w->n + 16, .wish = *wish};
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

static bool is_norm(const char *name)
{
    return strstr(name, "norm") || strstr(name, "Norm") || strstr(name, "ln_");
}

/* Makes a tensor of a random trunk, or of a head. */
static status make_tensor(arena *a, const model *m, const char *name, shape s, tensor *out)
{
    const int64_t  n = shape_count(s);
    const uint64_t seed = m->source->random ? m->source->seed : m->wish.seed;
    double        deviation = 0.02;
    char          purpose[600];
    float        *v;

    TRY(json_double(m->source->config, "initializer_range", false, &deviation, "config.json"));
    if (m->opens_head && m->wish.deviation > 0)
        deviation = m->wish.deviation;
    TRY_TAKE(v, a, n);
    *out = (tensor){.s = s, .type = TYPE_F32, .v = v};
    snprintf(purpose, sizeof purpose, "weight:%s", name);
    if (s.n > 1 && !m->source->empty)
        rng_fill_normal(rng_key_for(seed, purpose), 0, (float)deviation, v, n);
    for (int64_t i = 0; s.n == 1 && i < n; i++)
        v[i] = is_norm(name) && !text_ends(name, ".bias") ? 1 : 0;
    return STATUS_OK;
}

/* The name, or the one that older files have for parts of a norm. */
static const weight *find_ending(const weights *w, const char *name)
{
    static const char *const endings[][2] = {{".weight", ".gamma"}, {".bias", ".beta"}};
    const weight            *found = weights_find(w, name);
    char                     old[512];

    for (size_t i = 0; i < COUNT_OF(endings) && !found; i++)
        if (text_ends(name, endings[i][0]) &&
            (size_t)snprintf(old, sizeof old, "%.*s%s", (int)(strlen(name) - strlen(endings[i][0])), name,
                             endings[i][1]) < sizeof old)
            found = weights_find(w, old);
    return found;
}

static const weight *find_name(const model *m, const char *name)
{
    const weight *found = find_ending(m->source, name);
    const size_t  n = m->prefix ? strlen(m->prefix) : 0;
    char          longer[512];

    if (found || n == 0)
        return found;
    if (strncmp(name, m->prefix, n) == 0)
        return find_ending(m->source, name + n);
    return (size_t)snprintf(longer, sizeof longer, "%s%s", m->prefix, name) < sizeof longer
               ? find_ending(m->source, longer)
               : NULL;
}

status model_tensor(arena *a, model *m, const char *name, shape want, bool expand, bool need,
                    model_weight **out)
{
    const weight *from = find_name(m, name);
    const bool    may_make = m->opens_head && m->wish.given && head_has_classes(m->wish.kind);
    weight        made = {0};

    if (from && may_make && !shape_equal(from->t.s, want))
        from = NULL; /* of another number of classes */
    *out = model_find(m, from ? from->name : name);
    if (*out)
        return STATUS_OK;
    const bool fresh = !from && may_make && !m->source->random;
    if (!from && (m->source->random || may_make) && need) {
        made.name = arena_string(a, name, strlen(name));
        if (!made.name)
            return STATUS_MEMORY;
        TRY(make_tensor(a, m, name, want, &made.t));
        from = &made;
    }
    if (!from)
        return need ? fail(STATUS_FORMAT, "tensor %s is missing", name) : STATUS_OK;
    if (from->turned)
        want = shape_2(want.d[1], want.d[0]);
    if (!shape_equal(from->t.s, want))
        return fail(STATUS_SHAPE, "tensor %s is %s, must be %s", name, shape_text(from->t.s),
                    shape_text(want));
    if (!quant_is_real(from->t.type))
        return fail(STATUS_FORMAT, "tensor %s is of type %s, must be a real type", name,
                    dtype_name(from->t.type));
    CHECK(m->n_tensors < m->max_tensors);

    model_weight *w = &m->tensors[m->n_tensors];
    *w = (model_weight){.name = from->name, .full = from->name, .value = from->t, .fresh = fresh,
                        .turned = from->turned};
    if (strcmp(name, from->name) != 0 && !(w->full = arena_string(a, name, strlen(name))))
        return STATUS_MEMORY;
    if (expand)
        TRY(expand_tensor(a, m, from, &w->value));
    m->n_tensors++;
    *out = w;
    return STATUS_OK;
}

status model_tensor_as(arena *a, model *m, const char *name, shape on_disk, shape want, bool expand,
                       model_weight **out)
{
    CHECK(shape_count(on_disk) == shape_count(want));
    TRY(model_tensor(a, m, name, on_disk, expand, true, out));
    (*out)->on_disk = on_disk;
    (*out)->value.s = want;
    return STATUS_OK;
}

/* Name and place of a site, without its weight. */
static status begin_site(arena *a, site *s, site_kind kind, const char *name, const char *checkpoint,
                         int block, int64_t in, int64_t out)
{
    *s = (site){.kind = kind, .block = block, .in = in, .out = out,
                .name = arena_string(a, name, strlen(name)),
                .checkpoint = arena_string(a, checkpoint, strlen(checkpoint))};
    return s->name && s->checkpoint ? STATUS_OK : STATUS_MEMORY;
}

static status find_weight(arena *a, model *m, site *s, shape want, bool expand)
{
    char name[512];

    snprintf(name, sizeof name, "%s.weight", s->checkpoint);
    return model_tensor(a, m, name, want, expand, true, &s->weight);
}

static status find_bias(arena *a, model *m, site *s)
{
    char name[512];

    snprintf(name, sizeof name, "%s.bias", s->checkpoint);
    return model_tensor(a, m, name, shape_1(s->out), true, true, &s->bias);
}

status model_site(arena *a, model *m, site *s, site_kind kind, const char *name,
                  const char *checkpoint, int block, int64_t in, int64_t out, bool with_bias)
{
    TRY(begin_site(a, s, kind, name, checkpoint, block, in, out));
    TRY(find_weight(a, m, s, shape_2(out, in), false));
    return with_bias ? find_bias(a, m, s) : STATUS_OK;
}

site *model_next_site(model *m)
{
    return &m->sites[m->n_sites++];
}

status model_layernorm(arena *a, model *m, const char *name, const char *checkpoint, int block, site **out)
{
    *out = model_next_site(m);
    return model_norm(a, m, *out, name, checkpoint, block, m->width, true);
}

status model_norm(arena *a, model *m, site *s, const char *name, const char *checkpoint, int block,
                  int64_t width, bool with_bias)
{
    TRY(begin_site(a, s, SITE_NORM, name, checkpoint, block, width, width));
    TRY(find_weight(a, m, s, shape_1(width), true));
    return with_bias ? find_bias(a, m, s) : STATUS_OK;
}

status model_embedding(arena *a, model *m, site *s, const char *name, const char *checkpoint, int64_t rows,
                       int64_t width)
{
    TRY(begin_site(a, s, SITE_EMBEDDING, name, checkpoint, -1, rows, width));
    return find_weight(a, m, s, shape_2(rows, width), false);
}

status model_table_as(arena *a, model *m, site *s, const char *name, const char *checkpoint, shape on_disk,
                      int64_t rows, int64_t width)
{
    TRY(begin_site(a, s, SITE_EMBEDDING, name, checkpoint, -1, rows, width));
    return model_tensor_as(a, m, checkpoint, on_disk, shape_2(rows, width), false, &s->weight);
}

status model_site_turned(arena *a, model *m, site *s, const char *name, const char *checkpoint, int block,
                         int64_t in, int64_t out)
{
    TRY(begin_site(a, s, SITE_LINEAR, name, checkpoint, block, in, out));
    TRY(find_weight(a, m, s, shape_2(in, out), false));
    if (!s->weight->turned && dtype_block(s->weight->value.type) != 1)
        return fail(STATUS_UNSUPPORTED, "tensor %s is of type %s, which cannot be turned",
                    s->weight->name, dtype_name(s->weight->value.type));
    if (!s->weight->turned)
        TRY(weights_turned(a, &s->weight->value, &s->weight->value));
    s->weight->turned = true;
    return find_bias(a, m, s);
}

status model_places(arena *a, model *m, int block, const char *attn, const char *mlp, block_places *out)
{
    const struct {
        site      **at;
        site_kind   kind;
        const char *name, *checkpoint;
        int64_t     width;
    } places[PLACES_PER_BLOCK] = {{&out->kv, SITE_KV, "kv", attn, m->kv_width},
                                 {&out->after_attn, SITE_BLOCK, "after_attn", attn, m->width},
                                 {&out->after_mlp, SITE_BLOCK, "after_mlp", mlp, m->width}};
    char name[64];

    for (int i = 0; i < PLACES_PER_BLOCK; i++) {
        *places[i].at = model_next_site(m);
        snprintf(name, sizeof name, "block.%d.%s", block, places[i].name);
        TRY(begin_site(a, *places[i].at, places[i].kind, name, places[i].checkpoint, block, places[i].width,
                       places[i].width));
    }
    return STATUS_OK;
}

site *model_words(const model *m)
{
    for (int i = 0; i < m->n_sites; i++)
        if (m->sites[i].kind == SITE_EMBEDDING)
            return &m->sites[i];
    return NULL;
}

/* ---- heads ---------------------------------------------------------------------------------------------- */

static status open_dense(arena *a, model *m, const head_layout *l, double eps)
{
    char name[512];
    site *s = &m->sites[m->n_sites];

    m->head.dense = s;
    m->head.eps = eps;
    m->n_sites++;
    TRY(model_site(a, m, s, l->dense_is_head ? SITE_HEAD : SITE_LINEAR, "head.dense", l->dense, -1,
                   m->width, m->width, true));
    if (!l->norm)
        return STATUS_OK;
    snprintf(name, sizeof name, "%s.weight", l->norm);
    TRY(model_tensor(a, m, name, shape_1(m->width), true, true, &m->head.norm));
    snprintf(name, sizeof name, "%s.bias", l->norm);
    return model_tensor(a, m, name, shape_1(m->width), true, true, &m->head.norm_bias);
}

/* Tied, a bias under a name of its own is the one in use; else the one beside the weight, if there are both. */
static status open_out_bias(arena *a, model *m, site *s, const char *own, bool tied)
{
    const shape want = shape_1(s->out);
    char        beside[512];

    snprintf(beside, sizeof beside, "%s.bias", s->checkpoint);
    if (!own)
        return model_tensor(a, m, beside, want, true, true, &s->bias);
    TRY(model_tensor(a, m, tied ? own : beside, want, true, false, &s->bias));
    if (s->bias)
        return STATUS_OK;
    return model_tensor(a, m, tied && !m->source->random ? beside : own, want, true, true, &s->bias);
}

static status open_head(arena *a, model *m, const head_layout *layout, model_weight *tied, activation *act, double eps)
{
    model_head *h = &m->head;
    int64_t     classes = m->words;

    if (head_has_classes(layout->kind)) {
        tied = NULL;
        TRY(head_classes(m->source->config, &m->wish, layout->kind, "config.json", &classes));
    }
    *h = (model_head){.kind = layout->kind, .classes = classes, .tied = tied != NULL, .last = layout->last,
                      .act = layout->act ? layout->act : act};
    if (layout->dense)
        TRY(open_dense(a, m, layout, eps));
    if (!layout->out)
        return STATUS_OK;
    h->out = model_next_site(m);
    if (tied) {
        TRY(begin_site(a, h->out, SITE_HEAD, "head", layout->out, -1, m->width, classes));
        h->out->weight = tied;
    } else
        TRY(model_site(a, m, h->out, SITE_HEAD, "head", layout->out, -1, m->width, classes, false));
    if (layout->bias && !layout->bias[0])
        return STATUS_OK;
    return open_out_bias(a, m, h->out, layout->bias, tied != NULL);
}

status model_open_head(arena *a, model *m, const head_layout *layout, model_weight *tied, activation *act, double eps)
{
    m->opens_head = true;
    TRY(open_head(a, m, layout, tied, act, eps));
    m->opens_head = false;
    return STATUS_OK;
}

/* Adds the name, or its first part, unless it is there. */
static void add_part(arena *a, const char *names[HEAD_PARTS], int *n, const char *checkpoint, bool first_part)
{
    const size_t length = first_part ? strcspn(checkpoint, ".") : strlen(checkpoint);

    for (int i = 0; i < *n; i++)
        if (strlen(names[i]) == length && memcmp(names[i], checkpoint, length) == 0)
            return;
    CHECK(*n < HEAD_PARTS);
    names[(*n)++] = arena_string(a, checkpoint, length);
}

int model_head_parts(arena *a, const model *m, const char *names[HEAD_PARTS])
{
    int n = 0;

    for (int i = 0; i < m->n_sites && head_has_classes(m->head.kind); i++) {
        const site *s = &m->sites[i];
        if (s->kind == SITE_HEAD || (s->weight && s->weight->fresh))
            add_part(a, names, &n, s->checkpoint, s->kind == SITE_HEAD);
    }
    return n;
}

bool model_in_head(const model *m, const model_weight *w)
{
    const site *s[] = {m->head.dense, m->head.out};

    for (size_t i = 0; i < COUNT_OF(s); i++)
        if (s[i] && (w == s[i]->weight || w == s[i]->bias))
            return true;
    return w == m->head.norm || w == m->head.norm_bias;
}

/* ---- recording ------------------------------------------------------------------------------------------- */

model_front model_in_front(const model *m)
{
    model_front front = {0};

    for (int i = 0; i < m->n_sites; i++) {
        int32_t n = 0;
        for (const site_hook *h = m->sites[i].hooks; h; h = h->next)
            n += h->front;
        if (m->sites[i].kind == SITE_EMBEDDING)
            front.tokens += n;
        else if (n > front.positions) /* every block has its own kv site */
            front.positions = n;
    }
    return front;
}

status model_front_labels(arena *a, const model *m, const int32_t **labels)
{
    const int32_t most = model_in_front(m).tokens;
    int32_t      *v, n = 0;
    bool          any = false;

    TRY_TAKE(v, a, most);
    for (int i = 0; i < m->n_sites; i++)
        for (const site_hook *h = m->sites[i].hooks; h; h = h->next)
            for (int32_t k = 0; k < h->front && m->sites[i].kind == SITE_EMBEDDING; k++) {
                v[n++] = h->front_labels ? h->front_labels[k] : -100;
                any |= v[n - 1] != -100;
            }
    *labels = any ? v : NULL;
    return STATUS_OK;
}

int32_t model_tasks(const model *m)
{
    int32_t tasks = 0;

    for (int i = 0; i < m->n_sites; i++)
        for (const site_hook *h = m->sites[i].hooks; h; h = h->next)
            if (h->tasks > 0 && (tasks == 0 || h->tasks < tasks))
                tasks = h->tasks;
    return tasks;
}

status model_check_task(const model *m, int64_t task)
{
    const int32_t tasks = model_tasks(m);

    if (tasks > 0 && (task < 0 || task >= tasks))
        return fail(STATUS_USAGE, "task is %lld, must be 0..%d: so many tasks has the module", (long long)task,
                    tasks - 1);
    return STATUS_OK;
}

var *model_hidden(model *m, tape *t, stream *s)
{
    CHECK((s->source != NULL) == m->has_source);
    m->rows = (row_names){s->samples, s->positions, m->first_position + model_in_front(m).positions, s->tasks,
                          s->q_offsets};
    return m->family->hidden(m, t, s);
}

var *model_loss(model *m, tape *t, var *hidden, var *rows, var *targets, var **each)
{
    return head_loss(t, &m->head, ag_gather_rows(t, hidden, rows), targets, each);
}
