/* trace: one packed run with everything kept that is asked for */
#include "recipes/trace.h"

#include "core/device.h"
#include "core/json.h"
#include "recipes/feed.h"

#include <string.h>

typedef struct tracer {
    arena        *a;
    model        *m;
    peft         *p;
    feed          f;
    tape         *t;
    arena         step;
    var          *logits, *pooled, *each, *loss, **hidden, **source_hidden; /* the latter: of an encoder */
    tensor        whole_rows; /* of every sequence, the row that a classifier reads */
    tensor       *trunk_grads; /* [n_gradients] */
    float        *tuned_grads;
    device_arena  there; /* where they are on a device */
    const trace_options *o;
} tracer;

/* ---- sequences --------------------------------------------------------------------------------- */

/* What numbers of a sequence's list may be: lo .. hi, and -100 where a list may have gaps. */
typedef struct limits {
    const char *key;
    int64_t     hi;
    bool        gaps;
} limits;

static status read_list(arena *a, const cJSON *sequence, const limits *l, const char *what, int32_t **out,
                        int64_t *n)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(sequence, l->key), *item;

    *n = -1;
    *out = NULL;
    if (!list || cJSON_IsNull(list))
        return STATUS_OK;
    if (!cJSON_IsArray(list))
        return fail(STATUS_FORMAT, "%s: %s of a sequence must be a list", what, l->key);
    *n = 0;
    TRY_TAKE(*out, a, cJSON_GetArraySize(list));
    cJSON_ArrayForEach(item, list)
    {
        const double v = cJSON_IsNumber(item) ? item->valuedouble : -1e300;
        if (v != (double)(int32_t)v || !((v >= 0 && v <= (double)l->hi) || (l->gaps && v == LABEL_NONE)))
            return fail(STATUS_FORMAT, "%s: value %lld of %s of a sequence must be 0..%lld%s", what,
                        (long long)*n, l->key, (long long)l->hi, l->gaps ? " or -100" : "");
        (*out)[(*n)++] = (int32_t)v;
    }
    return STATUS_OK;
}

/* A list that is as long as the ids, or absent. */
static status read_beside(arena *a, const cJSON *sequence, const limits *l, const char *what, int32_t n,
                          const int32_t **out)
{
    int32_t *v;
    int64_t  length;

    TRY(read_list(a, sequence, l, what, &v, &length));
    if (length >= 0 && length != n)
        return fail(STATUS_FORMAT, "%s: a sequence has %d ids and %lld %s", what, n, (long long)length,
                    l->key);
    *out = v;
    return STATUS_OK;
}

static status want_length(const model *m, int64_t n, const char *what)
{
    if (n <= 0)
        return fail(STATUS_FORMAT, "%s: a sequence has no ids", what);
    if (m->position_table && n > m->positions)
        return fail(STATUS_USAGE, "%s: a sequence of %lld tokens is longer than the model's %lld positions",
                    what, (long long)n, (long long)m->positions);
    return STATUS_OK;
}

/* The decoder's tokens: decoder_ids, or the labels behind a first one. */
static status read_decoder(arena *a, const cJSON *item, const char *what, const model *m, example *e)
{
    const limits given = {"decoder_ids", m->words - 1, false}, labels = {"labels", m->words - 1, true};
    int32_t     *v;
    int64_t      n, n_labels;

    TRY(read_list(a, item, &given, what, &v, &n));
    if (n < 0) {
        TRY(read_list(a, item, &labels, what, &v, &n_labels));
        n = n_labels;
        for (int64_t i = n - 1; i >= 0; i--)
            v[i] = i == 0 ? m->begin : v[i - 1] == LABEL_NONE ? m->pad : v[i - 1];
    }
    if (n <= 0)
        return fail(STATUS_FORMAT, "%s: a sequence has neither decoder_ids nor labels", what);
    e->n = (int32_t)n;
    e->ids = v;
    return STATUS_OK;
}

static status read_tokens(arena *a, const cJSON *item, const char *what, const model *m, example *e)
{
    const limits ids = {"ids", m->words - 1, false};
    const limits types = {"token_type_ids", m->types > 0 ? m->types - 1 : 0, false};
    int32_t     *v;
    int64_t      n;

    TRY(read_list(a, item, &ids, what, &v, &n));
    TRY(want_length(m, n, what));
    if (m->has_source) {
        e->n_source = (int32_t)n;
        e->source = v;
        return read_decoder(a, item, what, m, e);
    }
    e->n = (int32_t)n;
    e->ids = v;
    return read_beside(a, item, &types, what, e->n, &e->types);
}

static status cut_image(arena *a, const model *m, const tensor *pixels, const char *what, example *e)
{
    const patch_grid *g = &m->image;
    const shape       want = shape_3(g->channels, g->height, g->width);
    float            *patches, *values;

    if (!pixels || pixels->type != TYPE_F32 || !shape_equal(pixels->s, want))
        return fail(STATUS_FORMAT, "%s: an image is %s, must be f32 %s", what,
                    pixels ? shape_text(pixels->s) : "absent", shape_text(want));
    TRY_TAKE(patches, a, patches_count(g) * patches_values(g));
    values = arena_copy(a, pixels->v, tensor_bytes(pixels)); /* files do not align */
    if (!values)
        return STATUS_MEMORY;
    patches_cut(g, values, patches);
    e->n = (int32_t)(1 + patches_count(g));
    e->patches = patches;
    return STATUS_OK;
}

/* pixels: of this sequence, or NULL */
static status read_sequence(arena *a, const cJSON *item, const char *what, const model *m, const tensor *pixels,
                            example *e)
{
    const limits labels = {"labels", m->head.classes - 1, true};
    int64_t      label = -1, task = 0;

    *e = (example){.label = -1, .batch = -1};
    TRY(json_int(item, "task", false, 0, INT32_MAX, &task, what));
    TRY_IN(model_check_task(m, task), "in %s", what);
    e->task = (int32_t)task;
    TRY(m->image.channels > 0 ? cut_image(a, m, pixels, what, e) : read_tokens(a, item, what, m, e));
    if (m->head.kind == HEAD_NONE)
        return STATUS_OK;
    if (m->head.kind == HEAD_CLASSIFY) {
        TRY(json_int(item, "label", false, 0, m->head.classes - 1, &label, what));
        e->label = (int32_t)label;
        return STATUS_OK;
    }
    TRY(read_beside(a, item, &labels, what, e->n, &e->labels));
    if (!e->labels && m->head.kind == HEAD_CAUSAL)
        e->labels = e->ids;
    return STATUS_OK;
}

/* First rows of the sequences, or last ones. */
static status choose_rows(tracer *x, int n)
{
    const int32_t *offsets = x->f.b.offsets;
    int32_t       *rows;

    TRY_TAKE(rows, x->a, n);
    for (int i = 0; i < n; i++)
        rows[i] = x->m->head.last ? offsets[i + 1] - 1 : offsets[i];
    x->whole_rows = (tensor){.s = shape_1(n), .type = TYPE_I32, .v = rows};
    return STATUS_OK;
}

static status load_sequences(tracer *x, const cJSON *sequences, const char *what)
{
    const int    count = cJSON_GetArraySize(sequences);
    const cJSON *item;
    example     *e;
    int64_t      total = 0, source = 0;
    int          n = 0;
    const int32_t front = model_in_front(x->m).tokens;

    if (!cJSON_IsArray(sequences) || count == 0)
        return fail(STATUS_FORMAT, "%s: must hold a list of sequences", what);
    TRY_TAKE(e, x->a, count);
    cJSON_ArrayForEach(item, sequences)
    {
        TRY(read_sequence(x->a, item, what, x->m, x->o->pixels ? &x->o->pixels[n] : NULL, &e[n]));
        source += e[n].n_source;
        total += front + e[n++].n;
    }
    TRY(feed_open(&x->f, x->m, x->a, total, source, count));
    batch_clear(&x->f.b);
    x->f.b.place = feed_place(&x->m->head);
    for (int i = 0; i < n; i++)
        CHECK(batch_add(&x->f.b, &e[i], i, i));
    feed_load(&x->f);
    return choose_rows(x, n);
}

/* ---- gradients ----------------------------------------------------------------------------------- */

static tuned *find_tuned(const peft *p, const char *name)
{
    for (int i = 0; p && i < p->n_tuned; i++)
        if (tuned_is(&p->tensors[i], name) ||
            (strncmp(p->tensors[i].name, "base_model.model.", 17) == 0 &&
             strcmp(p->tensors[i].name + 17, name) == 0))
            return &p->tensors[i];
    return NULL;
}

static tensor tuned_gradients(const tracer *x)
{
    return (tensor){.s = shape_1(x->p->size), .type = TYPE_F32, .v = x->tuned_grads};
}

/* On a device they are one there too: a tensor may be reached by itself and as a part of them all. */
static status hold_gradients(tracer *x)
{
    const tensor all = tuned_gradients(x);
    device      *d = device_current();

    if (!d)
        return STATUS_OK;
    TRY(device_arena_open(d, &x->there, "gradients", device_arena_room(tensor_bytes(&all))));
    TRY(device_hold(&x->there, &all, TYPE_F32));
    device_push(d, &all);
    return device_check(d);
}

static status pull_gradients(const tracer *x)
{
    if (!x->there.base)
        return STATUS_OK;
    tensor all = tuned_gradients(x);
    device_pull(device_current(), &all);
    return device_check(device_current());
}

/* Makes the named trunk weights parameters for this run. */
static status want_gradients(tracer *x)
{
    TRY_TAKE(x->trunk_grads, x->a, x->o->n_gradients + 1);
    memset(x->trunk_grads, 0, sizeof *x->trunk_grads * (size_t)(x->o->n_gradients + 1));
    for (int i = 0; i < x->o->n_gradients; i++) {
        const char   *name = x->o->gradients[i];
        model_weight *w = model_find(x->m, name);
        float        *g;

        const tuned *own = find_tuned(x->p, name);
        if (own && own->fixed)
            return fail(STATUS_USAGE, "--grad: %s is a part of the adapter that is never trained", name);
        if (own)
            continue;
        if (!w)
            return fail(STATUS_USAGE, "--grad: there is no tensor '%s'", name);
        if (w->value.type != TYPE_F32)
            return fail(STATUS_UNSUPPORTED,
                        "--grad: %s is stored as %s; gradients need f32 (merge can expand it)", name,
                        dtype_name(w->value.type));
        TRY_TAKE(g, x->a, shape_count(w->value.s));
        memset(g, 0, (size_t)shape_count(w->value.s) * sizeof *g);
        x->trunk_grads[i] = (tensor){.s = w->value.s, .type = TYPE_F32, .v = g};
        w->grad = &x->trunk_grads[i];
    }
    if (x->p && x->p->size) {
        TRY_TAKE(x->tuned_grads, x->a, x->p->size);
        memset(x->tuned_grads, 0, (size_t)x->p->size * sizeof *x->tuned_grads);
        peft_use_gradients(x->p, x->tuned_grads);
        TRY(hold_gradients(x));
    }
    return STATUS_OK;
}

static void forget_gradients(const tracer *x)
{
    for (int i = 0; i < x->o->n_gradients; i++) {
        model_weight *w = model_find(x->m, x->o->gradients[i]);
        if (w && w->grad == &x->trunk_grads[i])
            w->grad = NULL;
    }
}

/* ---- the run ------------------------------------------------------------------------------------- */

/* The logits of all rows, or of the first rows, from which a pooler's output can be seen. */
static void record_head(tracer *x, var *last)
{
    tape       *t = x->t;
    const model_head *h = &x->m->head;

    if (h->dense && (h->kind == HEAD_NONE || h->kind == HEAD_CLASSIFY))
        x->pooled = head_features(t, h, ag_gather_rows(t, last, tape_input(t, &x->whole_rows)));
    if (h->kind == HEAD_CLASSIFY)
        x->logits = head_logits(t, h, ag_gather_rows(t, last, tape_input(t, &x->whole_rows)));
    else if (h->kind != HEAD_NONE)
        x->logits = head_logits(t, h, last);
    if (h->kind != HEAD_NONE)
        x->loss = model_loss(x->m, t, last, x->f.target_rows_var, x->f.target_ids_var, &x->each);
    else if (x->o->cotangent)
        x->loss = ag_sum(t, ag_mul(t, last, tape_input(t, x->o->cotangent)));
}

static void keep(tracer *x)
{
    var *const kept[] = {x->logits, x->pooled, x->each, x->loss};

    for (size_t i = 0; i < COUNT_OF(kept); i++)
        if (kept[i])
            tape_keep(x->t, kept[i]);
    for (int64_t i = 0; x->o->hidden && i < x->m->layers + 2; i++)
        if (x->hidden[i])
            tape_keep(x->t, x->hidden[i]);
    for (int64_t i = 0; x->o->hidden && x->m->has_source && i < x->m->source_layers + 2; i++)
        tape_keep(x->t, x->source_hidden[i]);
}

static status record_and_run(tracer *x)
{
    stream s = {0};
    tape  *t;

    TRY(tape_open(&x->t, TYPE_F32));
    t = x->t;
    TRY_TAKE(x->hidden, x->a, x->m->layers + 2);
    TRY_TAKE(x->source_hidden, x->a, x->m->source_layers + 2);
    s.hidden = x->hidden;
    feed_record(&x->f, t, &s);
    if (s.source)
        s.source->hidden = x->source_hidden;
    record_head(x, model_hidden(x->m, t, &s));
    keep(x);
    if (x->o->n_gradients > 0 && !x->loss)
        return fail(STATUS_USAGE, "--grad: a bare %s model has no loss", x->m->family->name);
    TRY(tape_plan(t, x->loss, x->o->how));
    TRY(arena_open(&x->step, "step", tape_step_bytes(t) + 4096));
    TRY(tape_bind(t, &x->step));
    tape_forward(t);
    if (x->o->n_gradients > 0)
        tape_backward(t);
    return tape_check(t);
}

/* ---- results --------------------------------------------------------------------------------------- */

/* `rows` rows of a value from `from` on, as a named copy for sequence n. */
static status add_rows(tracer *x, trace_result *r, const var *v, int n, int64_t from, int64_t rows,
                       const char *name)
{
    const int64_t     width = shape_last(v->t.s);
    safetensors_item *item = &r->items[r->n++];

    item->name = arena_printf(x->a, "seq%d.%s", n, name);
    item->t = (tensor){.s = shape_2(rows, width), .type = TYPE_F32};
    item->t.v = arena_copy(x->a, (const float *)v->t.v + from * width, (size_t)(rows * width) * sizeof(float));
    return item->name && item->t.v ? STATUS_OK : STATUS_MEMORY;
}

/* One row a sequence. */
static status add_one(tracer *x, trace_result *r, const var *v, int n, const char *name)
{
    TRY(add_rows(x, r, v, n, n, 1, name));
    r->items[r->n - 1].t.s = shape_1(shape_last(v->t.s));
    return STATUS_OK;
}

/* The states of a stack of so many layers, where there are any; stack: "", "encoder." */
static status add_hidden(tracer *x, trace_result *r, var *const *hidden, int64_t layers, const char *stack, int n,
                         const int32_t *offsets)
{
    const int64_t from = offsets[n] + (x->o->front ? 0 : x->f.b.front), rows = offsets[n + 1] - from;
    char          name[64];

    for (int64_t i = 0; x->o->hidden && i < layers + 2; i++) {
        if (i == layers + 1)
            snprintf(name, sizeof name, "%shidden.norm", stack);
        else
            snprintf(name, sizeof name, "%shidden.%d", stack, (int)i);
        if (hidden[i])
            TRY(add_rows(x, r, hidden[i], n, from, rows, name));
    }
    return STATUS_OK;
}

static status add_sequence(tracer *x, trace_result *r, int n)
{
    const batch  *b = &x->f.b;
    const int64_t from = b->offsets[n] + (x->o->front ? 0 : b->front), rows = b->offsets[n + 1] - from;
    const bool    two = x->m->has_source;

    if (x->m->head.kind == HEAD_CLASSIFY)
        TRY(add_one(x, r, x->logits, n, "logits"));
    else if (x->logits)
        TRY(add_rows(x, r, x->logits, n, from, rows, "logits"));
    if (x->pooled)
        TRY(add_one(x, r, x->pooled, n, "pooled"));
    TRY(add_hidden(x, r, x->hidden, x->m->layers, two ? "decoder." : "", n, b->offsets));
    return two ? add_hidden(x, r, x->source_hidden, x->m->source_layers, "encoder.", n, b->source.offsets)
               : STATUS_OK;
}

/* A gradient lies as its tensor does in the file. */
static status add_gradient(tracer *x, trace_result *r, int i)
{
    const tuned        *own = find_tuned(x->p, x->o->gradients[i]);
    const model_weight *w = own ? NULL : model_find(x->m, x->o->gradients[i]);
    tensor              g = own ? own->grad : x->trunk_grads[i];
    char               *name = arena_printf(x->a, "grad.%s", x->o->gradients[i]);

    g.v = arena_copy(x->a, g.v, tensor_bytes(&g));
    if (!g.v || !name)
        return STATUS_MEMORY;
    for (int64_t k = 0; k < shape_count(g.s); k++)
        ((float *)g.v)[k] = (float)(((float *)g.v)[k] / (double)r->targets);
    if ((w && w->turned) || (own && own->place && own->place->turned))
        TRY(weights_turned(x->a, &g, &g));
    if ((w && w->on_disk.n) || (own && own->place && own->place->on_disk.n))
        g.s = own ? own->place->on_disk : w->on_disk;
    r->items[r->n++] = (safetensors_item){.name = name, .t = {.s = g.s, .type = TYPE_F32, .v = g.v}};
    return STATUS_OK;
}

/* The loss of every target is added here in double; a bare trunk's comes as a sum. */
static status collect_loss(tracer *x, trace_result *r)
{
    const batch *b = &x->f.b;

    if (!x->each) {
        r->targets = x->loss ? b->n_tokens : 0;
        r->loss_sum = x->loss ? (double)*(const float *)x->loss->t.v : 0;
        r->loss = r->targets ? r->loss_sum / (double)r->targets : 0;
        return STATUS_OK;
    }
    r->targets = b->n_targets;
    r->each = arena_copy(x->a, x->each->t.v, (size_t)b->n_targets * sizeof(float));
    if (!r->each)
        return STATUS_MEMORY;
    for (int32_t i = 0; i < b->n_targets; i++)
        r->loss_sum += r->each[i];
    r->loss = b->n_targets ? r->loss_sum / b->n_targets : 0;
    return STATUS_OK;
}

static status collect(tracer *x, trace_result *r)
{
    const batch *b = &x->f.b;

    *r = (trace_result){0};
    TRY_TAKE(r->items, x->a, b->n_seqs * (x->m->layers + x->m->source_layers + 6) + x->o->n_gradients);
    TRY(collect_loss(x, r));
    for (int i = 0; i < b->n_seqs; i++)
        TRY(add_sequence(x, r, i));
    for (int i = 0; i < x->o->n_gradients && r->targets; i++)
        TRY(add_gradient(x, r, i));
    return STATUS_OK;
}

status trace_run(arena *a, model *m, peft *p, const cJSON *sequences, const char *what,
                 const trace_options *o, trace_result *out)
{
    tracer x = {.a = a, .m = m, .p = p, .o = o};
    status s;

    TRY(load_sequences(&x, sequences, what));
    s = want_gradients(&x);
    if (s == STATUS_OK)
        s = record_and_run(&x);
    if (s == STATUS_OK)
        s = pull_gradients(&x);
    if (s == STATUS_OK)
        s = collect(&x, out);
    forget_gradients(&x);
    tape_close(x.t);
    device_arena_close(&x.there);
    arena_close(&x.step);
    return s;
}
