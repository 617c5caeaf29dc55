/* with_method_case: see the header */
#include "tests/with_method_case.h"

#include "tests/with_options.h"

#include "core/file.h"
#include "core/text.h"
#include "recipes/trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- names and tolerances ------------------------------------------------------------------------ */

static const cJSON *member(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}

const char *method_case_path(const method_case *c, golden *g, const char *name)
{
    const char *own = path_join(g->a, c->folder, name);

    return own && path_exists(own) ? own : arena_printf(g->a, "%s/../%s", c->folder, name);
}

static const char *renamed(arena *a, const char *name, const method_name *n)
{
    return arena_printf(a, "%.*s%s", (int)(strlen(name) - strlen(n->ours)), name, n->theirs);
}

static bool case_has(const method_case *c, arena *a, const char *name)
{
    return safetensors_find(&c->start, name) || safetensors_find(&c->want, arena_printf(a, "grad.%s", name));
}

const char *method_case_name(const method_case *c, arena *a, const tuned *x, bool *turned)
{
    static const char front[] = "base_model.model.";
    const char *name = x->name + (strncmp(x->name, front, sizeof front - 1) == 0 ? sizeof front - 1 : 0);
    const char *found = NULL;

    if (turned)
        *turned = false;
    for (int i = 0; i < c->card->n_names; i++) {
        const method_name *n = &c->card->names[i];
        const char *theirs = text_ends(name, n->ours) ? renamed(a, name, n) : NULL;
        if (!theirs || (found && !case_has(c, a, theirs)))
            continue;
        found = theirs;
        if (turned)
            *turned = n->turned;
    }
    return found ? found : name;
}

/* A matrix the other way round; others as they are. */
static status turn(arena *a, const tensor *x, bool turned, tensor *out)
{
    *out = *x;
    return turned ? weights_turned(a, x, out) : STATUS_OK;
}

double method_case_bound(const method_case *c, const char *name, bool absolute)
{
    char group[256];
    double error = 0;

    snprintf(group, sizeof group, "%.*s", (int)strcspn(name, "."), name);
    if (strncmp(name, "number:", 7) == 0)
        snprintf(group, sizeof group, "%s", name);
    json_double(member(c->errors, group), absolute ? "abs" : "rel_to_max", false, &error, "f32_error");
    const bool number = strncmp(name, "number:", 7) == 0;
    const bool last = strcmp(group, "final") == 0 || strcmp(group, "logits_final") == 0;
    return ((number || last) && c->card->varies > 0 ? c->card->varies : 10) * error;
}

/* Both of a group's tolerances hold; neither is smaller than a few roundings of the largest value. */
void method_case_tensor(golden *g, const method_case *c, const char *name, const tensor *got)
{
    const safetensors_entry *want = safetensors_find(&c->want, name);
    const double largest = want ? golden_largest(want) : 0, least = 0x1p-22;

    if (!want)
        return;
    golden_tensor(g, name, got, want, fmax(method_case_bound(c, name, true), least * largest), true);
    golden_tensor(g, name, got, want, fmax(method_case_bound(c, name, false), least), false);
}

/* A number in double (a rate) may be off by 1e-9. */
void method_case_number(golden *g, const method_case *c, const char *name, int64_t at, double got)
{
    const cJSON *want = member(c->expect, name);

    if (cJSON_IsArray(want))
        want = cJSON_GetArrayItem(want, (int)at);
    if (!member(c->expect, name))
        return;
    if (!cJSON_IsNumber(want)) {
        golden_wrong(g, "case.json: %s has no number %lld", name, (long long)at);
        return;
    }
    const double bound = method_case_bound(c, arena_printf(g->a, "number:%s", name), true);
    /* a number of f32 has that many digits: not below two roundings of it */
    golden_number(g, name, got, want->valuedouble, fmax(bound, ldexp(fabs(want->valuedouble), -22)), false);
}

/* Softmax does not see it: its gradient is rounding noise. */
static bool is_noise(const method_case *c, const char *name)
{
    const cJSON *list = member(c->json, "zero_gradient_up_to_rounding");

    for (const cJSON *item = list ? list->child : NULL; item; item = item->next)
        if (cJSON_IsString(item) && strcmp(item->valuestring, name) == 0)
            return true;
    return false;
}

/* ---- modules ------------------------------------------------------------------------------------- */

status method_case_options(arena *a, const method_case *c, const peft_method *method, const char *const (*pairs)[2],
                           void **options)
{
    cJSON *own = cJSON_CreateObject();

    for (int i = 0; pairs[i][0]; i++) {
        const cJSON *item = member(c->settings, pairs[i][1]);
        if (item)
            cJSON_AddItemToObject(own, pairs[i][0], cJSON_Duplicate(item, true));
    }
    const status s = options_from_json(a, method->keys, own, NULL, options);
    cJSON_Delete(own);
    return s;
}

status method_case_add(golden *g, method_case *c, const peft_method *method, const void *options, const char *list)
{
    key_texts at;

    TRY(json_texts(c->settings, list, g->a, &at, "settings"));
    return peft_add(c->p, "main", method, options, at.v, at.n, true);
}

static status fill_tensor(golden *g, method_case *c, const tuned *x, bool *used)
{
    bool turned;
    const char *name = method_case_name(c, g->a, x, &turned);
    const safetensors_entry *e = safetensors_find(&c->start, name);
    tensor here;

    if (!e) {
        if (!x->fixed && !x->place && !c->card->fills)
            golden_wrong(g, "start.safetensors has no %s", name);
        return STATUS_OK;
    }
    if (e->opaque || e->t.type != TYPE_F32 || shape_count(e->t.s) != shape_count(x->value.s))
        return fail(STATUS_FORMAT, "start.safetensors: %s is %s %s, must be f32 %s", name, e->type_name,
                    shape_text(e->t.s), shape_text(x->value.s));
    TRY(turn(g->a, &(tensor){.s = e->t.s, .type = TYPE_F32, .v = (void *)(uintptr_t)e->v}, turned, &here));
    memcpy(x->value.v, here.v, e->bytes);
    used[e - c->start.e] = true;
    return STATUS_OK;
}

status method_case_starts(golden *g, const method_case *c, const char *end, double bound)
{
    for (int i = 0; i < c->p->n_tuned; i++) {
        bool turned;
        const char *name = method_case_name(c, g->a, &c->p->tensors[i], &turned);
        tensor got;
        if (!text_ends(name, end))
            continue;
        TRY(turn(g->a, &c->p->tensors[i].value, turned, &got));
        golden_tensor(g, name, &got, safetensors_find(&c->start, name), bound, false);
    }
    return STATUS_OK;
}

static status fill_values(golden *g, method_case *c)
{
    bool *used;

    TRY(peft_allocate(c->p, &c->tuned));
    if (c->card->started)
        TRY(c->card->started(g, c));
    TRY_TAKE(used, g->a, c->start.n + 1);
    memset(used, 0, (size_t)c->start.n * sizeof *used);
    for (int i = 0; i < c->p->n_tuned; i++)
        TRY(fill_tensor(g, c, &c->p->tensors[i], used));
    for (int i = 0; i < c->start.n; i++)
        if (!used[i])
            golden_wrong(g, "start.safetensors: %s is no tensor of the modules", c->start.e[i].name);
    return peft_push(c->p);
}

/* ---- data ---------------------------------------------------------------------------------------- */

static status read_data(golden *g, method_case *c)
{
    const example_options o = {.length = 1 << 20, .overlong = "error", .loss_on = "all"};
    const char *ids = NULL;
    ids_options from;
    records r = {0};
    arena work;

    TRY(json_string(c->settings, "ids", false, &ids, "settings"));
    if (!ids)
        return STATUS_OK;
    from.path = method_case_path(c, g, ids);
    TRY(source_load(g->a, "ids", &from, &r));
    TRY(arena_open(&work, "work", (size_t)1 << 28));
    const status s = examples_make(g->a, &work, &r, NULL, NULL, NULL, &o, &c->x);
    arena_close(&work);
    c->x.place = feed_place(&c->m.head);
    c->x.front = model_in_front(&c->m).tokens;
    return s;
}

static void add_ints(cJSON *o, const char *key, const int32_t *v, int32_t n)
{
    if (v)
        cJSON_AddItemToObject(o, key, cJSON_CreateIntArray(v, n));
}

/* The sequences of the first micro-batch, as trace takes them. */
cJSON *method_case_sequences(const method_case *c)
{
    cJSON *list = cJSON_CreateArray();

    for (int64_t i = 0; i < c->x.n && c->x.v[i].batch == c->x.v[0].batch; i++) {
        const example *e = &c->x.v[i];
        cJSON *o = cJSON_CreateObject();
        add_ints(o, "ids", e->ids, e->n);
        add_ints(o, "labels", e->labels, e->n);
        cJSON_AddNumberToObject(o, "task", e->task);
        if (e->label >= 0)
            cJSON_AddNumberToObject(o, "label", e->label);
        cJSON_AddItemToArray(list, o);
    }
    return list;
}

static const tensor *traced(const trace_result *r, const char *name)
{
    for (int i = 0; i < r->n; i++)
        if (strcmp(r->items[i].name, name) == 0)
            return &r->items[i].t;
    return NULL;
}

status method_case_logits(golden *g, method_case *c, const char *prefix)
{
    const trace_options o = {0};
    trace_result r;

    if (!safetensors_find(&c->want, arena_printf(g->a, "%s.0", prefix)))
        return STATUS_OK;
    cJSON *sequences = method_case_sequences(c);
    const status s = trace_run(g->a, &c->m, c->p, sequences, c->folder, &o, &r);
    cJSON_Delete(sequences);
    TRY(s);
    for (int i = 0;; i++) {
        const char *name = arena_printf(g->a, "%s.%d", prefix, i);
        const tensor *got = traced(&r, arena_printf(g->a, "seq%d.logits", i));
        if (got && !safetensors_find(&c->want, name))
            golden_wrong(g, "expect.safetensors has no %s", name);
        if (!got)
            return STATUS_OK;
        method_case_tensor(g, c, name, got);
    }
}

/* ---- the trajectory ------------------------------------------------------------------------------ */

/* PREFIX.<name> of every trained tensor is expected, and no other; flat NULL: its values. */
static status compare_tuned(golden *g, const method_case *c, const char *prefix, const float *flat)
{
    const size_t length = strlen(prefix);
    int wanted = 0, trained = 0;

    for (int i = 0; i < c->want.n; i++)
        wanted += strncmp(c->want.e[i].name, prefix, length) == 0 && c->want.e[i].name[length] == '.';
    for (int i = 0; i < c->p->n_tuned; i++) {
        const tuned *x = &c->p->tensors[i];
        bool turned;
        const char *own = method_case_name(c, g->a, x, &turned), *name = arena_printf(g->a, "%s.%s", prefix, own);
        tensor got = x->value;
        if (x->fixed || !c->p->modules[x->module].trains)
            continue;
        trained++;
        if (flat)
            got.v = (float *)(uintptr_t)flat + x->first;
        TRY(turn(g->a, &got, turned, &got));
        if (!safetensors_find(&c->want, name))
            golden_wrong(g, "expect.safetensors has no %s", name);
        else if (!is_noise(c, own))
            method_case_tensor(g, c, name, &got);
    }
    if (wanted != trained)
        golden_wrong(g, "%d tensors %s.* are expected, %d are trained", wanted, prefix, trained);
    return STATUS_OK;
}

static status before_step(trajectory *t, int64_t step)
{
    method_case *c = t->context;

    return c->card->before ? c->card->before(c->g, c, step) : STATUS_OK;
}

static status compare_gradient(golden *g, const method_case *c, const step_report *r)
{
    float *flat;

    TRY_TAKE(flat, g->a, c->p->size);
    trajectory_gradient(&c->t, r, flat);
    return compare_tuned(g, c, "grad", flat);
}

static status after_step(trajectory *t, const step_report *r)
{
    method_case *c = t->context;
    golden *g = c->g;

    if (r->step == 0 && c->micro == 1)
        TRY(compare_gradient(g, c, r));
    if (c->optim) {
        method_case_number(g, c, "loss", r->step, r->loss);
        method_case_number(g, c, "grad_norm", r->step, r->grad_norm);
        method_case_number(g, c, "lr", r->step, r->lr);
        if (t->o.n_groups > 0)
            method_case_number(g, c, "lr_router", r->step, t->t.groups[0].lr);
    }
    return c->card->after ? c->card->after(g, c, r) : STATUS_OK;
}

/* Steps of several micro-batches say nothing of the first one alone, whose gradient is expected. */
static status compare_first_gradient(golden *g, method_case *c)
{
    const char **names;
    trace_options o = {0};
    trace_result r;

    TRY_TAKE(names, g->a, c->p->n_tuned + 1);
    for (int i = 0; i < c->p->n_tuned; i++)
        if (!c->p->tensors[i].fixed && c->p->modules[c->p->tensors[i].module].trains)
            names[o.n_gradients++] = c->p->tensors[i].name;
    o.gradients = names;
    cJSON *sequences = method_case_sequences(c);
    const status s = trace_run(g->a, &c->m, c->p, sequences, c->folder, &o, &r);
    cJSON_Delete(sequences);
    TRY(s);
    float *flat;
    TRY_TAKE(flat, g->a, c->p->size);
    for (int i = 0, at = 0; i < c->p->n_tuned; i++) {
        const tuned *x = &c->p->tensors[i];
        if (at < o.n_gradients && names[at] == x->name)
            memcpy(flat + x->first, r.items[r.n - o.n_gradients + at++].t.v, tensor_bytes(&x->value));
    }
    return compare_tuned(g, c, "grad", flat);
}

/* Without an optimizer one step is made for its gradient. */
static status read_optim(golden *g, method_case *c, trainer_group *router)
{
    static const char none[] = "{\"lr\": 0.001, \"schedule\": \"constant\", \"warmup\": 0, \"steps\": 1}";

    if (!c->optim) {
        cJSON *one = cJSON_Parse(none);
        const status s = trajectory_options(g->a, one, "optim", &c->t.o);
        cJSON_Delete(one);
        return s;
    }
    TRY(trajectory_options(g->a, c->optim, "optim", &c->t.o));
    if (!c->card->router || !member(c->optim, "lr_router"))
        return STATUS_OK;
    *router = (trainer_group){.match = c->card->router};
    TRY(json_double(c->optim, "lr_router", true, &router->lr, "optim"));
    for (int i = 0; i < c->p->n_tuned && c->t.o.n_groups == 0; i++)
        if (!c->p->tensors[i].fixed && text_matches(router->match, c->p->tensors[i].name)) {
            c->t.o.groups = router;
            c->t.o.n_groups = 1;
        }
    return STATUS_OK;
}

static status run_trajectory(golden *g, method_case *c)
{
    trainer_group router;

    c->t = (trajectory){.a = g->a, .tuned = &c->tuned, .m = &c->m, .p = c->p, .x = &c->x, .micro = c->micro,
                        .before = before_step, .after = after_step, .context = c};
    TRY(read_optim(g, c, &router));
    TRY(trajectory_run(&c->t));
    if (!c->optim)
        return STATUS_OK;
    TRY(compare_tuned(g, c, "final", NULL));
    return method_case_logits(g, c, "logits_final");
}

/* ---- a case -------------------------------------------------------------------------------------- */

static status open_trunk(golden *g, method_case *c, const char *base)
{
    TRY(weights_open(g->a, arena_printf(g->a, "%s/../../%s", c->folder, base), &c->w));
    if (c->card->wish)
        TRY(c->card->wish(g, c));
    TRY(model_open_for(g->a, &c->w, TYPE_F32, &c->head, &c->m));
    return peft_open(g->a, &c->m, 0, &c->p);
}

static status run_whole(golden *g, method_case *c, const char *base)
{
    TRY(open_trunk(g, c, base));
    TRY(c->card->modules(g, c));
    TRY(read_data(g, c));
    TRY(fill_values(g, c));
    if (c->x.n > 0)
        TRY(method_case_logits(g, c, "logits"));
    if (c->x.n > 0 && c->micro > 1)
        TRY(compare_first_gradient(g, c));
    if (c->card->begin)
        TRY(c->card->begin(g, c));
    if (c->x.n > 0)
        TRY(run_trajectory(g, c));
    return c->card->end ? c->card->end(g, c) : STATUS_OK;
}

static status read_files(golden *g, method_case *c)
{
    char *const start = path_join(g->a, c->folder, "start.safetensors");

    TRY(json_read(golden_path(c->folder, "case.json"), &c->json));
    c->settings = member(c->json, "settings");
    c->optim = member(c->json, c->card->optim ? c->card->optim : "optim");
    c->expect = member(c->json, "expect");
    c->errors = member(c->json, "f32_error");
    c->micro = 1;
    TRY(json_int(c->settings, "micro_batches_a_step", false, 1, 1000, &c->micro, "settings"));
    if (path_exists(start))
        TRY(safetensors_open(g->a, start, &c->start));
    return safetensors_open(g->a, golden_path(c->folder, "expect.safetensors"), &c->want);
}

static status run_case(golden *g, method_case *c)
{
    const char *base = NULL;

    TRY(read_files(g, c));
    TRY(json_string(c->settings, "base", false, &base, "settings"));
    if (base)
        return run_whole(g, c, base);
    if (!c->card->alone)
        return fail(STATUS_FORMAT, "case.json: settings has no base");
    return c->card->alone(g, c);
}

static void close_case(method_case *c)
{
    if (c->start.n)
        safetensors_close(&c->start);
    if (c->want.n)
        safetensors_close(&c->want);
    weights_close(&c->w);
    arena_close(&c->tuned);
    cJSON_Delete(c->json);
}

/* The folder above is the card's. */
static bool is_of(const char *folder, const char *card)
{
    char *above = realpath(golden_path(folder, ".."), NULL);
    const char *slash = above ? strrchr(above, '/') : NULL;
    const bool is = slash && strcmp(slash + 1, card) == 0;

    free(above);
    return is;
}

bool method_case_run(golden *g, const char *folder, const method_card *card)
{
    const size_t mark = arena_mark(g->a);
    method_case c = {.card = card, .g = g};
    status s;

    if (!golden_has(folder, "case.json") || !is_of(folder, card->folder))
        return false;
    golden_begin(g, folder, "");
    c.folder = arena_string(g->a, folder, strlen(folder));
    s = arena_open(&c.tuned, "tuned", (size_t)1 << 30);
    if (s == STATUS_OK)
        s = run_case(g, &c);
    golden_end(g, s);
    close_case(&c);
    arena_rewind(g->a, mark);
    return true;
}
