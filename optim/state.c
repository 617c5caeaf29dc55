/* state: slots by name */
#include "optim/state.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool all_finite(const float *v, int64_t n, int64_t *bad)
{
    for (*bad = 0; *bad < n; ++*bad)
        if (!isfinite(v[*bad]))
            return false;
    return true;
}

static status check_finite(const optim *o, const optim_slot *s)
{
    int64_t bad;
    int span = 0;

    if (all_finite(s->v, s->count, &bad))
        return STATUS_OK;
    while (span + 1 < o->n_spans && s->first[span + 1] <= bad)
        span++;
    return fail(STATUS_NUMERIC, "%s: %s of tensor %d is %g, must be finite", o->kind->name, s->name,
                span, (double)s->v[bad]);
}

static void array_name(char out[64], const optim_slot *s)
{
    snprintf(out, 64, "optim.%s", s->name);
}

status optim_state_put(const optim *o, h5_file *f)
{
    char name[64];

    TRY(optim_pull(o));
    for (int i = 0; i < o->n_slots; i++)
        TRY(check_finite(o, &o->slot[i]));
    TRY(h5_put_text(f, "optim.name", o->kind->name));
    if (o->n_spans)
        TRY(h5_put(f, "optim.steps", TYPE_I64, shape_1(o->n_spans), o->steps));
    for (int i = 0; i < o->n_slots; i++) {
        const optim_slot *s = &o->slot[i];
        array_name(name, s);
        if (s->count)
            TRY(h5_put(f, name, TYPE_F32, shape_1(s->count), s->v));
    }
    return STATUS_OK;
}

status optim_state_get(optim *o, h5_file *f)
{
    char name[64];

    TRY(h5_get_text(f, "optim.name", name, sizeof name));
    if (strcmp(name, o->kind->name) != 0)
        return fail(STATUS_FORMAT, "%s: was saved with %s, the recipe says %s", f->path, name,
                    o->kind->name);
    if (o->n_spans)
        TRY(h5_get(f, "optim.steps", TYPE_I64, shape_1(o->n_spans), o->steps));
    for (int i = 0; i < o->n_spans; i++)
        if (o->steps[i] < 0)
            return fail(STATUS_FORMAT, "%s: tensor %d has made %lld steps", f->path, i,
                        (long long)o->steps[i]);
    for (int i = 0; i < o->n_slots; i++) {
        const optim_slot *s = &o->slot[i];
        array_name(name, s);
        if (s->count)
            TRY(h5_get(f, name, TYPE_F32, shape_1(s->count), s->v));
    }
    return optim_push(o);
}

status average_state_put(const average *a, h5_file *f)
{
    int64_t bad;

    if (a->kind == 0 || a->n == 0)
        return STATUS_OK;
    if (!all_finite(a->v, a->n, &bad))
        return fail(STATUS_NUMERIC, "average: value %lld is %g, must be finite", (long long)bad,
                    (double)a->v[bad]);
    TRY(h5_put_int(f, "average.updates", a->updates));
    return h5_put(f, "average", TYPE_F32, shape_1(a->n), a->v);
}

status average_state_get(average *a, h5_file *f)
{
    if (a->kind == 0 || a->n == 0)
        return STATUS_OK;
    TRY(h5_get_int(f, "average.updates", &a->updates));
    return h5_get(f, "average", TYPE_F32, shape_1(a->n), a->v);
}
