/* optim: the table of optimizers and the pass that all of them share */
#include "optim/optim.h"

#include "core/threads.h"

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

static int64_t slot_count(const optimizer *kind, const void *options, const optim_span *s, int slot)
{
    return kind->slot_count ? kind->slot_count(options, s, slot) : s->count;
}

static int64_t span_pieces(const optimizer *kind, const optim_span *s)
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
            bytes += slot_count(kind, options, &spans[i], slot) * (int64_t)sizeof(float);
    return bytes;
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
            const int64_t n = slot_count(o->kind, o->options, &o->spans[j], i);
            s->first[j] = s->count;
            s->count += n;
            s->as_span = s->as_span && n == o->spans[j].count;
        }
        TRY_TAKE(s->v, tuned, s->count);
        memset(s->v, 0, (size_t)s->count * sizeof *s->v);
    }
    return STATUS_OK;
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
        o->n_pieces += span_pieces(kind, &spans[i]);
    }
    TRY_TAKE(o->steps, tuned, n_spans);
    memset(o->steps, 0, (size_t)n_spans * sizeof *o->steps);
    TRY_TAKE(o->pieces, tuned, o->n_pieces);
    int64_t k = 0;
    for (int i = 0; i < n_spans; i++) {
        const int64_t n = span_pieces(kind, &spans[i]),
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

static void run_piece(void *context, int64_t piece)
{
    const step_args *a = context;
    const optim *o = a->o;
    const struct optim_border *b = &o->pieces[piece];
    const optim_span *s = &o->spans[b->span];

    if (a->skip && a->skip[b->span])
        return;
    optim_piece k = {
        .n = b->count,
        .p = a->parameters + s->first + b->begin,
        .g = a->gradient + s->first + b->begin,
        .lr = a->groups[s->group].lr,
        .weight_decay = a->groups[s->group].weight_decay,
        .scale = a->scale,
        .step = o->steps[b->span],
        .span = b->span,
    };
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
    threads_run(o->n_pieces, run_piece, &a);
}
