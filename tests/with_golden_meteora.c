/* golden MeteoRA: gates over adapters that arrive as PEFT folders, and one site alone */
#include "tests/with_method_case.h"

#include "tests/with_options.h"

#include "core/device.h"
#include "peft/router.h"
#include "recipes/trace.h"

#include <string.h>

static const method_name names[] = {
    {"gate.weight", "gate", false},
    {"lora_A.weight", "lora_A", false},
    {"lora_B.weight", "lora_B", false},
};

/* ---- a whole model ----------------------------------------------------------------------------------- */

static bool again; /* the folder was run already, in the other form */

static status add_modules(golden *g, method_case *c)
{
    static const char *const pairs[][2] = {
        {"top_k", "top_k"}, {"beta", "beta"}, {"dropout", "dropout"}, {NULL, NULL}};
    const peft_method       *router = peft_find_router("meteora");
    const char              *tuned = "gates";
    key_texts                folders;
    void                    *options;

    TRY(json_texts(c->settings, "adapters", g->a, &folders, "settings"));
    TRY(json_string(c->settings, "tuned", true, &tuned, "settings"));
    for (int i = 0; i < folders.n; i++)
        TRY(adapter_add(c->p, method_case_path(c, g, folders.v[i]), arena_printf(g->a, "adapter_%d", i),
                        strcmp(tuned, "gates") != 0));
    TRY(method_case_options(g->a, c, router, pairs, &options));
    if (again) /* gradients only: Adam makes steps of roundings near zero, which are others in each form */
        c->optim = NULL;
    return peft_route(c->p, "router", router, options, NULL, 0);
}

/* The adapters' values; then their tensors are called as the case calls them. */
static status load_adapters(golden *g, method_case *c)
{
    static const char front[] = "base_model.model.";
    key_texts         folders;

    TRY(json_texts(c->settings, "adapters", g->a, &folders, "settings"));
    for (int i = 0; i < folders.n; i++)
        TRY(adapter_load(c->p, i, method_case_path(c, g, folders.v[i]), NULL));
    for (int i = 0; i < c->p->n_tuned; i++) {
        tuned *x = &c->p->tensors[i];
        if (c->p->modules[x->module].n_over == 0)
            x->name = arena_printf(g->a, "%s%s.%s", front, c->p->modules[x->module].name, x->name + sizeof front - 1);
    }
    return STATUS_OK;
}

/* Gradients of the loss of the language model alone. */
static status compare_lm(golden *g, method_case *c)
{
    const char        **list;
    trace_options       o = {0};
    trace_result        r;

    TRY_TAKE(list, g->a, c->p->n_tuned);
    for (int i = 0; i < c->p->n_tuned; i++)
        if (c->p->modules[c->p->tensors[i].module].n_over > 0)
            list[o.n_gradients++] = c->p->tensors[i].name;
    o.gradients = list;
    cJSON       *sequences = method_case_sequences(c);
    const status s = trace_run(g->a, &c->m, c->p, sequences, c->folder, &o, &r);
    cJSON_Delete(sequences);
    TRY(s);
    for (int i = 0; i < r.n; i++)
        for (int k = 0; k < c->p->n_tuned && strncmp(r.items[i].name, "grad.", 5) == 0; k++)
            if (strcmp(r.items[i].name + 5, c->p->tensors[k].name) == 0)
                method_case_tensor(
                    g, c, arena_printf(g->a, "grad_lm.%s", method_case_name(c, g->a, &c->p->tensors[k], NULL)),
                    &r.items[i].t);
    method_case_number(g, c, "lm0", 0, r.loss);
    return STATUS_OK;
}

/* The logits at the temperature of inference, which is 1 in all else that the case has. */
static status compare_temperature(golden *g, method_case *c)
{
    const module *m = &c->p->modules[c->p->n_modules - 1];
    double       *t = NULL;

    for (int i = 0; i < m->method->keys->n; i++)
        if (strcmp(m->method->keys->keys[i].name, "temperature") == 0)
            t = (double *)((char *)(uintptr_t)m->options + m->method->keys->keys[i].offset);
    TRY(json_double(c->settings, "tau", false, t, "settings"));
    TRY(method_case_logits(g, c, "logits_tau"));
    *t = 1;
    return STATUS_OK;
}

/* A site whose gate is looked at. */
typedef struct watched {
    method_case *c;
    site        *s;
    site_hook    hook;
    var         *z, *w;
} watched;

static var *watch(tape *t, const site *s, void *state, var *x, var *y)
{
    watched *v = state;
    peft    *p = v->c->p;
    double   k = 0;

    (void)json_double(v->c->settings, "top_k", true, &k, "settings");
    for (int i = 0; i < p->n_tuned; i++)
        if (strcmp(p->tensors[i].name, arena_printf(p->a, "base_model.model.%s.gate.weight", s->checkpoint)) == 0)
            v->w = ag_top_gate(t, x, tape_tensor(t, &p->tensors[i].value), (int64_t)k, 1, &v->z);
    tape_keep(t, v->z);
    tape_keep(t, v->w);
    return y;
}

static void compare_watched(golden *g, const watched *v, int64_t i)
{
    const char              *end = arena_printf(g->a, "%lld.%s", (long long)i, v->s->checkpoint);
    const safetensors_entry *chosen = safetensors_find(&v->c->want, arena_printf(g->a, "chosen.%s", end));
    const float             *w = v->w->t.v;
    const int64_t            rows = v->w->t.s.d[0], n = v->w->t.s.d[1];
    int64_t                  at = 0, wrong = 0;

    method_case_tensor(g, v->c, arena_printf(g->a, "gate_logits.%s", end), &v->z->t);
    if (!chosen || chosen->t.type != TYPE_I32) {
        golden_wrong(g, "expect.safetensors has no whole numbers chosen.%s", end);
        return;
    }
    for (int64_t k = 0; k < rows * n; k++)
        if (w[k] != 0)
            wrong += at >= shape_count(chosen->t.s) || ((const int32_t *)chosen->v)[at++] != (int32_t)(k % n);
    golden_exact(g, "chosen adapters", wrong + (at != shape_count(chosen->t.s)));
}

/* One sequence through the model, up to what the watched sites see. */
static status run_sequence(golden *g, method_case *c, const example *e, tape *t)
{
    int32_t     *positions, ends[] = {0, e->n}, task = e->task;
    stream       s = {0};
    const tensor ids = {.s = shape_1(e->n), .type = TYPE_I32, .v = (void *)(uintptr_t)e->ids},
                 offsets = {.s = shape_1(2), .type = TYPE_I32, .v = ends},
                 tasks = {.s = shape_1(1), .type = TYPE_I32, .v = &task};
    tensor at = ids;

    TRY_TAKE(positions, g->a, e->n);
    for (int32_t i = 0; i < e->n; i++)
        positions[i] = i;
    at.v = positions;
    s.ids = tape_input(t, &ids), s.positions = tape_input(t, &at), s.tasks = tape_input(t, &tasks);
    s.q_offsets = s.whole = tape_input(t, &offsets);
    (void)model_hidden(&c->m, t, &s);
    TRY(tape_plan(t, NULL, RECOMPUTE_NONE));
    TRY(tape_bind(t, g->a));
    tape_forward(t);
    return tape_check(t);
}

/* gate_logits.<i>.<site> and chosen.<i>.<site> of every sequence of batch 0 and the sites that the case names. */
static status compare_gates(golden *g, method_case *c)
{
    for (int k = 0; k < c->m.n_sites; k++) {
        watched v = {.c = c, .s = &c->m.sites[k]};
        v.hook = (site_hook){.state = &v, .output = watch};
        if (!safetensors_find(&c->want, arena_printf(g->a, "gate_logits.0.%s", v.s->checkpoint)))
            continue;
        for (int64_t i = 0; i < c->x.n && c->x.v[i].batch == c->x.v[0].batch; i++) {
            tape *t;
            TRY(tape_open(&t, TYPE_F32));
            site_hang(v.s, &v.hook);
            const status s = run_sequence(g, c, &c->x.v[i], t);
            site_unhang(v.s, &v.hook);
            if (s == STATUS_OK)
                compare_watched(g, &v, i);
            tape_close(t);
            TRY(s);
        }
    }
    return STATUS_OK;
}

static status at_start(golden *g, method_case *c)
{
    TRY(compare_gates(g, c));
    TRY(compare_lm(g, c));
    return compare_temperature(g, c);
}

static status after_step(golden *g, method_case *c, const step_report *r)
{
    if (r->step == 0)
        method_case_number(g, c, "loss0", 0, r->loss);
    return STATUS_OK;
}

/* ---- one site alone ------------------------------------------------------------------------------------ */

typedef struct site_alone {
    golden *g;
    const method_case *c;
    dtype   type;
    int     n;
    int64_t rank, ranks, in, out, k;
    tensor  x, w, gate, dy, values, d_x, d_gate, d_values, table, scales, owner;
    int32_t *rows;
} site_alone;

static void put(const tensor *t, int64_t i, double v)
{
    if (t->type == TYPE_F64)
        ((double *)t->v)[i] = v;
    else
        ((float *)t->v)[i] = (float)v;
}

static status take(site_alone *x, shape s, tensor *out)
{
    *out = (tensor){.s = s, .type = x->type};
    out->v = arena_take(x->g->a, tensor_bytes(out) + 64, 1);
    if (!out->v)
        return STATUS_MEMORY;
    memset(out->v, 0, tensor_bytes(out));
    return STATUS_OK;
}

static status take_start(site_alone *x, const char *name, tensor *out)
{
    const safetensors_entry *e = safetensors_find(&x->c->start, name);

    if (!e)
        return fail(STATUS_FORMAT, "start.safetensors has no %s", name);
    TRY(take(x, e->t.s, out));
    for (int64_t i = 0; i < shape_count(e->t.s); i++) {
        float v;
        memcpy(&v, (const char *)e->v + 4 * i, 4);
        put(out, i, v);
    }
    return STATUS_OK;
}

/* Factor A or B of an adapter. */
static status factor(site_alone *x, int e, int which, tensor *out)
{
    return take_start(x, arena_printf(x->g->a, which ? "lora_B.%d" : "lora_A.%d", e), out);
}

/* Where the factors lie, each at a step of EXPERT_STEP values, and how many values that takes. */
static status place_factors(site_alone *x, int64_t *size)
{
    tensor f;

    *size = 0;
    for (int e = 0; e < x->n; e++)
        for (int which = 0; which < 2; which++) {
            TRY(factor(x, e, which, &f));
            x->rows[3 * e + 1 + which] = (int32_t)(*size / EXPERT_STEP);
            *size += (shape_count(f.s) + EXPERT_STEP - 1) / EXPERT_STEP * EXPERT_STEP;
            if (which == 1) {
                x->out = f.s.d[0];
                continue;
            }
            x->rows[3 * e] = (int32_t)f.s.d[0];
            x->in = f.s.d[1];
            x->ranks += f.s.d[0];
            x->rank = f.s.d[0] > x->rank ? f.s.d[0] : x->rank;
        }
    return STATUS_OK;
}

static status take_factors(site_alone *x)
{
    const int64_t one = dtype_row_bytes(x->type, 1);
    int64_t       size;
    int32_t      *owner;
    tensor        f;

    TRY(place_factors(x, &size));
    TRY(take(x, shape_1(size), &x->values));
    TRY(take(x, shape_1(size), &x->d_values));
    TRY_TAKE(owner, x->g->a, x->ranks);
    x->owner = (tensor){.s = shape_1(x->ranks), .type = TYPE_I32, .v = owner};
    for (int e = 0; e < x->n; e++) {
        for (int which = 0; which < 2; which++) {
            TRY(factor(x, e, which, &f));
            memcpy((char *)x->values.v + x->rows[3 * e + 1 + which] * EXPERT_STEP * one, f.v, tensor_bytes(&f));
        }
        for (int r = 0; r < x->rows[3 * e]; r++)
            *owner++ = e;
    }
    return STATUS_OK;
}

static status read_site(site_alone *x)
{
    const cJSON *scales = cJSON_GetObjectItemCaseSensitive(x->c->settings, "scales");

    x->n = cJSON_GetArraySize(scales);
    TRY(json_int(x->c->settings, "top_k", true, 1, x->n, &x->k, "settings"));
    TRY_TAKE(x->rows, x->g->a, 3 * x->n);
    TRY(take(x, shape_1(x->n), &x->scales));
    for (int e = 0; e < x->n; e++)
        put(&x->scales, e, cJSON_GetArrayItem(scales, e)->valuedouble);
    TRY(take_start(x, "x", &x->x));
    TRY(take_start(x, "W", &x->w));
    TRY(take_start(x, "gate", &x->gate));
    TRY(take_start(x, "dy", &x->dy));
    TRY(take(x, x->x.s, &x->d_x));
    TRY(take(x, x->gate.s, &x->d_gate));
    TRY(take_factors(x));
    x->table = (tensor){.s = shape_2(x->n, 3), .type = TYPE_I32, .v = x->rows};
    return STATUS_OK;
}

static void compare(site_alone *x, const char *name, const tensor *got, const safetensors_entry *want)
{
    if (x->type == TYPE_F64)
        golden_tensor(x->g, name, got, want, 1e-9, false);
    else
        method_case_tensor(x->g, x->c, name, got);
}

/* w and chosen of a case have the chosen ones only, in their order. */
static void compare_gains(site_alone *x, const tensor *gains)
{
    const safetensors_entry *chosen = safetensors_find(&x->c->want, "chosen");
    const safetensors_entry *w = safetensors_find(&x->c->want, "w");
    int64_t                  wrong = 0;
    tensor                   got;

    if (!chosen || !w || take(x, w->t.s, &got) != STATUS_OK)
        return;
    for (int64_t n = 0; n < gains->s.d[0]; n++)
        for (int64_t e = 0, j = 0; e < x->n; e++) {
            const double v = x->type == TYPE_F64 ? ((const double *)gains->v)[n * x->n + e]
                                                 : (double)((const float *)gains->v)[n * x->n + e];
            if (v == 0)
                continue;
            wrong += j >= x->k || ((const int32_t *)chosen->v)[n * x->k + j] != e;
            if (j < x->k)
                put(&got, n * x->k + j++, v);
        }
    golden_exact(x->g, "chosen adapters", wrong);
    compare(x, "w", &got, w);
}

static void compare_site(site_alone *x, const var *y, const var *z, const var *gains)
{
    compare(x, "y", &y->t, safetensors_find(&x->c->want, "y"));
    compare(x, "z", &z->t, safetensors_find(&x->c->want, "z"));
    compare_gains(x, &gains->t);
    compare(x, "dx", &x->d_x, safetensors_find(&x->c->want, "dx"));
    compare(x, "dgate", &x->d_gate, safetensors_find(&x->c->want, "dgate"));
    for (int e = 0; e < x->n; e++)
        for (int i = 0; i < 2; i++) {
            const char *name = arena_printf(x->g->a, i ? "dlora_B.%d" : "dlora_A.%d", e);
            const int64_t rank = x->rows[3 * e], from = (int64_t)x->rows[3 * e + 1 + i] * EXPERT_STEP;
            const tensor  got = {.type = x->type, .s = i ? shape_2(x->out, rank) : shape_2(rank, x->in),
                                 .v = (char *)x->d_values.v + from * dtype_row_bytes(x->type, 1)};
            compare(x, name, &got, safetensors_find(&x->c->want, name));
        }
}

static status run_site(site_alone *x, tape *t, bool stacked)
{
    var *in = tape_param(t, &x->x, &x->d_x), *z, *b;
    var *y = ag_linear(t, in, tape_tensor(t, &x->w), NULL);
    var *w = ag_top_gate(t, in, tape_param(t, &x->gate, &x->d_gate), x->k, 1, &z);
    var *values = tape_param(t, &x->values, &x->d_values), *table = tape_input(t, &x->table);
    var *scales = tape_tensor(t, &x->scales);

    if (stacked) {
        var *a = ag_stack_factors(t, values, table, x->ranks, x->in, x->out, &b);
        var *u = ag_gain_columns(t, ag_linear(t, in, a, NULL), w, tape_input(t, &x->owner), scales);
        y = ag_add(t, y, ag_linear(t, u, b, NULL));
    } else
        y = ag_lora_gated(t, y, in, values, w, table, scales, x->rank, x->k);
    tape_keep(t, y);
    tape_keep(t, z);
    tape_keep(t, w);
    tape_seed(t, y, &x->dy);
    TRY(tape_plan(t, NULL, RECOMPUTE_NONE));
    TRY(tape_bind(t, x->g->a));
    memset(x->d_x.v, 0, tensor_bytes(&x->d_x));
    memset(x->d_gate.v, 0, tensor_bytes(&x->d_gate));
    memset(x->d_values.v, 0, tensor_bytes(&x->d_values));
    tape_forward(t);
    tape_backward(t);
    TRY(tape_check(t));
    compare_site(x, y, z, w);
    return STATUS_OK;
}

/* Both forms, in f64 on the CPU and in f32. */
static status run_alone(golden *g, method_case *c)
{
    for (int i = 0; i < 4; i++) { /* type and form */
        site_alone x = {.g = g, .c = c, .type = i < 2 ? TYPE_F64 : TYPE_F32};
        tape      *t;
        if (x.type == TYPE_F64 && device_current())
            continue;
        TRY(read_site(&x));
        TRY(tape_open(&t, x.type));
        const status s = run_site(&x, t, i % 2);
        tape_close(t);
        TRY(s);
    }
    return STATUS_OK;
}

bool golden_meteora(golden *g, const char *folder)
{
    static const method_card card = {.folder = "meteora", .varies = 40, .names = names, .n_names = (int)COUNT_OF(names),
                                     .modules = add_modules, .started = load_adapters, .fills = true,
                                     .begin = at_start,
                                     .after = after_step, .alone = run_alone};

    again = false;
    router_force(ROUTER_STACKED);
    const bool is = method_case_run(g, folder, &card);
    router_force(ROUTER_SORTED);
    again = is && !strstr(folder, "/op_"); /* a site alone compares both at once */
    if (again)
        method_case_run(g, folder, &card);
    router_force(ROUTER_BY_SHAPE);
    return is;
}
