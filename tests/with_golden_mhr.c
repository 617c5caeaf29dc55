/* golden Poly and MHR: whole cases, with given noise and with skills of another case, and the operations alone */
#include "tests/with_method_case.h"

#include "core/file.h"
#include "core/text.h"
#include "peft/poly.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const method_name names[] = {
    {"poly_lora_A", "poly_A", false},
    {"poly_lora_B", "poly_B", false},
    {"poly_router.module_logits", "poly_Z", false},
    {"lora_A.weight", "mean_A", true},
    {"lora_B.weight", "mean_B", true},
};

static const method_card card;

/* Of mhr_noise: all given uniforms, and what they are in this step. */
typedef struct given {
    safetensors file;
    int n_sites;
    tensor *noise, rows;
} given;

/* ---- modules ------------------------------------------------------------------------------------- */

static status read_options(golden *g, const method_case *c, poly_options **out)
{
    const char *noise = "none", *tuned = "";
    poly_options *o;

    TRY_TAKE(o, g->a, 1);
    *o = (poly_options){.alpha = 1, .adapt = "mhr", .init = "peft"};
    TRY(json_int(c->settings, "rank", true, 1, 1 << 16, &o->rank, "settings"));
    TRY(json_int(c->settings, "skills", true, 1, 1 << 16, &o->skills, "settings"));
    TRY(json_int(c->settings, "heads", true, 1, 1 << 16, &o->splits, "settings"));
    TRY(json_int(c->settings, "tasks", true, 1, 1 << 16, &o->tasks, "settings"));
    TRY(json_double(c->settings, "alpha", false, &o->alpha, "settings"));
    TRY(json_string(c->settings, "noise", false, &noise, "settings"));
    TRY(json_string(c->settings, "tuned", true, &tuned, "settings"));
    o->noise = strcmp(noise, "none") != 0;
    o->adapt = strcmp(tuned, "Z") == 0 ? "mhr_z" : strncmp(tuned, "mean", 4) == 0 ? "mhr_mu" : "mhr";
    *out = o;
    return STATUS_OK;
}

/* Sets the skills of a module to final.* of the case that trained them, in single precision. */
static status take_finals(arena *a, const peft *p, const method_case *c, const safetensors *finals)
{
    for (int i = 0; i < p->n_tuned; i++) {
        const tuned *x = &p->tensors[i];
        const char *name = arena_printf(a, "final.%s", method_case_name(c, a, x, NULL));
        const safetensors_entry *e = safetensors_find(finals, name);
        if (text_ends(name, "poly_Z"))
            continue;
        if (!e || e->opaque || shape_count(e->t.s) != shape_count(x->value.s))
            return fail(STATUS_FORMAT, "the trained skills of mhr have no %s %s", name, shape_text(x->value.s));
        for (int64_t k = 0; k < shape_count(e->t.s); k++)
            ((float *)x->value.v)[k] = e->t.type == TYPE_F64 ? (float)((const double *)e->v)[k]
                                                             : ((const float *)e->v)[k];
    }
    return STATUS_OK;
}

/* A folder with the inventory that the case mhr trained, on a trunk of its own. */
static status save_inventory(golden *g, method_case *c, const poly_options *like, const char *folder)
{
    const poly_options whole = {.rank = like->rank, .tasks = 3, .skills = like->skills, .splits = like->splits,
                                .alpha = like->alpha};
    const char *path = arena_printf(g->a, "%s/../mhr/expect.safetensors", c->folder);
    safetensors finals;
    method_case other = {.card = &card, .g = g, .settings = c->settings};
    arena values;
    status s;

    TRY(model_open(g->a, &c->w, TYPE_F32, &other.m));
    TRY(peft_open(g->a, &other.m, 0, &other.p));
    TRY(method_case_add(g, &other, &peft_poly, &whole, "sites"));
    TRY(arena_open(&values, "values", (size_t)1 << 30));
    s = peft_allocate(other.p, &values);
    if (s == STATUS_OK)
        s = safetensors_open(g->a, path, &finals);
    if (s == STATUS_OK) {
        s = take_finals(g->a, other.p, &other, &finals);
        safetensors_close(&finals);
    }
    if (s == STATUS_OK)
        s = adapter_save(other.p, 0, folder, &(adapter_info){0});
    arena_close(&values);
    return s;
}

static status add_modules(golden *g, method_case *c)
{
    poly_options *o;
    char *folder;

    TRY(read_options(g, c, &o));
    if (poly_way_of(o) != POLY_ALL) {
        folder = arena_printf(g->a, "/tmp/cambium-golden-XXXXXX");
        if (!folder || !mkdtemp(folder))
            return fail(STATUS_IO, "/tmp: no folder can be made there");
        o->inventory = folder;
        TRY(save_inventory(g, c, o, folder));
    }
    return method_case_add(g, c, &peft_poly, o, "sites");
}

/* A mean in double, rounded to single, may be one rounding off. */
static status started(golden *g, method_case *c)
{
    const poly_options *o = c->p->modules[0].options;

    if (!o->inventory)
        return STATUS_OK;
    TRY(folder_remove_tree(o->inventory));
    TRY(method_case_starts(g, c, "_A", 0x1p-23));
    return method_case_starts(g, c, "_B", 0x1p-23);
}

/* ---- given noise --------------------------------------------------------------------------------- */

static float logit(float u)
{
    return (float)(log((double)u) - log1p(-(double)u));
}

/* The noise of a step, as what it adds to logits. */
static status fill_noise(const method_case *c, golden *g, int64_t step)
{
    given *x = c->own;

    for (int i = 0; x && i < x->n_sites; i++) {
        const int64_t width = x->noise[i].s.d[1];
        for (int64_t b = 0; b < x->noise[i].s.d[0]; b++) {
            const char *name = arena_printf(g->a, "u.%lld.%lld.%s", (long long)step, (long long)b,
                                            c->p->modules[0].at[i]->checkpoint);
            const safetensors_entry *e = safetensors_find(&x->file, name);
            if (!e || e->t.type != TYPE_F32 || shape_count(e->t.s) != width)
                return fail(STATUS_FORMAT, "noise.safetensors: %s must be %lld f32 values", name, (long long)width);
            for (int64_t k = 0; k < width; k++)
                ((float *)x->noise[i].v)[b * width + k] = logit(((const float *)e->v)[k]);
        }
    }
    return STATUS_OK;
}

static void switch_noise(const method_case *c, bool on)
{
    const given *x = c->own;

    for (int i = 0; x && i < x->n_sites; i++)
        poly_give_noise(c->p, 0, i, on ? &x->noise[i] : NULL, on ? &x->rows : NULL);
}

static status open_noise(golden *g, method_case *c, given *x)
{
    const poly_options *o = c->p->modules[0].options;
    int32_t *rows;
    int64_t seqs = 0;

    while (seqs < c->x.n && c->x.v[seqs].batch == c->x.v[0].batch)
        seqs++;
    TRY_TAKE(rows, g->a, seqs);
    for (int32_t b = 0; b < seqs; b++)
        rows[b] = b;
    x->n_sites = c->p->modules[0].n_sites;
    x->rows = (tensor){.s = shape_1(seqs), .type = TYPE_I32, .v = rows};
    TRY_TAKE(x->noise, g->a, x->n_sites);
    for (int i = 0; i < x->n_sites; i++) {
        float *v;
        TRY_TAKE(v, g->a, seqs * o->splits * o->skills);
        x->noise[i] = (tensor){.s = shape_2(seqs, o->splits * o->skills), .type = TYPE_F32, .v = v};
    }
    return safetensors_open(g->a, golden_path(c->folder, "noise.safetensors"), &x->file);
}

static status begin(golden *g, method_case *c)
{
    const poly_options *o = c->p->modules[0].options;
    given *x;

    if (!o->noise)
        return STATUS_OK;
    TRY_TAKE(x, g->a, 1);
    *x = (given){0};
    TRY(open_noise(g, c, x));
    c->own = x;
    TRY(fill_noise(c, g, 0));
    switch_noise(c, true);
    return method_case_logits(g, c, "logits_noise");
}

static status before(golden *g, method_case *c, int64_t step)
{
    return fill_noise(c, g, step);
}

/* What is recorded after the last step has none. */
static status after(golden *g, method_case *c, const step_report *r)
{
    given *x = c->own;

    (void)g;
    if (!x || r->step + 1 < c->t.o.steps)
        return STATUS_OK;
    switch_noise(c, false);
    safetensors_close(&x->file);
    c->own = NULL;
    return STATUS_OK;
}

/* ---- the operations alone ------------------------------------------------------------------------ */

enum { X, W, A, B, Z, OP_INPUTS };

typedef struct op_case {
    const method_case *c;
    tensor in[OP_INPUTS], grad[OP_INPUTS];
    tensor dy, u, tasks, offsets;
    int64_t skills, seqs, rows;
    double factor;
} op_case;

static status find(const method_case *c, const char *name, tensor *out)
{
    const safetensors_entry *e = safetensors_find(&c->start, name);

    if (!e || e->opaque || e->t.type != TYPE_F32)
        return fail(STATUS_FORMAT, "start.safetensors: needs f32 %s", name);
    *out = e->t;
    out->v = (void *)(uintptr_t)e->v;
    return STATUS_OK;
}

static status open_op(golden *g, const method_case *c, op_case *x)
{
    static const char *const inputs[] = {"x", "W", "poly_A", "poly_B", "poly_Z"};
    const cJSON *tasks, *task;
    double alpha = 1;
    int64_t rank;
    int32_t *v, *offsets, n = 0;

    *x = (op_case){.c = c};
    for (int i = 0; i < OP_INPUTS; i++)
        TRY(find(c, inputs[i], &x->in[i]));
    TRY(find(c, "dy", &x->dy));
    TRY(find(c, "u", &x->u));
    TRY(json_int(c->settings, "rank", true, 1, 1 << 16, &rank, "settings"));
    TRY(json_int(c->settings, "skills", true, 1, 1 << 16, &x->skills, "settings"));
    TRY(json_double(c->settings, "alpha", false, &alpha, "settings"));
    TRY(golden_list(c->settings, "row_tasks", &tasks, "settings"));
    x->factor = alpha / (double)rank;
    x->seqs = x->in[X].s.d[0];
    x->rows = x->in[X].s.d[1];
    if (cJSON_GetArraySize(tasks) != x->seqs)
        return fail(STATUS_FORMAT, "settings: row_tasks must be %lld numbers", (long long)x->seqs);
    x->in[X].s = shape_2(x->seqs * x->rows, x->in[X].s.d[2]);
    x->dy.s = shape_2(x->seqs * x->rows, x->dy.s.d[2]);
    x->u.s = shape_2(x->seqs, shape_count(x->u.s) / x->seqs);
    TRY_TAKE(v, g->a, x->seqs);
    TRY_TAKE(offsets, g->a, x->seqs + 1);
    cJSON_ArrayForEach(task, tasks) v[n++] = (int32_t)task->valuedouble;
    for (int32_t i = 0; i <= x->seqs; i++)
        offsets[i] = i * (int32_t)x->rows;
    x->tasks = (tensor){.s = shape_1(x->seqs), .type = TYPE_I32, .v = v};
    x->offsets = (tensor){.s = shape_1(x->seqs + 1), .type = TYPE_I32, .v = offsets};
    return STATUS_OK;
}

/* The weights of the skills: those of each sequence's task, with what noise adds to its logits. */
static status op_weights(golden *g, op_case *x, tape *t, var *z, bool noise, var **out)
{
    tensor *added;
    tensor *rows;
    int32_t *v;

    if (!noise) {
        *out = ag_skill_weights(t, z, tape_input(t, &x->tasks), NULL, NULL, x->skills, 0);
        return STATUS_OK;
    }
    TRY_TAKE(added, g->a, 1);
    TRY_TAKE(rows, g->a, 1);
    TRY_TAKE(v, g->a, x->seqs);
    *added = x->u;
    added->v = arena_copy(g->a, x->u.v, tensor_bytes(&x->u));
    if (!added->v)
        return STATUS_MEMORY;
    for (int64_t i = 0; i < shape_count(added->s); i++)
        ((float *)added->v)[i] = logit(((const float *)x->u.v)[i]);
    for (int32_t i = 0; i < x->seqs; i++)
        v[i] = i;
    *rows = (tensor){.s = shape_1(x->seqs), .type = TYPE_I32, .v = v};
    var *logits = ag_add(t, ag_gather_rows(t, z, tape_input(t, &x->tasks)), tape_input(t, added));
    *out = ag_skill_weights(t, logits, tape_input(t, rows), NULL, NULL, x->skills, 0);
    return STATUS_OK;
}

static void compare_op(golden *g, const op_case *x, const char *tag, const var *w, const var *y)
{
    static const char *const gradients[] = {"dx", NULL, "dpoly_A", "dpoly_B", "dpoly_Z"};
    const int64_t width = shape_last(w->t.s);

    method_case_tensor(g, x->c, arena_printf(g->a, "%sy", tag), &y->t);
    for (int i = 0; i < OP_INPUTS; i++)
        if (gradients[i])
            method_case_tensor(g, x->c, arena_printf(g->a, "%s%s", tag, gradients[i]), &x->grad[i]);
    for (int64_t b = 0; b < x->seqs; b++) {
        const tensor one = {.s = shape_2(width / x->skills, x->skills), .type = TYPE_F32,
                            .v = (float *)w->t.v + b * width};
        method_case_tensor(g, x->c, arena_printf(g->a, "%sweights.%lld", tag, (long long)b), &one);
    }
}

static status run_op(golden *g, op_case *x, tape *t, arena *step, bool noise)
{
    var *in[OP_INPUTS], *w;

    for (int i = 0; i < OP_INPUTS; i++) {
        float *v;
        TRY_TAKE(v, g->a, shape_count(x->in[i].s));
        memset(v, 0, tensor_bytes(&x->in[i]));
        x->grad[i] = (tensor){.s = x->in[i].s, .type = TYPE_F32, .v = v};
        in[i] = i == W ? tape_tensor(t, &x->in[i]) : tape_param(t, &x->in[i], &x->grad[i]);
    }
    TRY(op_weights(g, x, t, in[Z], noise, &w));
    var *y = ag_lora_each(t, ag_linear(t, in[X], in[W], NULL), in[X], ag_mix_skills(t, in[A], w, false),
                          ag_mix_skills(t, in[B], w, true), tape_input(t, &x->offsets), x->factor);
    tape_keep(t, w);
    tape_keep(t, y);
    tape_seed(t, y, &x->dy);
    TRY(tape_plan(t, NULL, RECOMPUTE_NONE));
    TRY(tape_bind(t, step));
    tape_forward(t);
    tape_backward(t);
    TRY(tape_check(t));
    compare_op(g, x, noise ? "noise_" : "", w, y);
    return STATUS_OK;
}

static status alone(golden *g, method_case *c)
{
    op_case x;

    TRY(open_op(g, c, &x));
    for (int noise = 0; noise < 2; noise++) {
        tape *t = NULL;
        arena step;
        TRY(arena_open(&step, "step", (size_t)1 << 28));
        status s = tape_open(&t, TYPE_F32);
        if (s == STATUS_OK)
            s = run_op(g, &x, t, &step, noise);
        tape_close(t);
        arena_close(&step);
        TRY(s);
    }
    return STATUS_OK;
}

static const method_card card = {.folder = "mhr", .names = names, .n_names = (int)COUNT_OF(names),
                                 .router = "*module_logits", .modules = add_modules, .started = started,
                                 .begin = begin, .before = before, .after = after, .alone = alone};

bool golden_mhr(golden *g, const char *folder)
{
    return method_case_run(g, folder, &card);
}
