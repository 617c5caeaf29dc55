/* optim: the table of optimizers and the pass that all of them share */
#include "optim/optim.h"

#include "core/threads.h"
#include "optim/flat_kernels.h"
#include "optim/hold.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const optimizer *const rows[] = {
#define OPTIMIZER(name) &optim_##name,
#include "optim/optims.def"
#undef OPTIMIZER
};

const optimizer *optim_row(int i)
{
    return i >= 0 && i < (int)COUNT_OF(rows) ? rows[i] : NULL;
}

status optim_find(const char *name, const optimizer **out)
{
    char names[512] = "";
    size_t used = 0;

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (strcmp(rows[i]->name, name) == 0) {
            *out = rows[i];
            return STATUS_OK;
        }
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "",
                                 rows[i]->name);
    }
    return fail(STATUS_USAGE, "optim: name is '%s', must be one of %s", name, names);
}

status optim_numbers(const optimizer *kind, const char *what, const key_texts *list, int n,
                     double lo, double hi, double *out)
{
    if (list->n != n)
        return fail(STATUS_USAGE, "%s: %s has %d numbers, must have %d", kind->name, what, list->n,
                    n);
    for (int i = 0; i < n; i++) {
        char *end;
        out[i] = strtod(list->v[i], &end);
        if (end == list->v[i] || *end != '\0' || !(out[i] >= lo && out[i] < hi))
            return fail(STATUS_USAGE, "%s: %s[%d] is '%s', must be a number from %g to below %g",
                        kind->name, what, i, list->v[i], lo, hi);
    }
    return STATUS_OK;
}

int64_t optim_slot_count(const optimizer *kind, const void *options, const optim_span *s, int slot)
{
    return kind->slot_count ? kind->slot_count(options, s, slot) : s->count;
}

int64_t optim_span_pieces(const optimizer *kind, const optim_span *s)
{
    return kind->whole ? s->count > 0 : (s->count + OPTIM_PIECE - 1) / OPTIM_PIECE;
}

int64_t optim_state_bytes(const optimizer *kind, const void *options, const optim_span *spans,
                          int n_spans)
{
    const int slots = kind->slots(options);
    int64_t bytes = n_spans * (int64_t)sizeof(int64_t);

    for (int i = 0; i < n_spans; i++)
        for (int slot = 0; slot < slots; slot++)
            bytes += optim_slot_count(kind, options, &spans[i], slot) * (int64_t)sizeof(float);
    return bytes;
}

/* What was never taken before is zero already and stays untouched: with the state on a device, it is
 * never written. */
static status take_zeros(arena *tuned, int64_t n, float **out)
{
    const uint8_t *fresh = tuned->base + tuned->peak;

    TRY_TAKE(*out, tuned, n);
    const uint8_t *from = (const uint8_t *)*out;
    const size_t bytes = (size_t)n * sizeof **out;
    if (from < fresh)
        memset(*out, 0, bytes < (size_t)(fresh - from) ? bytes : (size_t)(fresh - from));
    return STATUS_OK;
}

static status take_slots(optim *o, arena *tuned)
{
    o->n_slots = o->kind->slots(o->options);
    CHECK(o->n_slots <= OPTIM_SLOTS);
    for (int i = 0; i < o->n_slots; i++) {
        optim_slot *s = &o->slot[i];

        s->name = o->kind->slot_names[i];
        s->as_span = !o->kind->whole;
        TRY_TAKE(s->first, tuned, o->n_spans);
        for (int j = 0; j < o->n_spans; j++) {
            const int64_t n = optim_slot_count(o->kind, o->options, &o->spans[j], i);
            s->first[j] = s->count;
            s->count += n;
            s->as_span = s->as_span && n == o->spans[j].count;
        }
        TRY(take_zeros(tuned, s->count, &s->v));
    }
    return STATUS_OK;
}

void optim_start_slot(optim *o, int slot, float value)
{
    optim_slot *s = &o->slot[slot];

    s->start = value;
    for (int64_t i = 0; value != 0 && i < s->count; i++)
        s->v[i] = value;
}

status optim_open(optim *o, arena *tuned, const optimizer *kind, const void *options,
                  const optim_span *spans, int n_spans)
{
    const optim_common *common = options;

    *o = (optim){.kind = kind, .options = options, .spans = spans, .n_spans = n_spans};
    if (!(common->lr >= 0) || !(common->weight_decay >= 0))
        return fail(STATUS_USAGE, "%s: lr is %g and weight_decay %g, both must be 0 or more",
                    kind->name, common->lr, common->weight_decay);
    for (int i = 0; i < n_spans; i++) {
        CHECK(spans[i].count >= 0 && spans[i].group >= 0);
        CHECK(spans[i].rows == 0 || spans[i].count % (spans[i].rows * spans[i].columns) == 0);
        o->n_pieces += optim_span_pieces(kind, &spans[i]);
    }
    TRY_TAKE(o->steps, tuned, n_spans);
    memset(o->steps, 0, (size_t)n_spans * sizeof *o->steps);
    TRY_TAKE(o->pieces, tuned, o->n_pieces);
    int64_t k = 0;
    for (int i = 0; i < n_spans; i++) {
        const int64_t n = optim_span_pieces(kind, &spans[i]),
                      size = kind->whole ? spans[i].count : OPTIM_PIECE;
        for (int64_t j = 0; j < n; j++) {
            const int64_t begin = j * size, left = spans[i].count - begin;
            o->pieces[k++] = (struct optim_border){i, begin, left < size ? left : size};
        }
    }
    TRY(take_slots(o, tuned));
    return kind->setup ? kind->setup(o) : STATUS_OK;
}

typedef struct step_args {
    const optim *o;
    float *parameters;
    const float *gradient;
    float scale;
    const optim_group *groups;
    const uint8_t *skip;
} step_args;

optim_piece optim_rates(const optim *o, int span, const optim_group *groups, float scale)
{
    const optim_group *group = &groups[o->spans[span].group];

    return (optim_piece){
        .lr = group->lr,
        .weight_decay = group->weight_decay,
        .scale = scale,
        .step = o->steps[span],
        .span = span,
    };
}

static void run_piece(void *context, int64_t piece)
{
    const step_args *a = context;
    const optim *o = a->o;
    const struct optim_border *b = &o->pieces[piece];
    const optim_span *s = &o->spans[b->span];

    if (a->skip && a->skip[b->span])
        return;
    optim_piece k = optim_rates(o, b->span, a->groups, a->scale);
    k.n = b->count;
    k.p = a->parameters + s->first + b->begin;
    k.g = a->gradient + s->first + b->begin;
    for (int i = 0; i < o->n_slots; i++)
        k.s[i] = o->slot[i].v + o->slot[i].first[b->span] + (o->slot[i].as_span ? b->begin : 0);
    o->kind->piece(o, &k);
}

void optim_step(optim *o, float *parameters, const float *gradient, double scale,
                const optim_group *groups, const uint8_t *skip)
{
    step_args a = {o, parameters, gradient, (float)scale, groups, skip};

    for (int i = 0; i < o->n_spans; i++)
        if (!skip || !skip[i]) {
            o->steps[i]++;
            if (o->kind->begin)
                o->kind->begin(o, i, o->steps[i]);
        }
    if (!flat_find(gradient))
        threads_run(o->n_pieces, run_piece, &a);
    else if (o->kind->kernel)
        optim_step_there(o, parameters, gradient, a.scale, groups, skip);
    else {
        optim_pull_spans(o, parameters, gradient, skip);
        threads_run(o->n_pieces, run_piece, &a);
        optim_push_spans(o, parameters, skip);
    }
}
