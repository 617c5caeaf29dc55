/* hold: an optimizer's state on a device, and the step there */
#include "optim/hold.h"

#include "core/threads.h"
#include "optim/flat_kernels.h"

/* ---- state ------------------------------------------------------------------------------------------ */

/* Values of a slot that lies there: with a kernel, and as many in every span as the span has; else 0. */
static int64_t held_count(const optimizer *kind, const void *options, const optim_span *spans,
                          int n_spans, int slot)
{
    int64_t count = 0;

    for (int i = 0; i < n_spans; i++) {
        if (optim_slot_count(kind, options, &spans[i], slot) != spans[i].count)
            return 0;
        count += spans[i].count;
    }
    return kind->kernel ? count : 0;
}

size_t optim_device_bytes(const optimizer *kind, const void *options, const optim_span *spans,
                          int n_spans)
{
    size_t  bytes = 0;
    int64_t pieces = 0;

    if (!kind->kernel)
        return 0;
    for (int i = 0; i < kind->slots(options); i++)
        bytes += device_arena_room((size_t)held_count(kind, options, spans, n_spans, i) * sizeof(float));
    for (int i = 0; i < n_spans; i++)
        pieces += optim_span_pieces(kind, &spans[i]);
    return bytes + device_arena_room((size_t)pieces * sizeof(flat_piece)) +
           device_arena_room((size_t)n_spans * sizeof(flat_factors));
}

static tensor slot_tensor(const optim_slot *s)
{
    return (tensor){.s = shape_1(s->count), .type = TYPE_F32, .v = s->v};
}

static status hold_slot(optim *o, device_arena *a, int i)
{
    const optim_slot *s = &o->slot[i];
    tensor            x = slot_tensor(s);
    dtype             type;

    TRY(device_hold(a, &x, TYPE_F32));
    o->there.slot[i] = device_find(a->d, s->v, &type);
    if (s->start != 0)
        device_push(a->d, &x);
    else
        device_functions(a->d)->zero(o->there.slot[i], tensor_bytes(&x));
    return STATUS_OK;
}

static flat_piece piece_there(const optim *o, const struct optim_border *b)
{
    flat_piece k = {.at = o->spans[b->span].first + b->begin, .span = b->span, .count = (int32_t)b->count};

    for (int i = 0; i < o->n_slots; i++)
        if (o->there.slot[i])
            k.slot[i] = o->slot[i].first[b->span] + b->begin;
    return k;
}

status optim_hold(optim *o, device_arena *a)
{
    const size_t pieces = (size_t)o->n_pieces * sizeof(flat_piece);

    for (int i = 0; i < o->n_spans; i++)
        CHECK(o->steps[i] == 0);
    if (!o->kind->kernel)
        return STATUS_OK;
    o->there.d = a->d;
    for (int i = 0; i < o->n_slots; i++)
        if (held_count(o->kind, o->options, o->spans, o->n_spans, i) > 0)
            TRY(hold_slot(o, a, i));
    o->there.pieces = device_arena_take(a, pieces);
    o->there.factors = device_arena_take(a, (size_t)o->n_spans * sizeof(flat_factors));
    if (!o->there.pieces || !o->there.factors)
        return STATUS_MEMORY;
    flat_piece *k = threads_scratch(0, pieces);
    for (int64_t i = 0; i < o->n_pieces; i++)
        k[i] = piece_there(o, &o->pieces[i]);
    device_functions(a->d)->upload(o->there.pieces, k, pieces);
    return device_check(a->d);
}

static status move_state(const optim *o, void (*move)(device *d, tensor *x))
{
    for (int i = 0; i < o->n_slots; i++)
        if (o->there.slot[i]) {
            tensor x = slot_tensor(&o->slot[i]);
            move(o->there.d, &x);
        }
    return o->there.d ? device_check(o->there.d) : STATUS_OK;
}

static void push(device *d, tensor *x)
{
    device_push(d, x);
}

status optim_pull(const optim *o)
{
    return move_state(o, device_pull);
}

status optim_push(const optim *o)
{
    return move_state(o, push);
}

/* ---- the step --------------------------------------------------------------------------------------- */

void optim_step_there(const optim *o, float *parameters, const float *gradient, float scale,
                      const optim_group *groups, const uint8_t *skip)
{
    const size_t  bytes = (size_t)o->n_spans * sizeof(flat_factors);
    flat_factors *f = threads_scratch(0, bytes);
    flat_step     a = {.pieces = o->there.pieces, .n_pieces = o->n_pieces, .factors = o->there.factors,
                       .p = flat_find(parameters), .g = flat_find(gradient)};
    void (*step)(const flat_step *a);

    CHECK(o->there.d == device_current() && a.p && a.g);
    if (o->n_pieces == 0)
        return;
    for (int i = 0; i < o->n_spans; i++) {
        const optim_piece k = optim_rates(o, i, groups, scale);
        f[i].mode = skip && skip[i] ? -1 : o->kind->factors(o, &k, f[i].f);
    }
    for (int i = 0; i < o->n_slots; i++)
        a.slot[i] = o->there.slot[i];
    device_functions(o->there.d)->upload(o->there.factors, f, bytes);
    *(void **)&step = device_symbol(o->there.d, o->kind->kernel);
    step(&a);
}

static void move_spans(const optim *o, const float *from, const uint8_t *skip,
                       void (*move)(device *d, tensor *x))
{
    for (int i = 0; i < o->n_spans; i++) {
        const optim_span *s = &o->spans[i];
        tensor            x = {.s = shape_1(s->count), .type = TYPE_F32, .v = (float *)from + s->first};
        if (s->count > 0 && !(skip && skip[i]))
            move(device_current(), &x);
    }
}

void optim_pull_spans(const optim *o, float *parameters, const float *gradient, const uint8_t *skip)
{
    move_spans(o, parameters, skip, device_pull);
    move_spans(o, gradient, skip, device_pull);
}

void optim_push_spans(const optim *o, float *parameters, const uint8_t *skip)
{
    move_spans(o, parameters, skip, push);
}
