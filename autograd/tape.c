/* tape: recording */
#include "autograd/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static slot *slot_of(var *x)
{
    return (slot *)x;
}

status tape_open(tape **out, dtype type)
{
    arena memory;

    CHECK(type == TYPE_F32 || type == TYPE_F64);
    *out = NULL;
    TRY(arena_open(&memory, "tape", (size_t)1 << 30));

    tape *t = arena_take(&memory, 1, sizeof *t);
    *t = (tape){.real = type, .functions = op_best(type), .block = -1};
    t->slots = arena_take(&memory, VARS_MAX, sizeof *t->slots); /* address space, not memory */
    t->nodes = arena_take(&memory, NODES_MAX, sizeof *t->nodes);
    t->dead = arena_take(&memory, 1, sizeof *t->dead);
    CHECK(t->slots && t->nodes && t->dead);
    t->dead->v = (var){.t = {.s = shape_2(1, 1), .type = type}, .id = -1, .producer = -1};
    t->memory = memory;
    *out = t;
    return device_current() ? far_open(t, device_current()) : STATUS_OK;
}

void tape_close(tape *t)
{
    if (!t)
        return;
    if (t->far)
        far_close(t);
    arena memory = t->memory;
    arena_close(&memory);
}

dtype tape_real(const tape *t)
{
    return t->real;
}

status tape_status(const tape *t)
{
    return t->error == STATUS_OK ? STATUS_OK : fail(t->error, "%s", t->error_text);
}

static const char *current_place(tape *t)
{
    if (!t->place_copy)
        t->place_copy = arena_string(&t->memory, t->place, strlen(t->place));
    return t->place_copy ? t->place_copy : "";
}

var *tape_fail(tape *t, status code)
{
    if (t->error == STATUS_OK && code != STATUS_OK) {
        if (t->place[0])
            fail_in(code, "in %s", t->place);
        t->error = code;
        snprintf(t->error_text, sizeof t->error_text, "%s", status_text());
    }
    return &t->dead->v;
}

void tape_enter(tape *t, const char *format, ...)
{
    const size_t used = strlen(t->place);
    va_list      args;

    CHECK(t->n_places < PLACES_DEPTH);
    t->place_marks[t->n_places++] = used;
    if (used && used + 1 < sizeof t->place)
        strcpy(t->place + used, ".");
    va_start(args, format);
    vsnprintf(t->place + strlen(t->place), sizeof t->place - strlen(t->place), format, args);
    va_end(args);
    t->place_copy = NULL;
}

void tape_leave(tape *t)
{
    CHECK(t->n_places > 0);
    t->place[t->place_marks[--t->n_places]] = '\0';
    t->place_copy = NULL;
}

void tape_block_begin(tape *t)
{
    CHECK(t->block < 0);
    t->block = t->n_blocks++;
}

void tape_block_end(tape *t)
{
    CHECK(t->block >= 0);
    t->block = -1;
}

void tape_weight_begin(tape *t)
{
    CHECK(!t->of_weights);
    t->of_weights = true;
}

void tape_weight_end(tape *t)
{
    CHECK(t->of_weights);
    t->of_weights = false;
}

static slot *new_slot(tape *t)
{
    if (t->n_slots == VARS_MAX) {
        tape_fail(t, fail(STATUS_MEMORY, "more than %d values in one computation", VARS_MAX));
        return t->dead;
    }
    slot *s = &t->slots[t->n_slots];
    *s = (slot){.v = {.id = t->n_slots, .producer = -1}, .store = {-1, -1}, .grad_store = -1};
    t->n_slots++;
    return s;
}

static var *external(tape *t, const tensor *x, tensor *grad)
{
    if (t->error != STATUS_OK)
        return &t->dead->v;

    slot *s = new_slot(t);
    if (s == t->dead)
        return &s->v;
    s->external = x;
    s->external_grad = grad;
    s->v.t = *x;
    s->v.wanted = grad != NULL;
    return &s->v;
}

var *tape_input(tape *t, const tensor *x)
{
    return external(t, x, NULL);
}

var *tape_tensor(tape *t, const tensor *x)
{
    return external(t, x, NULL);
}

var *tape_param(tape *t, const tensor *x, tensor *grad)
{
    CHECK(!grad || (x->type == t->real && grad->type == t->real && shape_equal(x->s, grad->s)));
    return external(t, x, grad);
}

/* Runs the shape rule and checks what it says; out gets the shapes of the outputs. */
static status infer(tape *t, node *n, shape *out)
{
    op_args a = {.n_in = n->n_in, .n_out = n->n_out, .attr = &n->attr, .run = &t->run};

    for (int i = 0; i < n->n_in; i++) {
        a.in[i] = n->in[i] ? &n->in[i]->v.t : NULL;
        a.wanted[i] = n->in[i] && n->in[i]->v.wanted;
    }
    TRY(t->functions[n->op].shape(&a, out, &n->n_aux));
    for (int i = 0; i < n->n_out; i++)
        for (int d = 0; d < out[i].n; d++)
            CHECK(out[i].d[d] >= 0);
    CHECK(n->n_aux >= 0);
    return STATUS_OK;
}

static void add_outputs(tape *t, node *n, const shape *out)
{
    const op_row *row = &op_rows[n->op];
    bool          wanted = false;

    for (int i = 0; i < n->n_in; i++)
        wanted |= n->in[i] && n->in[i]->v.wanted && !(row->flags & FIXED);
    for (int i = 0; i < n->n_out; i++) {
        slot *s = new_slot(t);
        if (s == t->dead)
            return;
        s->v.t = (tensor){.s = out[i], .type = t->real};
        s->wide = (row->flags & (uint32_t)WIDE(i)) != 0;
        if (row->rows != NO_ROWS && n->in[row->rows])
            s->v.t.rows = n->in[row->rows]->v.t.rows;
        s->v.wanted = wanted;
        s->v.producer = t->n_nodes;
        s->v.output = i;
        n->out[i] = s;
    }
    for (int i = 0; i < n->n_in; i++)
        if (row->flags & (uint32_t)IS(i)) {
            n->out[0]->external = n->in[i]->external;
            n->out[0]->v.t = n->in[i]->v.t;
        }
}

var *tape_apply(tape *t, op_code op, int n_in, var *const *in, const op_attr *attr)
{
    shape out[OP_OUT_MAX] = {{0}};

    if (t->error != STATUS_OK)
        return &t->dead->v;
    CHECK(op < OP_COUNT && n_in == op_rows[op].n_in);
    if (t->n_nodes == NODES_MAX)
        return tape_fail(t, fail(STATUS_MEMORY, "more than %d operations in one computation",
                                 NODES_MAX));

    node *n = &t->nodes[t->n_nodes];
    *n = (node){.op = op, .n_in = n_in, .n_out = op_rows[op].n_out, .block = t->block,
                .of_weights = t->of_weights, .aux_store = {-1, -1}, .place = current_place(t)};
    if (attr)
        n->attr = *attr;
    for (int i = 0; i < n_in; i++) {
        n->in[i] = in[i] ? slot_of(in[i]) : NULL;
        CHECK(!in[i] || slot_of(in[i]) != t->dead);
    }
    const status s = infer(t, n, out);
    if (s != STATUS_OK)
        return tape_fail(t, s);
    add_outputs(t, n, out);
    if (t->error != STATUS_OK)
        return &t->dead->v;
    t->n_nodes++;
    return &n->out[0]->v;
}

bool tape_reads(const tape *t, const var *y, int i, const var *x)
{
    if (t->error != STATUS_OK || y->producer < 0)
        return false;
    const node *n = &t->nodes[y->producer];
    return i < n->n_in && n->in[i] && &n->in[i]->v == x;
}

var *tape_extend(tape *t, var *y, op_code from, op_code to, int n_extra, var *const *extra,
                 const op_attr *attr)
{
    shape out[OP_OUT_MAX] = {{0}};
    node *n = t->n_nodes > 0 ? &t->nodes[t->n_nodes - 1] : NULL;

    if (t->error != STATUS_OK || !n || n->op != from || y != &n->out[0]->v || n->block != t->block)
        return NULL;
    CHECK(op_rows[to].n_in == n->n_in + n_extra && op_rows[to].n_out == n->n_out);
    n->op = to;
    n->attr = *attr;
    for (int i = 0; i < n_extra; i++) {
        n->in[n->n_in++] = slot_of(extra[i]);
        n->out[0]->v.wanted |= extra[i]->wanted;
    }
    const status s = infer(t, n, out);
    if (s != STATUS_OK)
        return tape_fail(t, s);
    CHECK(shape_equal(out[0], n->out[0]->v.t.s));
    return y;
}

var *tape_output(tape *t, var *first, int i)
{
    if (t->error != STATUS_OK)
        return &t->dead->v;
    CHECK(first->producer >= 0 && i < t->nodes[first->producer].n_out);
    return &t->nodes[first->producer].out[i]->v;
}

void tape_keep(tape *t, var *x)
{
    if (t->error == STATUS_OK)
        slot_of(x)->kept = true;
}

void tape_seed(tape *t, var *x, const tensor *upstream)
{
    if (t->error == STATUS_OK) {
        CHECK(shape_equal(upstream->s, x->t.s) && upstream->type == t->real);
        slot_of(x)->seed = upstream;
    }
}

void tape_keep_gradient(tape *t, var *x, const tensor **grad)
{
    if (t->error == STATUS_OK)
        slot_of(x)->grad_out = grad;
}

void tape_set_run(tape *t, const op_run *run)
{
    t->run = *run;
}

void tape_observe(tape *t, tape_observer observer, void *context)
{
    t->observer = observer;
    t->observer_context = context;
}
