/* golden LT-SFT: which values are chosen, the sparse phase from there, and sums of deltas. The dense phase is the
 * procedure's; what it ends with is in the cases. */
#include "tests/with_method_case.h"
#include "tests/with_options.h"

#include "core/file.h"
#include "peft/delta.h"
#include "peft/sparse_delta.h"
#include "recipes/trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ITERATIONS_MAX = 8 };

/* ---- units.json --------------------------------------------------------------------------------------------- */

/* The values of lists of lists, one after another, into [most]; sizes[] of each. */
static int flat(const cJSON *lists, double *v, int64_t *sizes, int most)
{
    int n = 0, k = 0;

    for (const cJSON *list = lists->child; list; list = list->next) {
        sizes[k] = 0;
        for (const cJSON *item = list->child; item && n < most; item = item->next, sizes[k]++)
            v[n++] = item->valuedouble;
        k++;
    }
    return k;
}

static void compare_selection(golden *g, const cJSON *c, const char *rule, lottery_ties ties)
{
    double         scores[64], want[64];
    float          now[64];
    uint8_t        masks[64] = {0};
    int64_t        sizes[8], chosen, wrong = 0, at = 0;
    lottery_tensor x[8];
    const int      n = flat(cJSON_GetObjectItem(c, "scores"), scores, sizes, 64);

    flat(cJSON_GetObjectItem(c, rule), want, sizes, 64);
    for (int t = 0; t < n; t++) {
        x[t] = (lottery_tensor){.name = arena_printf(g->a, "t%d", t), .n = sizes[t], .now = now + at, .mask = masks + at};
        at += sizes[t];
    }
    for (int64_t i = 0; i < at; i++)
        now[i] = (float)scores[i];
    if (lottery_select(x, n, cJSON_GetObjectItem(c, "k")->valueint, ties, &chosen) != STATUS_OK)
        golden_wrong(g, "%s", status_text());
    for (int64_t i = 0; i < at; i++)
        wrong += masks[i] != want[i];
    golden_exact(g, arena_printf(g->a, "%s of %lld values", rule, (long long)at), wrong);
}

static void compare_code(golden *g, const cJSON *c)
{
    const cJSON *sizes = cJSON_GetObjectItem(c, "shape"), *nonzero = cJSON_GetObjectItem(c, "nonzero");
    const cJSON *want = cJSON_GetObjectItem(c, "index_steps");
    const int    n = cJSON_GetArraySize(nonzero);
    shape        s = {.n = cJSON_GetArraySize(sizes)};
    int32_t      at[16], back[16];
    int64_t      steps[16], order[16], again[16], wrong = 0;

    for (int d = 0; d < s.n; d++)
        s.d[d] = cJSON_GetArrayItem(sizes, d)->valueint;
    for (int i = 0; i < n; i++) {
        at[i] = 0;
        for (int d = 0; d < s.n; d++)
            at[i] = at[i] * (int32_t)s.d[d] + cJSON_GetArrayItem(cJSON_GetArrayItem(nonzero, i), d)->valueint;
        for (int k = i; k > 0 && at[k - 1] > at[k]; k--) { /* ours rise */
            const int32_t other = at[k];
            at[k] = at[k - 1];
            at[k - 1] = other;
        }
    }
    if (delta_code(s, at, n, steps, order) != STATUS_OK || delta_decode(s, steps, n, back, again, "units") != STATUS_OK)
        golden_wrong(g, "%s", status_text());
    for (int i = 0; i < n; i++)
        wrong += steps[i] != cJSON_GetArrayItem(want, i)->valueint || back[i] != at[i] || order[again[i]] != i;
    golden_exact(g, "places as the authors' files code them", wrong);
}

static void run_units(golden *g, const char *folder)
{
    cJSON *json;

    golden_begin(g, folder, "units.json");
    status s = json_read(golden_path(folder, "units.json"), &json);
    if (s == STATUS_OK) {
        const cJSON *cases = cJSON_GetObjectItem(json, "selection");
        for (const cJSON *c = cases ? cases->child : NULL; c; c = c->next) {
            compare_selection(g, c, "keep", LOTTERY_KEEP);
            compare_selection(g, c, "cap", LOTTERY_CAP);
        }
        compare_code(g, cJSON_GetObjectItem(json, "codec"));
        cJSON_Delete(json);
    }
    golden_end(g, s);
}

/* ---- a case ------------------------------------------------------------------------------------------------- */

/* The phases of a case, with what was chosen before the newest. */
typedef struct phases {
    method_case     c;
    int             number; /* of the phase in case.json, from 1 */
    lottery_tensor *x;      /* what may be chosen, and is */
    int             n;
    int64_t         k[ITERATIONS_MAX];
    int             iterations;
    bool            words, given; /* masked words; a mask is given and there is no dense phase */
    double          l1;
} phases;

static bool maskable(const model_weight *w)
{
    return strncmp(w->full, "roberta.", 8) == 0 && !strstr(w->full, "LayerNorm");
}

/* Values of start.safetensors that are the trunk's own take its place: a task that begins with a language's delta. */
static status start_trunk(phases *x)
{
    method_case *c = &x->c;

    for (int i = 0; i < c->m.n_tensors; i++) {
        model_weight            *w = &c->m.tensors[i];
        const safetensors_entry *e = safetensors_find(&c->start, w->full);
        float                   *v;
        if (!e)
            continue;
        if (e->opaque || e->t.type != TYPE_F32 || !shape_equal(e->t.s, w->value.s))
            return fail(STATUS_FORMAT, "start.safetensors: %s must be f32 %s", w->full, shape_text(w->value.s));
        TRY_TAKE(v, c->g->a, shape_count(w->value.s));
        memcpy(v, e->v, e->bytes);
        w->value = (tensor){.s = w->value.s, .type = TYPE_F32, .v = v};
    }
    return STATUS_OK;
}

static status open_trunk(phases *x)
{
    method_case *c = &x->c;
    const char  *base, *objective;
    int64_t      classes = 0;

    TRY(json_string(c->settings, "base", true, &base, "settings"));
    TRY(json_string(c->settings, "objective", true, &objective, "settings"));
    x->words = strcmp(objective, "masked_lm") == 0;
    if (!x->words) {
        const bool tags = strcmp(objective, "tag") == 0;
        TRY(json_int(c->settings, tags ? "tags" : "classes", true, 1, 1000, &classes, "settings"));
        c->head = (head_wish){.given = true, .kind = tags ? HEAD_TAG : HEAD_CLASSIFY, .classes = classes};
    }
    TRY(weights_open(c->g->a, arena_printf(c->g->a, "%s/../../%s", c->folder, base), &c->w));
    TRY(model_open_for(c->g->a, &c->w, TYPE_F32, &c->head, &c->m));
    return start_trunk(x);
}

/* What can be chosen, nothing of it chosen yet. */
static status list_maskable(phases *x)
{
    int64_t size = 0, want = 0;

    TRY_TAKE(x->x, x->c.g->a, x->c.m.n_tensors);
    for (int i = 0; i < x->c.m.n_tensors; i++) {
        const model_weight *w = &x->c.m.tensors[i];
        lottery_tensor     *t = &x->x[x->n];
        if (!maskable(w))
            continue;
        *t = (lottery_tensor){.name = w->full, .n = shape_count(w->value.s), .start = w->value.v};
        TRY_TAKE(t->mask, x->c.g->a, t->n);
        memset(t->mask, 0, (size_t)t->n);
        size += t->n;
        x->n++;
    }
    TRY(json_int(x->c.settings, "maskable_size", true, 0, INT32_MAX, &want, "settings"));
    golden_exact(x->c.g, "values that can be chosen", size != want);
    return STATUS_OK;
}

/* Chooses by what the dense phase number `iteration` ended with. */
static status choose(phases *x, int iteration)
{
    golden *g = x->c.g;
    int64_t chosen;

    for (int i = 0; i < x->n; i++) {
        const char *const        one = arena_printf(g->a, "theta1.%s", x->x[i].name);
        const char *const        name = arena_printf(g->a, "theta1_%d.%s", iteration, x->x[i].name);
        const safetensors_entry *e = safetensors_find(&x->c.want, x->iterations > 1 ? name : one);
        float                   *v;
        if (!e || shape_count(e->t.s) != x->x[i].n || (e->t.type != TYPE_F32 && e->t.type != TYPE_F64))
            return fail(STATUS_FORMAT, "expect.safetensors: no %s of %lld values", x->iterations > 1 ? name : one,
                        (long long)x->x[i].n);
        TRY_TAKE(v, g->a, x->x[i].n);
        for (int64_t k = 0; k < x->x[i].n; k++)
            v[k] = e->t.type == TYPE_F32 ? ((const float *)e->v)[k] : (float)((const double *)e->v)[k];
        x->x[i].now = v;
    }
    return lottery_select_moved(x->x, x->n, x->k[iteration], LOTTERY_KEEP, &chosen);
}

/* The given mask, or the one that is expected. */
static status compare_mask(phases *x, const safetensors *f, const char *prefix, bool take)
{
    golden *g = x->c.g;

    for (int i = 0; i < x->n; i++) {
        const char *const        name = arena_printf(g->a, "%s%s", prefix, x->x[i].name);
        const safetensors_entry *e = safetensors_find(f, name);
        int64_t                  wrong = 0;
        if (!e || e->bytes != (size_t)x->x[i].n)
            return fail(STATUS_FORMAT, "no mask %s of %lld values", name, (long long)x->x[i].n);
        for (int64_t k = 0; k < x->x[i].n; k++)
            wrong += ((const uint8_t *)e->v)[k] != x->x[i].mask[k];
        if (take)
            memcpy(x->x[i].mask, e->v, e->bytes);
        else
            golden_exact(g, name, wrong);
    }
    return STATUS_OK;
}

static status take_mask(phases *x)
{
    const char *path;
    safetensors f;

    TRY(json_string(x->c.settings, "mask", true, &path, "settings"));
    TRY(safetensors_open(x->c.g->a, method_case_path(&x->c, x->c.g, path), &f));
    const status s = compare_mask(x, &f, "", true);
    safetensors_close(&f);
    return s;
}

/* The module on what is chosen, its values as the phase before left them. */
static status add_module(phases *x, const peft *before)
{
    static const char *const at[] = {"roberta.*"};
    method_case             *c = &x->c;
    arena                   *a = c->g->a;
    const char *const        head = x->words ? "lm_head" : "classifier";
    const peft_method       *method = peft_find("sparse_delta");
    cJSON                   *own = cJSON_CreateObject();
    sparse_mask             *mask;
    void                    *options;
    const char             **whole;

    cJSON_AddNumberToObject(own, "l1", x->l1);
    cJSON_AddBoolToObject(own, "untie", x->words);
    const status s = options_from_json(a, method->keys, own, NULL, &options);
    cJSON_Delete(own);
    TRY(s);
    TRY_TAKE(mask, a, 1);
    TRY_TAKE(whole, a, 1);
    *whole = head;
    TRY(sparse_mask_of(a, x->x, x->n, mask));
    sparse_delta_select(options, mask);
    TRY(peft_open(a, &c->m, 0, &c->p));
    TRY(peft_add(c->p, "main", method, options, at, 1, true));
    TRY(peft_tune_whole(c->p, 0, whole, 1, false));
    TRY(peft_allocate(c->p, &c->tuned));
    for (int i = 0; before && i < before->n_tuned; i++) {
        const tuned *was = &before->tensors[i], *is = NULL;
        for (int k = 0; k < c->p->n_tuned; k++)
            if (c->p->tensors[k].place == was->place && was->place)
                is = &c->p->tensors[k];
        if (is && !is->part)
            memcpy(is->value.v, was->value.v, tensor_bytes(&is->value));
        else if (is)
            for (int64_t k = 0; k < shape_count(is->part->values->value.s); k++)
                ((float *)is->part->values->value.v)[k] =
                    ((const float *)was->value.v)[((const int32_t *)is->part->places->value.v)[k]];
    }
    return peft_push(c->p);
}

static double expected(const phases *x, const char *what, int64_t at)
{
    const cJSON *list = cJSON_GetObjectItem(x->c.expect, arena_printf(x->c.g->a, "phase_%d.%s", x->number, what));
    const cJSON *item = cJSON_IsArray(list) ? cJSON_GetArrayItem(list, (int)at) : NULL;

    if (!cJSON_IsNumber(item))
        golden_wrong(x->c.g, "case.json: phase_%d.%s has no number %lld", x->number, what, (long long)at);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static double bound_of(const phases *x, const char *what)
{
    return method_case_bound(&x->c, arena_printf(x->c.g->a, "number:phase_%d.%s", x->number, what), true);
}

static bool is_noise(const phases *x, const char *name)
{
    const cJSON *list = cJSON_GetObjectItem(x->c.json, "zero_gradient_up_to_rounding");

    for (const cJSON *item = list ? list->child : NULL; item; item = item->next)
        if (strcmp(item->valuestring, name) == 0)
            return true;
    return false;
}

/* What flows to a part's values is what flows there in the whole tensor. */
static void compare_gathered(phases *x, const tuned *t, const float *got)
{
    golden                  *g = x->c.g;
    const char *const        name = arena_printf(g->a, "grad.%s", t->place->full);
    const safetensors_entry *e = safetensors_find(&x->c.want, name);
    const int32_t           *at = t->part->places->value.v;
    double                   worst = 0;

    if (!e || (e->t.type != TYPE_F32 && e->t.type != TYPE_F64)) {
        golden_wrong(g, "expect.safetensors has no %s", name);
        return;
    }
    for (int64_t i = 0; i < shape_count(t->part->places->value.s); i++) {
        const double want = e->t.type == TYPE_F32 ? (double)((const float *)e->v)[at[i]] : ((const double *)e->v)[at[i]];
        worst = fmax(worst, fabs((double)got[i] - want));
    }
    golden_number(g, name, worst, 0, fmax(method_case_bound(&x->c, name, true), 0x1p-22 * golden_largest(e)), false);
}

static status compare_gradients(phases *x, const step_report *r)
{
    float *flat;

    TRY_TAKE(flat, x->c.g->a, x->c.p->size);
    trajectory_gradient(&x->c.t, r, flat);
    for (int i = 0; i < x->c.p->n_tuned; i++) {
        const tuned *t = &x->c.p->tensors[i];
        tensor       whole = {.s = t->value.s, .type = TYPE_F32, .v = flat + t->first};
        if (t->place && is_noise(x, t->place->full))
            continue;
        if (t->part)
            compare_gathered(x, t, flat + t->part->values->first);
        else if (t->place)
            method_case_tensor(x->c.g, &x->c, arena_printf(x->c.g->a, "grad.%s", t->place->full), &whole);
    }
    return STATUS_OK;
}

static status after_step(trajectory *t, const step_report *r)
{
    phases *x = t->context;
    golden *g = x->c.g;

    if (r->step == 0 && x->number <= 2) /* the start */
        TRY(compare_gradients(x, r));
    golden_number(g, "loss and l1", r->loss, expected(x, "task_loss", r->step) + expected(x, "l1", r->step),
                  bound_of(x, "task_loss") + bound_of(x, "l1"), false);
    golden_number(g, "grad_norm", r->grad_norm, expected(x, "grad_norm", r->step), bound_of(x, "grad_norm"), false);
    golden_number(g, "lr", r->lr, expected(x, "lr", r->step), 1e-12, false);
    return STATUS_OK;
}

static status run_phase(phases *x)
{
    method_case *c = &x->c;

    c->t = (trajectory){.a = c->g->a, .tuned = &c->tuned, .m = &c->m, .p = c->p, .x = &c->x, .micro = 1,
                        .after = after_step, .context = x};
    TRY(trajectory_options(c->g->a, c->optim, "optim_sparse", &c->t.o));
    return trajectory_run(&c->t);
}

/* ---- what a phase ends with ----------------------------------------------------------------------------------- */

static void compare_part(phases *x, const tuned *t)
{
    golden           *g = x->c.g;
    const tuned_part *part = t->part;
    const char *const value = arena_printf(g->a, "phi_value.%s", t->place->full);
    const safetensors_entry *index = safetensors_find(&x->c.want, arena_printf(g->a, "phi_index.%s", t->place->full));
    const int64_t            n = shape_count(part->places->value.s);
    float                   *phi = arena_take(g->a, (size_t)n, sizeof *phi);
    const tensor             got = {.s = shape_1(n), .type = TYPE_F32, .v = phi};
    int64_t                  wrong = 0;

    if (!index || index->t.type != TYPE_I64 || shape_count(index->t.s) != n || !phi) {
        golden_wrong(g, "expect.safetensors has no phi_index.%s of %lld values", t->place->full, (long long)n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        wrong += ((const int64_t *)index->v)[i] != ((const int32_t *)part->places->value.v)[i];
        phi[i] = ((const float *)part->values->value.v)[i] - ((const float *)part->start->value.v)[i];
    }
    golden_exact(g, arena_printf(g->a, "phi_index.%s", t->place->full), wrong);
    if (is_noise(x, t->place->full))
        return;
    /* a value of size v is rounded to v 2^-24 in every step, and its delta with it */
    const float *v = part->values->value.v;
    double       largest = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, fabs((double)v[i]));
    golden_tensor(g, value, &got, safetensors_find(&x->c.want, value),
                  fmax(method_case_bound(&x->c, value, true), largest * 0x1p-22), true);
}

static status compare_end(phases *x)
{
    golden *g = x->c.g;
    int     parts = 0, wanted = 0;

    TRY(peft_pull(x->c.p));
    for (int i = 0; i < x->c.want.n; i++)
        wanted += strncmp(x->c.want.e[i].name, "phi_index.", 10) == 0;
    for (int i = 0; i < x->c.p->n_tuned; i++) {
        const tuned *t = &x->c.p->tensors[i];
        if (t->part) {
            compare_part(x, t);
            parts++;
        } else if (t->place)
            method_case_tensor(g, &x->c, arena_printf(g->a, "final.%s", t->place->full), &t->value);
    }
    golden_exact(g, "tensors with chosen values", parts != wanted);
    return method_case_logits(g, &x->c, "logits_final");
}

static status run_phases(phases *x)
{
    const peft *before = NULL;

    for (int i = 0; i < x->iterations; i++) {
        x->number = x->given ? 1 : 2 * i + 2;
        TRY(x->given ? take_mask(x) : choose(x, i));
        TRY(add_module(x, before));
        if (i == 0)
            TRY(method_case_logits(x->c.g, &x->c, "logits"));
        TRY(run_phase(x));
        TRY(peft_pull(x->c.p));
        peft_settle(x->c.p);
        if (i == x->iterations - 1)
            break;
        before = x->c.p;
        peft_detach(x->c.p);
    }
    if (!x->given)
        TRY(compare_mask(x, &x->c.want, "mask.", false));
    return compare_end(x);
}

static status read_settings(phases *x)
{
    const cJSON *each = cJSON_GetObjectItem(x->c.settings, "k_each");

    x->given = cJSON_GetObjectItem(x->c.settings, "mask") != NULL;
    x->iterations = x->given ? 1 : cJSON_GetArraySize(each);
    if (x->iterations < 1 || x->iterations > ITERATIONS_MAX)
        return fail(STATUS_FORMAT, "case.json: k_each has %d numbers, must be 1..%d", x->iterations, ITERATIONS_MAX);
    for (int i = 0; i < x->iterations && !x->given; i++)
        x->k[i] = (int64_t)cJSON_GetArrayItem(each, i)->valuedouble;
    return json_double(x->c.settings, "l1_sparse", true, &x->l1, "settings");
}

static status read_data(phases *x)
{
    const example_options o = {.length = 1 << 20, .overlong = "error", .loss_on = "all"};
    const ids_options     from = {.path = method_case_path(&x->c, x->c.g, "ids.jsonl")};
    records               r = {0};
    arena                 work;

    TRY(source_load(x->c.g->a, "ids", &from, &r));
    TRY(arena_open(&work, "work", (size_t)1 << 28));
    const status s = examples_make(x->c.g->a, &work, &r, NULL, NULL, NULL, &o, &x->c.x);
    arena_close(&work);
    x->c.x.place = feed_place(&x->c.m.head);
    return s;
}

/* ---- sums of deltas -------------------------------------------------------------------------------------------- */

/* Adds the delta that a case ends with to the trunk's values. */
static status add_phi(golden *g, const char *folder, const char *name, model *m)
{
    safetensors f;

    TRY(safetensors_open(g->a, arena_printf(g->a, "%s/../%s/expect.safetensors", folder, name), &f));
    for (int i = 0; i < m->n_tensors; i++) {
        const char *const        full = m->tensors[i].full;
        const safetensors_entry *index = safetensors_find(&f, arena_printf(g->a, "phi_index.%s", full));
        const safetensors_entry *value = safetensors_find(&f, arena_printf(g->a, "phi_value.%s", full));
        if (!index || !value)
            continue;
        const int64_t n = shape_count(index->t.s);
        int32_t      *at;
        float        *by;
        TRY_TAKE(at, g->a, n);
        TRY_TAKE(by, g->a, n);
        for (int64_t k = 0; k < n; k++) {
            at[k] = (int32_t)((const int64_t *)index->v)[k];
            by[k] = value->t.type == TYPE_F64 ? (float)((const double *)value->v)[k] : ((const float *)value->v)[k];
        }
        delta_add(&(delta_tensor){.name = full, .n = n, .at = at, .by = by}, 1, m->tensors[i].value.v);
    }
    safetensors_close(&f);
    return STATUS_OK;
}

static status compose(phases *x, const char *second, const char *prefix)
{
    method_case *c = &x->c;
    const char  *base;

    TRY(json_string(c->settings, "base", true, &base, "settings"));
    c->m = (model){0};
    c->head = (head_wish){.given = true, .kind = HEAD_TAG};
    const safetensors_entry *bias = safetensors_find(&c->start, "classifier.bias");
    c->head.classes = bias ? bias->t.s.d[0] : 0;
    TRY(weights_open(c->g->a, arena_printf(c->g->a, "%s/../../%s", c->folder, base), &c->w));
    TRY(model_open_for(c->g->a, &c->w, TYPE_F32, &c->head, &c->m));
    for (int i = 0; i < c->m.n_tensors; i++) { /* a copy that may be changed */
        tensor *t = &c->m.tensors[i].value;
        t->v = arena_copy(c->g->a, t->v, tensor_bytes(t));
        if (!t->v)
            return STATUS_MEMORY;
    }
    TRY(start_trunk(x));
    TRY(add_phi(c->g, c->folder, "task", &c->m));
    if (second)
        TRY(add_phi(c->g, c->folder, second, &c->m));
    TRY(peft_open(c->g->a, &c->m, 0, &c->p));
    TRY(read_data(x));
    const status s = method_case_logits(c->g, c, prefix);
    weights_close(&c->w);
    c->w = (weights){0};
    return s;
}

static status run_sums(phases *x)
{
    TRY(compose(x, NULL, "logits_task"));
    TRY(compose(x, "language_target", "logits_task_target"));
    return compose(x, "language_source", "logits_task_source");
}

/* ---- the handler ----------------------------------------------------------------------------------------------- */

static status run_case(phases *x)
{
    method_case *c = &x->c;

    TRY(json_read(golden_path(c->folder, "case.json"), &c->json));
    c->settings = cJSON_GetObjectItem(c->json, "settings");
    c->optim = cJSON_GetObjectItem(c->json, "optim_sparse");
    c->expect = cJSON_GetObjectItem(c->json, "expect");
    c->errors = cJSON_GetObjectItem(c->json, "f32_error");
    if (golden_has(c->folder, "start.safetensors"))
        TRY(safetensors_open(c->g->a, golden_path(c->folder, "start.safetensors"), &c->start));
    TRY(safetensors_open(c->g->a, golden_path(c->folder, "expect.safetensors"), &c->want));
    if (!c->optim)
        return run_sums(x);
    TRY(read_settings(x));
    TRY(open_trunk(x));
    TRY(read_data(x));
    TRY(list_maskable(x));
    return run_phases(x);
}

/* The path's last part. */
static bool is_called(const char *path, const char *name)
{
    char       *whole = realpath(path, NULL);
    const char *slash = whole ? strrchr(whole, '/') : NULL;
    const bool  is = slash && strcmp(slash + 1, name) == 0;

    free(whole);
    return is;
}

bool golden_lt_sft(golden *g, const char *folder)
{
    static const method_card card = {.folder = "lt_sft", .optim = "optim_sparse"};
    const size_t             mark = arena_mark(g->a);
    phases                   x = {.c = {.card = &card, .g = g}};

    if (is_called(folder, "lt_sft") && golden_has(folder, "units.json"))
        run_units(g, folder);
    if (!golden_has(folder, "case.json") || !is_called(golden_path(folder, ".."), "lt_sft"))
        return false;
    golden_begin(g, folder, "");
    x.c.folder = arena_string(g->a, folder, strlen(folder));
    status s = arena_open(&x.c.tuned, "tuned", (size_t)1 << 30);
    if (s == STATUS_OK)
        s = run_case(&x);
    golden_end(g, s);
    if (x.c.start.n)
        safetensors_close(&x.c.start);
    if (x.c.want.n)
        safetensors_close(&x.c.want);
    weights_close(&x.c.w);
    arena_close(&x.c.tuned);
    cJSON_Delete(x.c.json);
    arena_rewind(g->a, mark);
    return true;
}
