/* run: memory into the plan, then the plan's calls one after another */
#include "autograd/graph.h"

#include <math.h>
#include <string.h>
#include <time.h>

void *store_memory(const tape *t, uint8_t *base, int at)
{
    if (at < 0)
        return NULL;
    while (t->stores[at].root != at)
        at = t->stores[at].root;
    return base + t->stores[at].offset;
}

status tape_bind(tape *t, arena *step)
{
    if (t->far)
        return far_bind(t, step);

    uint8_t *base = arena_take(step, t->step_bytes, 1);

    if (!base)
        return STATUS_MEMORY;
    CHECK(t->entries);
    for (int i = 0; i < t->n_slots; i++) {
        slot *s = &t->slots[i];
        if (!s->external) {
            s->v.t.v = store_memory(t, base, s->store[0]);
            s->again.v = store_memory(t, base, s->store[1]);
        }
        s->grad.v = store_memory(t, base, s->grad_store);
        if (s->grad_out)
            *s->grad_out = s->external_grad ? s->external_grad : s->grad.v ? &s->grad : NULL;
    }
    for (int i = 0; i < t->n_entries; i++)
        t->entries[i].args.aux = store_memory(t, base, t->entries[i].aux_store);
    return STATUS_OK;
}

size_t bytes_in_use(const tensor *x)
{
    const int64_t row = dtype_row_bytes(x->type, shape_last(x->s));
    int64_t       rows = shape_rows(x->s);

    if (x->rows && x->s.n > 0 && x->s.d[0] > 0)
        rows = rows / x->s.d[0] * *x->rows;
    if (x->rows && x->s.n == 1) /* [N]: the rows are the values */
        return (size_t)(*x->rows * dtype_row_bytes(x->type, 1));
    return (size_t)(row * rows);
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void run_entry(tape *t, const entry *e)
{
    const op_functions *f = &t->functions[e->n->op];
    const double        from = t->observer ? seconds() : 0;

    for (int i = 0; i < e->n_zero && !t->far; i++)
        memset(e->zero[i]->v, 0, bytes_in_use(e->zero[i]));
    if (t->far)
        far_run(t, e);
    else if (e->phase == PHASE_BACKWARD)
        f->backward(&e->args);
    else
        f->forward(&e->args);
    if (t->observer)
        t->observer(t->observer_context, e->n->op, e->n->place, (int)e->phase, seconds() - from);
}

void tape_forward(tape *t)
{
    if (t->far) {
        far_forward(t);
        return;
    }
    for (int i = 0; i < t->n_forward; i++)
        run_entry(t, &t->entries[i]);
}

static void start_gradient(tape *t, slot *s)
{
    if (s == t->loss && t->real == TYPE_F64)
        *(double *)s->grad.v = 1;
    else if (s == t->loss)
        *(float *)s->grad.v = 1;
    else
        memcpy(s->grad.v, s->seed->v, bytes_in_use(&s->grad));
}

void tape_backward(tape *t)
{
    if (t->far) {
        far_backward(t);
        return;
    }
    for (int i = 0; i < t->n_slots; i++) {
        slot *s = &t->slots[i];
        if (s->grad_store >= 0 && (s->seed || s == t->loss))
            start_gradient(t, s);
    }
    for (int i = t->n_forward; i < t->n_entries; i++)
        run_entry(t, &t->entries[i]);
}

/* The kind of the first value that is not finite, or NULL. */
static const char *not_finite(tape *t, const tensor *x)
{
    if (x->type != TYPE_F32 && x->type != TYPE_F64 && !(t->far && x->type == TYPE_BF16))
        return NULL;
    const int64_t n = (int64_t)(bytes_in_use(x) / (size_t)dtype_block_bytes(x->type));
    const void   *values = t->far ? far_look(t, x) : x->v;
    for (int64_t i = 0; i < n; i++) {
        const double v = x->type == TYPE_F64 ? ((const double *)values)[i] : (double)((const float *)values)[i];
        if (!isfinite(v))
            return isnan(v) ? "NaN" : "infinity";
    }
    return NULL;
}

status tape_check(const tape *t)
{
    return t->far ? device_check(device_current()) : STATUS_OK;
}

status tape_find_nonfinite(tape *t)
{
    for (int i = 0; i < t->n_forward; i++) {
        const entry *e = &t->entries[i];
        const char  *kind;

        for (int k = 0; k < e->n->n_in; k++)
            if (e->n->in[k] && e->n->in[k]->external && (kind = not_finite(t, e->args.in[k])) != NULL)
                return fail(STATUS_NUMERIC, "%s: a weight or input of %s holds %s", e->n->place,
                            op_name(e->n->op), kind);
        run_entry(t, e);
        for (int k = 0; k < e->n->n_out; k++) {
            const bool masks = e->n->op == OP_attention || e->n->op == OP_attention_scores;
            if (!masks && (kind = not_finite(t, e->args.out[k])) != NULL)
                return fail(STATUS_NUMERIC, "%s: %s gives %s", e->n->place, op_name(e->n->op), kind);
        }
    }
    return STATUS_OK;
}
