/* whole: whole tensors and rows of the embedding beside a method's sites */
#include "peft/whole.h"

#include "core/quant.h"

#include <stdlib.h>
#include <string.h>

/* ---- rows of the embedding -------------------------------------------------------------------------------- */

typedef struct token_rows {
    peft          *p;
    tuned         *rows;
    const int32_t *ids;
    const tensor  *from; /* the trunk's table */
    tensor         map; /* i32 [words]: the row that a word has, -1: none */
} token_rows;

/* The trunk's rows of these words. */
static status copy_rows(arena *work, const void *context, const tensor *value)
{
    const token_rows *x = context;
    const int64_t     C = shape_last(x->from->s), bytes = dtype_row_bytes(x->from->type, C);

    (void)work;
    for (int64_t i = 0; i < value->s.d[0]; i++)
        quant_expand(x->from->type, (const uint8_t *)x->from->v + x->ids[i] * bytes, C, (float *)value->v + i * C);
    return STATUS_OK;
}

static var *tokens_looked_up(tape *t, const site *s, void *state, var *ids, var *y)
{
    const token_rows *x = state;

    (void)s;
    return ag_replace_rows(t, y, peft_var(t, x->p, x->rows), ids, tape_input(t, &x->map), 0);
}

static var *tokens_weight(tape *t, const site *s, void *state, var *w)
{
    const token_rows *x = state;

    (void)s;
    return ag_replace_rows(t, w, peft_var(t, x->p, x->rows), NULL, tape_input(t, &x->map), 0);
}

static status tokens_merge(const site *s, const void *state, float *w)
{
    const token_rows *x = state;
    const int64_t     C = shape_last(s->weight->value.s);
    const float      *v = x->rows->value.v;

    for (int64_t i = 0; i < x->rows->value.s.d[0]; i++)
        memcpy(w + x->ids[i] * C, v + i * C, (size_t)C * sizeof *w);
    return STATUS_OK;
}

static status make_map(arena *a, int64_t words, const int32_t *ids, int64_t n, tensor *map)
{
    int32_t *v;

    TRY_TAKE(v, a, words);
    for (int64_t i = 0; i < words; i++)
        v[i] = -1;
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= words)
            return fail(STATUS_USAGE, "token %d is to be trained, must be 0..%lld", ids[i], (long long)words - 1);
        if (v[ids[i]] >= 0)
            return fail(STATUS_USAGE, "token %d is to be trained twice", ids[i]);
        v[ids[i]] = (int32_t)i;
    }
    *map = (tensor){.s = shape_1(words), .type = TYPE_I32, .v = v};
    return STATUS_OK;
}

status whole_tokens(const peft_attach *at, const int32_t *ids, int64_t n, const char *suffix, bool twice)
{
    peft            *p = at->p;
    const site      *head = p->m->head.out;
    token_rows      *x;
    tuned_start      start = {.how = INIT_MADE, .make = copy_rows};
    const bool       tied = head && head->weight == at->s->weight;
    const peft_extra there = {.hook = {.output = tokens_looked_up}, .merge = tokens_merge};
    const peft_extra above = {.hook = {.weight = tokens_weight}, .merge = tokens_merge};

    if (n < 1)
        return fail(STATUS_USAGE, "no tokens are named that are to be trained");
    if (model_in_front(p->m).tokens > 0)
        return fail(STATUS_USAGE, "a module of trained tokens must stand before those of virtual ones");
    TRY_TAKE(x, p->a, 1);
    *x = (token_rows){.p = p, .ids = ids, .from = &at->s->weight->value};
    start.context = x;
    TRY(make_map(p->a, at->s->in, ids, n, &x->map));
    TRY(peft_tuned(at, suffix, shape_2(n, at->s->out), start, &x->rows));
    if (tied && twice && !(x->rows->also = arena_printf(p->a, "base_model.model.%s.%s", head->checkpoint, suffix)))
        return STATUS_MEMORY;
    TRY(peft_hang(p, at->module, at->s, &there, x));
    return tied ? peft_hang(p, at->module, head, &above, x) : STATUS_OK;
}

status whole_token_ids(arena *a, const key_texts *texts, int64_t words, int32_t **ids)
{
    TRY_TAKE(*ids, a, texts->n + 1);
    for (int i = 0; i < texts->n; i++) {
        char      *end;
        const long v = strtol(texts->v[i], &end, 10);
        if (end == texts->v[i] || *end || v < 0 || v >= words)
            return fail(STATUS_USAGE, "token '%s' is to be trained, must be a number in 0..%lld", texts->v[i],
                        (long long)words - 1);
        (*ids)[i] = (int32_t)v;
    }
    return STATUS_OK;
}

status peft_tune_tokens(peft *p, int module, const int32_t *ids, int64_t n)
{
    const peft_attach at = {.p = p, .module = module, .s = model_words(p->m)};

    p->modules[module].tokens = ids;
    p->modules[module].n_tokens = n;
    return fail_in(whole_tokens(&at, ids, n, "token_adapter.trainable_tokens_delta", false), "in module %s",
                   p->modules[module].name);
}

/* ---- whole tensors ---------------------------------------------------------------------------------------- */

/* The other site of the model with the same weight: embedding and head; NULL: none. */
static site *tied_to(const peft *p, const site *s)
{
    for (int i = 0; i < p->m->n_sites; i++)
        if (&p->m->sites[i] != s && s->weight && p->m->sites[i].weight == s->weight)
            return &p->m->sites[i];
    return NULL;
}

static bool is_tied(const peft *p, const model_weight *w)
{
    for (int i = 0; i < p->m->n_sites; i++)
        if (p->m->sites[i].weight == w && tied_to(p, &p->m->sites[i]))
            return true;
    return false;
}

/* A weight of its own for a site that shares one. */
static status part_from(const peft *p, site *s)
{
    model_weight *own;

    TRY_TAKE(own, p->a, 1);
    *own = *s->weight;
    own->grad = NULL;
    s->weight = own;
    return STATUS_OK;
}

status peft_untie(peft *p)
{
    site       *head = p->m->head.out;
    const site *words = model_words(p->m);

    if (!head || !words || !words->weight || strcmp(head->weight->name, words->weight->name) != 0)
        return fail(STATUS_USAGE, "untie: head and embedding of this %s model are not one weight", p->m->family->name);
    return head->weight == words->weight ? part_from(p, head) : STATUS_OK;
}

/* Another use of the weight has parted from it. */
static bool part_left(const peft *p, const model_weight *w)
{
    for (int i = 0; i < p->n_tuned; i++)
        if (p->tensors[i].place && p->tensors[i].place != w && strcmp(p->tensors[i].place->name, w->name) == 0)
            return true;
    return false;
}

/* A site whose weight another one uses too. */
static status tune_tied(peft *p, int module, site *s, bool tie)
{
    const site *other = tied_to(p, s);
    const char *name = arena_printf(p->a, "%s.weight", s->checkpoint);

    if (!name)
        return STATUS_MEMORY;
    if (peft_placed(p, module, s->weight))
        return STATUS_OK;
    if (!tie)
        TRY(part_from(p, s));
    TRY(peft_in_place(p, module, s->weight, name));
    p->modules[module].whole_values += shape_count(s->weight->value.s);
    tuned *x = &p->tensors[p->n_tuned - 1];
    if (tie && !(x->also = arena_printf(p->a, "base_model.model.%s.weight", other->checkpoint)))
        return STATUS_MEMORY;
    return STATUS_OK;
}

/* PEFT's rule: some beginning of the name, up to a dot or its end, ends so. */
static bool belongs_to(const char *name, const char *end)
{
    const size_t n = strlen(end);

    for (const char *at = name; *at;) {
        at += strcspn(at, ".");
        if ((size_t)(at - name) >= n && strncmp(at - n, end, n) == 0)
            return true;
        at += *at == '.';
    }
    return false;
}

/* PEFT lists these for classification whether the model has them or not. */
static bool may_be_absent(const char *name)
{
    return strcmp(name, "classifier") == 0 || strcmp(name, "score") == 0;
}

static status tune_named(peft *p, int module, const char *name, bool tie)
{
    bool found = may_be_absent(name);

    for (int i = 0; i < p->m->n_sites; i++) {
        site *s = &p->m->sites[i];
        if (!tied_to(p, s) || !belongs_to(s->checkpoint, name))
            continue;
        TRY_IN(tune_tied(p, module, s, tie), "in %s", s->name);
        found = true;
    }
    for (int i = 0; i < p->m->n_tensors; i++) {
        model_weight *w = &p->m->tensors[i];
        if (is_tied(p, w) || !belongs_to(w->full, name))
            continue;
        found = true;
        if (part_left(p, w) || peft_placed(p, module, w))
            continue;
        TRY(peft_in_place(p, module, w, NULL));
        p->modules[module].whole_values += shape_count(w->value.s);
    }
    if (found)
        return STATUS_OK;
    return fail(STATUS_UNSUPPORTED,
                "modules_to_save: '%s' is no part of this %s model with tensors of its own: no name ends so", name,
                p->m->family->name);
}

status peft_tune_whole(peft *p, int module, const char *const *names, int n, bool tie)
{
    p->modules[module].whole = names;
    p->modules[module].n_whole = n;
    p->modules[module].tie = tie;
    for (int k = 0; k < n; k++)
        TRY_IN(tune_named(p, module, names[k], tie), "in module %s", p->modules[module].name);
    return STATUS_OK;
}

int64_t peft_whole_count(const peft *p, int module)
{
    return p->modules[module].n_tokens * p->m->width + p->modules[module].whole_values;
}

bool peft_parts_tied(const peft *p)
{
    for (int i = 0; i < p->m->n_sites; i++) {
        const model_weight *w = p->m->sites[i].weight;
        if (w && model_find(p->m, w->name) != w)
            return true;
    }
    return false;
}
