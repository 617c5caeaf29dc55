/* sparse_delta: k values of the trunk are trained, chosen over all tensors of the sites together: weights, biases, rows of
 * embeddings; norms stay unless asked for (Ansell et al. 2022, LT-SFT). Which ones: at random, the largest, those of a
 * file, or those that a procedure selects. */
#include "peft/sparse_delta.h"

#include "core/json.h"
#include "core/quant.h"
#include "core/rng.h"
#include "core/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sparse_options {
    double             k, l1;
    const char        *mask, *file;
    bool               bias, norms, untie;
    const sparse_mask *chosen; /* by a procedure, or read from an adapter's file; NULL: by `mask` */
    arena             *a;      /* of options that are read from a file */
} sparse_options;

#define AT(member) offsetof(sparse_options, member)
static const key sparse_keys[] = {
    {.name = "k", .kind = KEY_REAL, .offset = AT(k), .preset = "0.05", .lo = 1e-9, .hi = 2147483647.0,
     .help = "Values that are trained, in all tensors together: a number, or below 1 a share of their values."},
    {.name = "mask", .kind = KEY_CHOICE, .offset = AT(mask), .preset = "random", .choices = "random|magnitude|file",
     .help = "Which ones: drawn by the seed, the largest ones, or those that are 1 in `mask_file`."},
    {.name = "mask_file", .kind = KEY_TEXT, .offset = AT(file),
     .help = "A .safetensors file with a tensor of 0 and 1 (U8, BOOL) for each of the trunk's that has chosen values."},
    {.name = "bias", .kind = KEY_BOOL, .offset = AT(bias), .preset = "yes", .help = "Biases of the sites may be chosen."},
    {.name = "norms", .kind = KEY_BOOL, .offset = AT(norms), .preset = "no", .help = "Norms may be chosen."},
    {.name = "untie", .kind = KEY_BOOL, .offset = AT(untie), .preset = "no",
     .help = "A head that shares the embedding's weight keeps it as it is."},
    {.name = "l1", .kind = KEY_REAL, .offset = AT(l1), .preset = "0", .lo = 0, .hi = 1e9,
     .help = "Weight in the loss of the trained values' summed distance from their start, divided by the number of all "
             "values of the model."},
};
static const key_table sparse_table = KEY_TABLE("sparse_delta", sparse_keys, sparse_options);

/* ---- the tensors ------------------------------------------------------------------------------------------ */

typedef struct sparse_targets {
    model_weight **w;
    int            n;
    int64_t        values;
} sparse_targets;

static void add_target(sparse_targets *x, model_weight *w)
{
    for (int i = 0; i < x->n; i++)
        if (x->w[i] == w)
            return;
    x->w[x->n++] = w;
    x->values += shape_count(w->value.s);
}

static bool takes(const sparse_options *o, const site *s)
{
    return s->kind != SITE_NORM || o->norms;
}

static void list_targets(const sparse_options *o, const site *const *sites, int n, sparse_targets *x)
{
    for (int i = 0; i < n; i++) {
        if (!takes(o, sites[i]))
            continue;
        add_target(x, sites[i]->weight);
        if (sites[i]->bias && o->bias)
            add_target(x, sites[i]->bias);
    }
}

static status find_targets(arena *a, const sparse_options *o, const site *const *sites, int n, sparse_targets *x)
{
    *x = (sparse_targets){0};
    TRY_TAKE(x->w, a, 2 * n + 1);
    list_targets(o, sites, n, x);
    if (x->n == 0)
        return fail(STATUS_USAGE, "sparse_delta: the %d sites are norms, which stay as they are without `norms: yes`", n);
    return STATUS_OK;
}

/* ---- which values ----------------------------------------------------------------------------------------- */

void sparse_delta_select(void *options, const sparse_mask *mask)
{
    ((sparse_options *)options)->chosen = mask;
}

double sparse_delta_k(const void *options)
{
    return ((const sparse_options *)options)->k;
}

bool sparse_delta_draws(const void *options)
{
    const sparse_options *o = options;

    return !o->chosen && !o->file && strcmp(o->mask, "random") == 0;
}

static status list_places(arena *a, const lottery_tensor *x, sparse_places *out)
{
    int32_t *at;
    int64_t  n = 0;

    for (int64_t i = 0; i < x->n; i++)
        n += x->mask[i] != 0;
    TRY_TAKE(at, a, n);
    *out = (sparse_places){x->name, n, x->n, at};
    for (int64_t i = 0, k = 0; i < x->n; i++)
        if (x->mask[i])
            at[k++] = (int32_t)i;
    return STATUS_OK;
}

status sparse_mask_of(arena *a, const lottery_tensor *x, int n, sparse_mask *out)
{
    *out = (sparse_mask){0};
    TRY_TAKE(out->of, a, n + 1);
    for (int i = 0; i < n; i++) {
        if (x[i].n > INT32_MAX)
            return fail(STATUS_UNSUPPORTED, "%s has %lld values; some of at most %d can be trained", x[i].name,
                        (long long)x[i].n, INT32_MAX);
        TRY(list_places(a, &x[i], &out->of[out->n]));
        out->n += out->of[out->n].n > 0;
    }
    return STATUS_OK;
}

/* What a value's score is: noise of the module's own, or how large it is. */
static status make_scores(arena *work, const peft_attach *at, const sparse_options *o, const model_weight *w,
                          lottery_tensor *x)
{
    float *v;
    char   purpose[600];

    *x = (lottery_tensor){.name = w->full, .n = shape_count(w->value.s)};
    TRY_TAKE(x->mask, work, x->n);
    memset(x->mask, 0, (size_t)x->n);
    TRY_TAKE(v, work, x->n);
    x->now = v;
    snprintf(purpose, sizeof purpose, "chosen:%s:%s", at->p->modules[at->module].name, w->full);
    if (strcmp(o->mask, "random") == 0)
        rng_fill_uniform(rng_key_for(at->p->seed, purpose), 0, 0, 1, v, x->n);
    else
        quant_expand(w->value.type, w->value.v, x->n, v);
    return STATUS_OK;
}

static status choose_by_scores(const peft_attach *at, const sparse_options *o, const sparse_targets *targets, arena *work,
                               sparse_mask *out)
{
    lottery_tensor *x;
    int64_t         k, chosen;

    TRY(lottery_count(o->k, targets->values, &k));
    TRY_TAKE(x, work, targets->n);
    for (int i = 0; i < targets->n; i++)
        TRY(make_scores(work, at, o, targets->w[i], &x[i]));
    TRY(lottery_select(x, targets->n, k, LOTTERY_CAP, &chosen));
    return sparse_mask_of(at->p->a, x, targets->n, out);
}

static const model_weight *target_named(const sparse_targets *targets, const char *name)
{
    for (int i = 0; i < targets->n; i++)
        if (strcmp(targets->w[i]->full, name) == 0 || strcmp(targets->w[i]->name, name) == 0)
            return targets->w[i];
    return NULL;
}

/* One tensor of a file of masks. */
static status read_mask(arena *work, const safetensors_entry *e, const sparse_targets *targets, const char *path,
                        lottery_tensor *x)
{
    const model_weight *w = target_named(targets, e->name);
    tensor              t = e->t;
    bool                known = !e->opaque;

    if (!w)
        return fail(STATUS_FORMAT, "%s: %s is no tensor of the module's sites", path, e->name);
    if (e->opaque)
        TRY(safetensors_widen(work, e, &t, &known));
    if (!known || t.type != TYPE_U8 || !shape_equal(t.s, w->value.s))
        return fail(STATUS_FORMAT, "%s: tensor %s is %s %s, must be U8 or BOOL %s", path, e->name, e->type_name,
                    shape_text(e->t.s), shape_text(w->value.s));
    *x = (lottery_tensor){.name = w->full, .n = shape_count(t.s)};
    TRY_TAKE(x->mask, work, x->n);
    memcpy(x->mask, e->opaque ? t.v : e->v, (size_t)x->n);
    for (int64_t i = 0; i < x->n; i++)
        if (x->mask[i] > 1)
            return fail(STATUS_FORMAT, "%s: value %lld of tensor %s is %d, must be 0 or 1", path, (long long)i, e->name,
                        x->mask[i]);
    return STATUS_OK;
}

static status choose_by_file(const peft_attach *at, const sparse_options *o, const sparse_targets *targets, arena *work,
                             sparse_mask *out)
{
    safetensors     f;
    lottery_tensor *x;

    if (!o->file)
        return fail(STATUS_USAGE, "sparse_delta: mask is file, but no mask_file is given");
    TRY(safetensors_open(work, o->file, &f));
    x = arena_take(work, (size_t)f.n + 1, sizeof *x);
    status s = x ? STATUS_OK : STATUS_MEMORY;
    for (int i = 0; i < f.n && s == STATUS_OK; i++)
        s = read_mask(work, &f.e[i], targets, o->file, &x[i]);
    if (s == STATUS_OK)
        s = sparse_mask_of(at->p->a, x, f.n, out);
    safetensors_close(&f);
    if (s == STATUS_OK && out->n == 0)
        s = fail(STATUS_FORMAT, "%s: no value is chosen", o->file);
    return s;
}

/* What was selected before must be tensors of the sites. */
static status check_chosen(const sparse_options *o, const sparse_targets *targets)
{
    for (int i = 0; i < o->chosen->n; i++) {
        const sparse_places *x = &o->chosen->of[i];
        const model_weight  *w = target_named(targets, x->name);
        if (!w)
            return fail(STATUS_FORMAT, "sparse_delta: %s has chosen values, but is no tensor of the module's sites",
                        x->name);
        if (x->of && x->of != shape_count(w->value.s))
            return fail(STATUS_SHAPE, "sparse_delta: %s has %lld values, the chosen ones are of %lld", x->name,
                        (long long)shape_count(w->value.s), (long long)x->of);
    }
    return STATUS_OK;
}

static status choose(const peft_attach *at, const sparse_options *o, const sparse_targets *targets, sparse_mask *out)
{
    arena work;

    if (o->chosen) {
        *out = *o->chosen;
        return check_chosen(o, targets);
    }
    TRY(arena_open(&work, "choosing", (size_t)1 << 40));
    const status s = strcmp(o->mask, "file") == 0 ? choose_by_file(at, o, targets, &work, out)
                                                  : choose_by_scores(at, o, targets, &work, out);
    arena_close(&work);
    return s;
}

/* ---- the module ------------------------------------------------------------------------------------------- */

static status sparse_open(const peft_attach *at, const void *options, const site *const *sites, int n, void **shared)
{
    const sparse_options *o = options;
    sparse_targets        targets;
    sparse_mask          *mask;

    TRY_TAKE(mask, at->p->a, 1);
    *mask = (sparse_mask){0};
    *shared = mask;
    if (n == 0)
        return STATUS_OK;
    TRY(find_targets(at->p->a, o, sites, n, &targets));
    TRY(choose(at, o, &targets, mask));
    return o->untie ? peft_untie(at->p) : STATUS_OK;
}

static status train_part(const peft_attach *at, model_weight *w)
{
    const sparse_mask *mask = at->shared;

    for (int i = 0; i < mask->n; i++)
        if (strcmp(mask->of[i].name, w->full) == 0 || strcmp(mask->of[i].name, w->name) == 0)
            return peft_placed(at->p, at->module, w) ? STATUS_OK
                                                     : peft_part(at, w, mask->of[i].at, mask->of[i].n);
    return STATUS_OK;
}

static status sparse_attach(const peft_attach *at, const void *options, void **state)
{
    const sparse_options *o = options;

    *state = NULL;
    if (!takes(o, at->s))
        return STATUS_OK;
    TRY(train_part(at, at->s->weight));
    return at->s->bias && o->bias ? train_part(at, at->s->bias) : STATUS_OK;
}

static int64_t sparse_count(const site *s, const void *options)
{
    (void)s, (void)options;
    return 0;
}

/* They are chosen over all sites together. */
static int64_t sparse_count_beside(const peft *p, int number, const void *options)
{
    const sparse_options *o = options;
    const module         *m = &p->modules[number];
    const size_t          mark = arena_mark(p->a);
    sparse_targets        targets;
    int64_t               n = 0;

    if (!o->chosen && strcmp(o->mask, "file") != 0) {
        const bool counted = find_targets(p->a, o, m->at, m->n_sites, &targets) == STATUS_OK &&
                             lottery_count(o->k, targets.values, &n) == STATUS_OK;
        arena_rewind(p->a, mark);
        CHECK(counted); /* the module was opened with them */
        return n;
    }
    for (int i = 0; i < p->n_tuned; i++)
        if (p->tensors[i].module == number && p->tensors[i].part)
            n += shape_count(p->tensors[i].part->places->value.s);
    return n;
}

static void sparse_extra_loss(tape *t, const peft *p, int number, const void *options, peft_losses *l)
{
    sparse_delta_penalty(t, p, number, ((const sparse_options *)options)->l1, l);
}

/* ---- the penalty ------------------------------------------------------------------------------------------- */

/* All values of the model; a head that parted from the embedding has its own. */
static double values_of(const peft *p)
{
    const site *head = p->m->head.out;
    double      n = 0;

    for (int i = 0; i < p->m->n_tensors; i++)
        n += (double)shape_count(p->m->tensors[i].value.s);
    if (head && model_find(p->m, head->weight->name) != head->weight)
        n += (double)shape_count(head->weight->value.s);
    return n;
}

void sparse_delta_penalty(tape *t, const peft *p, int number, double lambda, peft_losses *l)
{
    const double weight = lambda / values_of(p);

    for (int i = 0; i < p->n_tuned && lambda > 0; i++) {
        tuned *x = &p->tensors[i];
        if (x->module != number || (x->fixed && !x->part))
            continue;
        if (x->part)
            peft_add_loss(l, ag_distance(t, peft_var(t, p, x->part->values), tape_tensor(t, &x->part->start->value)),
                          weight);
        else if (x->place) {
            var *start = tape_tensor(t, &x->kept);
            peft_add_loss(l, ag_distance(t, peft_var(t, p, x), x->kept.type == TYPE_F32 ? start : ag_expand(t, start)),
                          weight);
        }
    }
}

/* ---- files ------------------------------------------------------------------------------------------------- */

static const char name_start[] = "base_model.model.", name_end[] = ".places";

static status read_places(arena *a, const safetensors_entry *e, const char *what, sparse_places *out)
{
    const size_t length = strlen(e->name) - (sizeof name_start - 1) - (sizeof name_end - 1);
    int32_t     *at;

    if (e->opaque || e->t.type != TYPE_I32 || e->t.s.n != 1 || e->t.s.d[0] < 1)
        return fail(STATUS_FORMAT, "%s: tensor %s is %s %s, must be i32 with one size, not empty", what, e->name,
                    e->type_name, shape_text(e->t.s));
    TRY_TAKE(at, a, e->t.s.d[0]);
    memcpy(at, e->v, e->bytes);
    *out = (sparse_places){.name = arena_string(a, e->name + sizeof name_start - 1, length), .n = e->t.s.d[0], .at = at};
    return out->name ? STATUS_OK : STATUS_MEMORY;
}

status sparse_mask_read(arena *a, const safetensors *f, const char *what, sparse_mask *out)
{
    *out = (sparse_mask){0};
    TRY_TAKE(out->of, a, f->n + 1);
    for (int i = 0; i < f->n; i++)
        if (strncmp(f->e[i].name, name_start, sizeof name_start - 1) == 0 && text_ends(f->e[i].name, name_end) &&
            strlen(f->e[i].name) >= sizeof name_start + sizeof name_end - 1)
            TRY(read_places(a, &f->e[i], what, &out->of[out->n++]));
    if (out->n == 0)
        return fail(STATUS_FORMAT, "%s: has no tensor whose name ends with %s", what, name_end);
    return STATUS_OK;
}

static status sparse_write_config(const void *options, cJSON *config)
{
    const sparse_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "SPARSE_DELTA");
    cJSON_AddBoolToObject(config, "bias", o->bias);
    cJSON_AddBoolToObject(config, "norms", o->norms);
    cJSON_AddBoolToObject(config, "untie", o->untie);
    cJSON_AddNumberToObject(config, "l1", o->l1);
    return STATUS_OK;
}

static status sparse_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    sparse_options *o = options;

    *o = (sparse_options){.mask = "file", .bias = true, .a = a};
    TRY(json_bool(config, "bias", false, &o->bias, what));
    TRY(json_bool(config, "norms", false, &o->norms, what));
    TRY(json_bool(config, "untie", false, &o->untie, what));
    TRY(json_double(config, "l1", false, &o->l1, what));
    if (!(o->l1 >= 0 && o->l1 <= 1e9))
        return fail(STATUS_FORMAT, "%s: l1 is %g, must be 0..1e9", what, o->l1);
    return STATUS_OK;
}

/* The places are in the file. */
static status sparse_read_shapes(const safetensors *f, void *options, const char *what)
{
    sparse_options *o = options;
    sparse_mask    *mask;

    TRY_TAKE(mask, o->a, 1);
    TRY(sparse_mask_read(o->a, f, what, mask));
    o->chosen = mask;
    return STATUS_OK;
}

const peft_method peft_sparse_delta = {
    .name = "sparse_delta",
    .sites = SITE_LINEAR | SITE_NORM | SITE_EMBEDDING,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES,
    .keys = &sparse_table,
    .help = "Trains a few values of the trunk, chosen over all of its tensors together (Ansell et al. 2022, LT-SFT).",
    .open = sparse_open,
    .attach = sparse_attach,
    .extra_loss = sparse_extra_loss,
    .count = sparse_count,
    .count_beside = sparse_count_beside,
    .write_config = sparse_write_config,
    .read_config = sparse_read_config,
    .read_shapes = sparse_read_shapes,
};
