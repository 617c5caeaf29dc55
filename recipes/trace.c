/* trace: one packed run with everything kept that is asked for */
#include "recipes/trace.h"

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
    var          *logits, *each, **hidden;
    tensor       *trunk_grads; /* [n_gradients] */
    float        *tuned_grads;
    const trace_options *o;
} tracer;

/* ---- sequences --------------------------------------------------------------------------------- */

static status read_ids(arena *a, const cJSON *list, const char *what, int64_t lo, int64_t hi,
                       int32_t **out, int64_t *n)
{
    const cJSON *item;

    if (!cJSON_IsArray(list))
        return fail(STATUS_FORMAT, "%s: a sequence needs a list of ids", what);
    *n = 0;
    TRY_TAKE(*out, a, cJSON_GetArraySize(list));
    cJSON_ArrayForEach(item, list)
    {
        const double v = cJSON_IsNumber(item) ? item->valuedouble : -1e300;
        if (v != (double)(int32_t)v || !((v >= (double)lo && v <= (double)hi) || (lo < 0 && v == -100)))
            return fail(STATUS_FORMAT, "%s: value %lld of a sequence must be a token, %lld..%lld", what,
                        (long long)*n, (long long)(lo < 0 ? 0 : lo), (long long)hi);
        (*out)[(*n)++] = (int32_t)v;
    }
    return STATUS_OK;
}

static status read_sequence(arena *a, const cJSON *item, const char *what, int64_t words, example *e)
{
    const cJSON *labels = cJSON_GetObjectItemCaseSensitive(item, "labels");
    int32_t     *ids, *l;
    int64_t      n, n_labels;

    *e = (example){.label = -1, .batch = -1};
    TRY(read_ids(a, cJSON_GetObjectItemCaseSensitive(item, "ids"), what, 0, words - 1, &ids, &n));
    if (n == 0)
        return fail(STATUS_FORMAT, "%s: a sequence has no ids", what);
    if (labels && !cJSON_IsNull(labels)) {
        TRY(read_ids(a, labels, what, -1, words - 1, &l, &n_labels));
        if (n_labels != n)
            return fail(STATUS_FORMAT, "%s: a sequence has %lld ids and %lld labels", what,
                        (long long)n, (long long)n_labels);
    } else
        l = ids;
    e->n = (int32_t)n;
    e->ids = ids;
    e->labels = l;
    return STATUS_OK;
}

static status load_sequences(tracer *x, const cJSON *sequences, const char *what)
{
    const int    count = cJSON_GetArraySize(sequences);
    const cJSON *item;
    example     *e;
    int64_t      total = 0;
    int          n = 0;

    if (!cJSON_IsArray(sequences) || count == 0)
        return fail(STATUS_FORMAT, "%s: must hold a list of sequences", what);
    TRY_TAKE(e, x->a, count);
    cJSON_ArrayForEach(item, sequences)
    {
        TRY(read_sequence(x->a, item, what, x->m->words, &e[n]));
        total += e[n++].n;
    }
    TRY(feed_open(&x->f, x->a, total, count));
    x->f.b.n_tokens = x->f.b.n_seqs = x->f.b.n_targets = 0;
    for (int i = 0; i < n; i++)
        CHECK(batch_add(&x->f.b, &e[i], i, i));
    feed_load(&x->f);
    return STATUS_OK;
}

/* ---- gradients ----------------------------------------------------------------------------------- */

static tuned *find_tuned(const peft *p, const char *name)
{
    for (int i = 0; p && i < p->n_tuned; i++)
        if (strcmp(p->tensors[i].name, name) == 0 ||
            (strncmp(p->tensors[i].name, "base_model.model.", 17) == 0 &&
             strcmp(p->tensors[i].name + 17, name) == 0))
            return &p->tensors[i];
    return NULL;
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

static status record_and_run(tracer *x)
{
    stream s = {0};
    tape  *t;

    TRY(tape_open(&x->t, TYPE_F32));
    t = x->t;
    TRY_TAKE(x->hidden, x->a, x->m->layers + 2);
    s.hidden = x->hidden;
    feed_record(&x->f, t, &s);
    var *last = model_hidden(x->m, t, &s);
    x->logits = model_logits(x->m, t, last);
    var *loss = model_loss(x->m, t, last, x->f.target_rows_var, x->f.target_ids_var, &x->each);
    tape_keep(t, x->logits);
    tape_keep(t, x->each);
    for (int64_t i = 0; x->o->hidden && i < x->m->layers + 2; i++)
        tape_keep(t, x->hidden[i]);
    TRY(tape_plan(t, loss, x->o->how));
    TRY(arena_open(&x->step, "step", tape_step_bytes(t) + 4096));
    TRY(tape_bind(t, &x->step));
    tape_forward(t);
    if (x->o->n_gradients > 0)
        tape_backward(t);
    return tape_check(t);
}

/* ---- results --------------------------------------------------------------------------------------- */

/* Rows of sequence n of a value, as a named copy. */
static status add_rows(tracer *x, trace_result *r, const var *v, int n, const char *name)
{
    const int32_t *offsets = x->f.b.offsets;
    const int64_t  width = shape_last(v->t.s), rows = offsets[n + 1] - offsets[n];
    safetensors_item *item = &r->items[r->n++];

    item->name = arena_printf(x->a, "seq%d.%s", n, name);
    item->t = (tensor){.s = shape_2(rows, width), .type = TYPE_F32};
    item->t.v = arena_copy(x->a, (const float *)v->t.v + offsets[n] * width,
                           (size_t)(rows * width) * sizeof(float));
    return item->name && item->t.v ? STATUS_OK : STATUS_MEMORY;
}

static status add_sequence(tracer *x, trace_result *r, int n)
{
    const int64_t layers = x->m->layers;
    char          name[32];

    TRY(add_rows(x, r, x->logits, n, "logits"));
    for (int64_t i = 0; x->o->hidden && i < layers + 2; i++) {
        if (i == layers + 1)
            strcpy(name, "hidden.norm");
        else
            snprintf(name, sizeof name, "hidden.%d", (int)i);
        TRY(add_rows(x, r, x->hidden[i], n, name));
    }
    return STATUS_OK;
}

static status add_gradient(tracer *x, trace_result *r, int i)
{
    const tuned *own = find_tuned(x->p, x->o->gradients[i]);
    const tensor g = own ? own->grad : x->trunk_grads[i];
    float       *v = arena_copy(x->a, g.v, tensor_bytes(&g));
    char        *name = arena_printf(x->a, "grad.%s", x->o->gradients[i]);

    if (!v || !name)
        return STATUS_MEMORY;
    for (int64_t k = 0; k < shape_count(g.s); k++)
        v[k] = (float)(v[k] / (double)r->targets);
    r->items[r->n++] = (safetensors_item){.name = name, .t = {.s = g.s, .type = TYPE_F32, .v = v}};
    return STATUS_OK;
}

static status collect(tracer *x, trace_result *r)
{
    const batch *b = &x->f.b;

    *r = (trace_result){.targets = b->n_targets};
    TRY_TAKE(r->items, x->a, b->n_seqs * (x->m->layers + 3) + x->o->n_gradients);
    r->each = arena_copy(x->a, x->each->t.v, (size_t)b->n_targets * sizeof(float));
    if (!r->each)
        return STATUS_MEMORY;
    for (int32_t i = 0; i < b->n_targets; i++)
        r->loss_sum += r->each[i];
    r->loss = b->n_targets ? r->loss_sum / b->n_targets : 0;
    for (int i = 0; i < b->n_seqs; i++)
        TRY(add_sequence(x, r, i));
    for (int i = 0; i < x->o->n_gradients && b->n_targets; i++)
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
        s = collect(&x, out);
    forget_gradients(&x);
    tape_close(x.t);
    arena_close(&x.step);
    return s;
}
