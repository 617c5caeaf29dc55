/* compose: a trunk with the sum of sparse deltas in its weights, as a folder; or the sum alone, as a delta */
#include "recipes/commands.h"
#include "recipes/merge_write.h"

#include "core/json.h"
#include "core/text.h"
#include "peft/delta.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double least_written = 1e-7; /* what the authors' files leave out */

typedef struct term {
    const char *path;
    double      weight;
    delta       d;
} term;

typedef struct sum {
    session        s;
    term          *terms;
    int            n, head; /* head: the term whose tensors trained whole are taken, -1: of none */
    const char    *origin; /* what the base itself was composed of, or NULL */
    model_weight **of; /* tensors of the trunk that are changed */
    int            n_changed;
} sum;

/* ---- arguments ---------------------------------------------------------------------------------------------- */

/* PATH or PATH:WEIGHT. */
static status read_term(arena *a, const char *text, term *out)
{
    const char *colon = strrchr(text, ':');
    char       *end = NULL;
    double      weight = colon && colon[1] ? strtod(colon + 1, &end) : 1;

    *out = (term){.path = text, .weight = 1};
    if (!end || *end)
        return STATUS_OK;
    if (!isfinite(weight))
        return fail(STATUS_USAGE, "%s: the weight is %g, must be finite", text, weight);
    out->path = arena_string(a, text, (size_t)(colon - text));
    out->weight = weight;
    return out->path ? STATUS_OK : STATUS_MEMORY;
}

static status read_terms(sum *x, const compose_request *q)
{
    TRY_TAKE(x->terms, &x->s.setup, q->n);
    for (x->n = 0; x->n < q->n; x->n++) {
        term *t = &x->terms[x->n];
        TRY(read_term(&x->s.setup, q->deltas[x->n], t));
        TRY_IN(delta_read(&x->s.setup, t->path, &t->d), "in delta %d", x->n + 1);
    }
    return STATUS_OK;
}

/* The first term with tensors that were trained whole, unless another one, or none, is named. */
static status choose_head(sum *x, const char *wish)
{
    x->head = -1;
    if (wish && strcmp(wish, "none") == 0)
        return STATUS_OK;
    for (int i = 0; i < x->n; i++)
        if (x->terms[i].d.n_dense > 0 && (!wish || strcmp(wish, x->terms[i].path) == 0)) {
            x->head = i;
            return STATUS_OK;
        }
    return wish ? fail(STATUS_USAGE, "--head is %s, must be none or a delta with tensors that were trained whole", wish)
                : STATUS_OK;
}

/* ---- what is changed ---------------------------------------------------------------------------------------- */

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* A delta belongs to the trunk that it was trained on, and to the one that this was composed of. */
static status check_base(sum *x, bool force)
{
    TRY(session_fingerprint(&x->s));
    TRY(json_string(x->s.w.config, COMPOSED_OF, false, &x->origin, x->s.base));
    for (int i = 0; i < x->n && !force; i++) {
        const delta *d = &x->terms[i].d;
        const char  *made_on = d->fingerprint;
        if (made_on && !same(made_on, x->s.fingerprint) && !same(d->origin, x->s.fingerprint) &&
            !same(made_on, x->origin) && !same(d->origin, x->origin))
            return fail(STATUS_FORMAT, "%s: was trained on another base model (SHA-256 %.12s..., %s is %.12s...); use that "
                        "base, or --force", x->terms[i].path, made_on, x->s.base, x->s.fingerprint);
    }
    return STATUS_OK;
}

static model_weight *find_full(model *m, const char *name)
{
    for (int i = 0; i < m->n_tensors; i++)
        if (strcmp(m->tensors[i].full, name) == 0)
            return &m->tensors[i];
    return NULL;
}

static status check_tensor(const model_weight *w, const delta_tensor *d, const char *path)
{
    const int64_t values = shape_count(w->value.s);

    if (d->s.n > 0 && !shape_equal(d->s, w->value.s))
        return fail(STATUS_SHAPE, "%s: %s is %s there, %s in the base", path, d->name, shape_text(d->s),
                    shape_text(w->value.s));
    if (d->n > 0 && d->at[d->n - 1] >= values)
        return fail(STATUS_SHAPE, "%s: %s changes value %d, the base has %lld", path, d->name, d->at[d->n - 1],
                    (long long)values);
    return STATUS_OK;
}

/* A copy of the tensor in its place, once. */
static status take_place(sum *x, model_weight *w)
{
    for (int i = 0; i < x->n_changed; i++)
        if (x->of[i] == w)
            return STATUS_OK;
    x->of[x->n_changed++] = w;
    return peft_in_place(x->s.p, 0, w, NULL);
}

static status place_dense(sum *x, const delta_dense *d, const char *path)
{
    model_weight *w = find_full(&x->s.m, d->name);

    if (!w)
        return fail(STATUS_FORMAT, "%s: %s was trained whole, but is no tensor of the base; leave it out with --head none",
                    path, d->name);
    if (!shape_equal(d->t.s, w->value.s))
        return fail(STATUS_SHAPE, "%s: %s is %s there, %s in the base", path, d->name, shape_text(d->t.s),
                    shape_text(w->value.s));
    return take_place(x, w);
}

static status place_term(sum *x, int number)
{
    const term *t = &x->terms[number];

    for (int i = 0; i < t->d.n; i++) {
        model_weight *w = find_full(&x->s.m, t->d.of[i].name);
        if (!w)
            return fail(STATUS_FORMAT, "%s: %s is no tensor of the base", t->path, t->d.of[i].name);
        TRY(check_tensor(w, &t->d.of[i], t->path));
        TRY(take_place(x, w));
    }
    for (int i = 0; number == x->head && i < t->d.n_dense; i++)
        TRY(place_dense(x, &t->d.dense[i], t->path));
    return STATUS_OK;
}

/* Copies of all tensors that are changed, in their places. */
static status place_all(sum *x)
{
    const peft_method *full = peft_find("full");
    const char        *words = model_words(&x->s.m) ? model_words(&x->s.m)->name : "*";
    void              *options = arena_take(&x->s.setup, 1, full->keys->size);

    TRY_TAKE(x->of, &x->s.setup, x->s.m.n_tensors);
    if (!options)
        return STATUS_MEMORY;
    memset(options, 0, full->keys->size);
    TRY(peft_add(x->s.p, "composed", full, options, &words, 1, false));
    for (int i = 0; i < x->n; i++)
        TRY(place_term(x, i));
    return peft_allocate(x->s.p, &x->s.tuned);
}

static float *values_of(const sum *x, const char *name)
{
    const model_weight *w = find_full((model *)(uintptr_t)&x->s.m, name);

    return w->value.v; /* the copy, since peft_allocate */
}

static void add_all(sum *x)
{
    for (int i = 0; i < x->n; i++)
        for (int k = 0; k < x->terms[i].d.n; k++)
            delta_add(&x->terms[i].d.of[k], x->terms[i].weight, values_of(x, x->terms[i].d.of[k].name));
    for (int i = 0; x->head >= 0 && i < x->terms[x->head].d.n_dense; i++) {
        const delta_dense *d = &x->terms[x->head].d.dense[i];
        memcpy(values_of(x, d->name), d->t.v, tensor_bytes(&d->t));
    }
}

/* ---- the sum as a delta ------------------------------------------------------------------------------------- */

/* Adds up what the terms do to one tensor. */
static status add_up(sum *x, const model_weight *w, arena *a, delta_tensor *out)
{
    const int64_t n = shape_count(w->value.s);
    arena        *work = &x->s.trunk;
    const size_t  mark = arena_mark(work);
    float        *v, *by;
    int32_t      *at;

    TRY_TAKE(v, work, n);
    memset(v, 0, (size_t)n * sizeof *v);
    for (int i = 0; i < x->n; i++)
        for (int k = 0; k < x->terms[i].d.n; k++)
            if (strcmp(x->terms[i].d.of[k].name, w->full) == 0)
                delta_add(&x->terms[i].d.of[k], x->terms[i].weight, v);
    *out = (delta_tensor){.name = w->full, .s = w->value.s};
    for (int64_t i = 0; i < n; i++)
        out->n += v[i] != 0;
    TRY_TAKE(at, a, out->n);
    TRY_TAKE(by, a, out->n);
    out->at = at;
    out->by = by;
    for (int64_t i = 0, k = 0; i < n; i++)
        if (v[i] != 0) {
            at[k] = (int32_t)i;
            by[k++] = v[i];
        }
    arena_rewind(work, mark);
    return STATUS_OK;
}

static status write_delta(sum *x, const char *path)
{
    delta d = {.path = path, .fingerprint = x->s.fingerprint[0] ? x->s.fingerprint : NULL};

    TRY_TAKE(d.of, &x->s.setup, x->n_changed + 1);
    for (int i = 0; i < x->n_changed; i++) {
        TRY(add_up(x, x->of[i], &x->s.setup, &d.of[d.n]));
        d.n += d.of[d.n].n > 0;
    }
    if (x->head >= 0) {
        d.n_dense = x->terms[x->head].d.n_dense;
        d.dense = x->terms[x->head].d.dense;
    }
    return delta_write(&x->s.setup, &d, least_written, path);
}

/* ---- the report --------------------------------------------------------------------------------------------- */

static int64_t places_of(const delta *d)
{
    int64_t n = 0;

    for (int i = 0; i < d->n; i++)
        n += d->of[i].n;
    return n;
}

static void print_text(const sum *x, FILE *out)
{
    for (int i = 0; i < x->n; i++)
        fprintf(out, "%s: weight %g, %lld values in %d tensors%s\n", x->terms[i].path, x->terms[i].weight,
                (long long)places_of(&x->terms[i].d), x->terms[i].d.n, i == x->head ? ", and its head" : "");
    for (int i = 0; i < x->n; i++)
        for (int k = i + 1; k < x->n; k++) {
            const delta_overlap o = delta_compare(&x->terms[i].d, x->terms[i].weight, &x->terms[k].d, x->terms[k].weight);
            fprintf(out, "%s and %s: %lld values in common, %lld of them pushed apart\n", x->terms[i].path,
                    x->terms[k].path, (long long)o.common, (long long)o.opposite);
        }
}

static cJSON *term_json(const term *t)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddStringToObject(o, "path", t->path);
    cJSON_AddNumberToObject(o, "weight", t->weight);
    cJSON_AddNumberToObject(o, "values", (double)places_of(&t->d));
    cJSON_AddNumberToObject(o, "tensors", t->d.n);
    return o;
}

static status print_json(const sum *x, const char *folder, FILE *out)
{
    cJSON *o = cJSON_CreateObject(), *deltas = cJSON_AddArrayToObject(o, "deltas"),
          *pairs = cJSON_AddArrayToObject(o, "overlaps");

    for (int i = 0; i < x->n; i++)
        cJSON_AddItemToArray(deltas, term_json(&x->terms[i]));
    for (int i = 0; i < x->n; i++)
        for (int k = i + 1; k < x->n; k++) {
            const delta_overlap v = delta_compare(&x->terms[i].d, x->terms[i].weight, &x->terms[k].d, x->terms[k].weight);
            cJSON              *pair = cJSON_CreateObject();
            cJSON_AddNumberToObject(pair, "first", i);
            cJSON_AddNumberToObject(pair, "second", k);
            cJSON_AddNumberToObject(pair, "common", (double)v.common);
            cJSON_AddNumberToObject(pair, "opposite", (double)v.opposite);
            cJSON_AddItemToArray(pairs, pair);
        }
    if (x->head >= 0)
        cJSON_AddNumberToObject(o, "head", x->head);
    else
        cJSON_AddNullToObject(o, "head");
    cJSON_AddStringToObject(o, "out", folder);
    char *text = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    if (!text)
        return fail(STATUS_MEMORY, "no memory for the report");
    fprintf(out, "%s\n", text);
    free(text);
    return STATUS_OK;
}

/* ---- the command -------------------------------------------------------------------------------------------- */

/* The base, with the head that the chosen term brings along. */
static status open_base(sum *x, const compose_request *q)
{
    head_wish head = {0};

    if (x->head >= 0 && !text_ends(x->terms[x->head].path, ".h5"))
        TRY(adapter_head(&x->s.setup, x->terms[x->head].path, &head));
    return session_base_for(&x->s, q->base, 0, false, &head);
}

/* So that what is trained on the sum can be told to belong to the base. */
static status write_sum(sum *x, const compose_request *q, merge_result *r)
{
    cJSON      *config = x->s.w.config;
    const char *origin = x->origin ? arena_string(&x->s.setup, x->origin, strlen(x->origin)) : x->s.fingerprint;

    if (!origin)
        return STATUS_MEMORY;
    cJSON_DeleteItemFromObjectCaseSensitive(config, COMPOSED_OF); /* x->origin lies in it */
    if (!cJSON_AddStringToObject(config, COMPOSED_OF, origin))
        return fail(STATUS_MEMORY, "no memory for config.json");
    return merge_write(&x->s, x->head >= 0 ? x->terms[x->head].path : NULL, q->out, q->type, r);
}

static status run(sum *x, const compose_request *q, FILE *out)
{
    const bool   alone = text_ends(q->out, ".h5");
    merge_result r;

    TRY(merge_check(q->out, alone ? NULL : q->type));
    if (alone && q->type)
        return fail(STATUS_USAGE, "--type is for folders; a .h5 file has f32");
    TRY(read_terms(x, q));
    TRY(choose_head(x, q->head));
    TRY(open_base(x, q));
    TRY(check_base(x, q->force));
    TRY(place_all(x));
    add_all(x);
    if (alone)
        TRY(write_delta(x, q->out));
    else
        TRY(write_sum(x, q, &r));
    if (q->json)
        return print_json(x, q->out, out);
    print_text(x, out);
    if (!alone)
        merge_print(&r, q->out, q->type, out);
    return STATUS_OK;
}

status command_compose(const compose_request *q, FILE *out)
{
    sum    x = {0};
    status s = session_open(&x.s);

    if (s == STATUS_OK)
        s = run(&x, q, out);
    session_close(&x.s);
    return s;
}
