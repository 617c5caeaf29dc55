/* part: chosen values of a trunk's tensor that are trained, and nothing else of it. Tuned are the values themselves, not
 * their changes, so that an optimizer does with them, bit for bit, what it does with the whole tensor under a mask. */
#include "peft/peft.h"

#include <string.h>

/* What making the tensors of a part needs. */
typedef struct part_start {
    const tensor  *copy; /* of the whole tensor; made before them */
    const int32_t *places;
} part_start;

static status make_places(arena *work, const void *context, const tensor *value)
{
    const part_start *from = context;

    (void)work;
    memcpy(value->v, from->places, tensor_bytes(value));
    return STATUS_OK;
}

static status make_values(arena *work, const void *context, const tensor *value)
{
    const part_start *from = context;
    const float      *copy = from->copy->v;
    float            *v = value->v;

    (void)work;
    for (int64_t i = 0; i < shape_count(value->s); i++)
        v[i] = copy[from->places[i]];
    return STATUS_OK;
}

static status check_places(const model_weight *w, const int32_t *places, int64_t n)
{
    const int64_t of = shape_count(w->value.s);

    if (of > INT32_MAX)
        return fail(STATUS_UNSUPPORTED, "%s has %lld values; some of at most %d can be trained", w->full, (long long)of,
                    INT32_MAX);
    for (int64_t i = 0; i < n; i++)
        if (places[i] < 0 || places[i] >= of || (i > 0 && places[i - 1] >= places[i]))
            return fail(STATUS_USAGE, "%s: place %lld is %d, must be below %lld and behind the one before it", w->full,
                        (long long)i, places[i], (long long)of);
    return STATUS_OK;
}

status peft_part(const peft_attach *at, model_weight *w, const int32_t *places, int64_t n)
{
    const peft_attach beside = {.p = at->p, .module = at->module};
    tuned_part       *x;
    part_start       *from;
    tuned            *copy;

    CHECK(n > 0);
    TRY(check_places(w, places, n));
    TRY_TAKE(x, at->p->a, 1);
    TRY_TAKE(from, at->p->a, 1);
    TRY(peft_instead(at, w, TYPE_F32, (tuned_start){.how = INIT_COPY}, &copy));
    copy->start.from = &copy->kept;
    *from = (part_start){&copy->value, places};
    const char *const  name[] = {arena_printf(at->p->a, "model.%s.places", w->full),
                                 arena_printf(at->p->a, "model.%s.start", w->full),
                                 arena_printf(at->p->a, "model.%s.values", w->full)};
    const tuned_start which = {.how = INIT_MADE, .context = from, .make = make_places};
    const tuned_start what = {.how = INIT_MADE, .context = from, .make = make_values};
    if (!name[0] || !name[1] || !name[2])
        return STATUS_MEMORY;
    TRY(peft_flat_places(&beside, name[0], n, shape_count(w->value.s), which, &x->places));
    TRY(peft_fixed(&beside, name[1], shape_1(n), what, &x->start));
    TRY(peft_tuned(&beside, name[2], shape_1(n), what, &x->values));
    x->w = (weight_part){&x->values->value, &x->values->grad, &x->places->value};
    copy->part = x;
    w->part = at->p->modules[at->module].trains ? &x->w : NULL; /* for plans; runs follow peft_allocate */
    return STATUS_OK;
}

void peft_settle(const peft *p)
{
    for (int i = 0; i < p->n_tuned; i++) {
        const tuned *x = &p->tensors[i];
        if (!x->part || !x->value.v)
            continue;
        const int32_t *places = x->part->places->value.v;
        const float   *v = x->part->values->value.v;
        float         *copy = x->value.v;
        for (int64_t k = 0; k < shape_count(x->part->values->value.s); k++)
            copy[places[k]] = v[k];
    }
}
