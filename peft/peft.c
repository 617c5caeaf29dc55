/* peft: modules, their tuned tensors and flat buffers */
#include "peft/peft.h"

#include "core/device.h"
#include "core/quant.h"
#include "core/rng.h"
#include "core/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TUNED_ALIGN = 16 }; /* values */

#define METHOD(name) extern const peft_method peft_##name;
#include "peft/methods.def"
#undef METHOD

static const peft_method *const methods[] = {
#define METHOD(name) &peft_##name,
#include "peft/methods.def"
#undef METHOD
};

const tuned_start START_ZERO = {.how = INIT_VALUE, .size = 0}, START_ONE = {.how = INIT_VALUE, .size = 1};

tuned_start start_linear(int64_t in)
{
    return (tuned_start){.how = INIT_UNIFORM, .size = 1 / sqrt((double)in)};
}

const peft_method *const *peft_methods(int *n)
{
    *n = (int)COUNT_OF(methods);
    return methods;
}

const peft_method *peft_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(methods); i++)
        if (strcmp(methods[i]->name, name) == 0)
            return methods[i];
    return NULL;
}

uint32_t peft_traits(const peft_method *method, const void *options)
{
    return method->traits_with ? method->traits_with(options) : method->traits;
}

status peft_open(arena *a, model *m, uint64_t seed, peft **out)
{
    peft *p;

    TRY_TAKE(p, a, 1);
    *p = (peft){.a = a, .m = m, .seed = seed, .task = -1};
    TRY_TAKE(p->modules, a, PEFT_MODULES_MAX);
    TRY_TAKE(p->tensors, a, PEFT_TUNED_MAX);
    *out = p;
    return STATUS_OK;
}

size_t peft_spare_bytes(const peft *p)
{
    return (size_t)(PEFT_TUNED_MAX - p->n_tuned) * sizeof *p->tensors +
           (size_t)(PEFT_MODULES_MAX - p->n_modules) * sizeof *p->modules;
}

static status add_tensor(peft *p, int module, const char *name, dtype type, shape s, tuned_start start,
                         bool fixed, tuned **out)
{
    int64_t *size = fixed ? &p->fixed_size : &p->size;

    if (!name)
        return STATUS_MEMORY;
    if (p->n_tuned == PEFT_TUNED_MAX)
        return fail(STATUS_MEMORY, "more than %d tuned tensors", PEFT_TUNED_MAX);

    tuned *x = &p->tensors[p->n_tuned];
    *x = (tuned){.name = name, .module = module, .fixed = fixed, .start = start, .first = *size};
    x->value = (tensor){.s = s, .type = type};
    x->grad = x->value;
    p->n_tuned++;
    *size += (shape_count(s) + TUNED_ALIGN - 1) / TUNED_ALIGN * TUNED_ALIGN;
    if (!fixed && p->modules[module].trains)
        p->trained += shape_count(s);
    *out = x;
    return STATUS_OK;
}

bool tuned_is(const tuned *x, const char *name)
{
    return strcmp(x->name, name) == 0 || (x->also && strcmp(x->also, name) == 0);
}

static const char *name_at(const peft_attach *at, const char *suffix)
{
    return at->s ? arena_printf(at->p->a, "base_model.model.%s.%s", at->s->checkpoint, suffix)
                 : arena_printf(at->p->a, "base_model.%s", suffix);
}

status peft_tuned(const peft_attach *at, const char *suffix, shape s, tuned_start start, tuned **out)
{
    return add_tensor(at->p, at->module, name_at(at, suffix), TYPE_F32, s, start, false, out);
}

status peft_tuned_alone(const peft_attach *at, const char *name, shape s, tuned_start start, tuned **out)
{
    return add_tensor(at->p, at->module, name, TYPE_F32, s, start, false, out);
}

status peft_fixed(const peft_attach *at, const char *suffix, shape s, tuned_start start, tuned **out)
{
    return add_tensor(at->p, at->module, name_at(at, suffix), TYPE_F32, s, start, true, out);
}

status peft_places(const peft_attach *at, const char *suffix, int64_t n, int64_t rows, int64_t columns,
                   tuned_start start, tuned **out)
{
    TRY(add_tensor(at->p, at->module, name_at(at, suffix), TYPE_I32, shape_2(2, n), start, true, out));
    (*out)->below[0] = rows;
    (*out)->below[1] = columns;
    return STATUS_OK;
}

status peft_flat_places(const peft_attach *at, const char *suffix, int64_t n, int64_t of, tuned_start start, tuned **out)
{
    TRY(add_tensor(at->p, at->module, name_at(at, suffix), TYPE_I32, shape_1(n), start, true, out));
    (*out)->below[0] = of;
    return STATUS_OK;
}

static status check_place(const peft *p, int module, const model_weight *w)
{
    for (int i = 0; i < p->n_tuned; i++)
        if (p->tensors[i].place == w && p->tensors[i].module != module)
            return fail(STATUS_USAGE, "%s is trained by two modules, must be by one", w->name);
    return STATUS_OK;
}

status peft_in_place(peft *p, int module, model_weight *w, const char *name)
{
    tuned *x;

    TRY(check_place(p, module, w));
    if (peft_placed(p, module, w))
        return STATUS_OK;
    /* PEFT does not wrap the model for what is in front of it */
    const char *before = p->modules[module].method->everywhere ? "base_model" : "base_model.model";
    TRY(add_tensor(p, module, arena_printf(p->a, "%s.%s", before, name ? name : w->full), TYPE_F32,
                   w->value.s, (tuned_start){.how = INIT_COPY}, false, &x));
    x->place = w;
    x->kept = w->value;
    x->start.from = &x->kept;
    w->grad = p->modules[module].trains ? &x->grad : NULL;
    return STATUS_OK;
}

status peft_instead(const peft_attach *at, model_weight *w, dtype type, tuned_start start, tuned **out)
{
    peft         *p = at->p;
    const int64_t size = p->fixed_size;

    TRY(check_place(p, at->module, w));
    if (peft_placed(p, at->module, w))
        return fail(STATUS_USAGE, "%s is replaced and trained as a whole, must be one of both", w->name);
    TRY(add_tensor(p, at->module, arena_printf(p->a, "base_model.model.%s", w->full), type, w->value.s, start, true,
                   out));
    p->fixed_size = size;
    (*out)->first = -1;
    (*out)->start.unsaved = true;
    (*out)->place = w;
    (*out)->kept = w->value;
    return STATUS_OK;
}

bool peft_placed(const peft *p, int module, const model_weight *w)
{
    for (int i = 0; i < p->n_tuned; i++)
        if (p->tensors[i].place == w && p->tensors[i].module == module)
            return true;
    return false;
}

static status check_name(const peft *p, const char *name)
{
    for (int i = 0; i < p->n_modules; i++)
        if (strcmp(p->modules[i].name, name) == 0)
            return fail(STATUS_USAGE, "two modules are named '%s'", name);
    return p->n_modules < PEFT_MODULES_MAX
               ? STATUS_OK
               : fail(STATUS_USAGE, "more than %d modules", PEFT_MODULES_MAX);
}

static status sit_down(peft *p, int module_number, site *s, void *shared)
{
    module           *m = &p->modules[module_number];
    site_hook        *h = &m->hooks[m->n_sites];
    const peft_attach at = {.p = p, .module = module_number, .s = s, .shared = shared, .hook = h};

    h->input = m->method->input;
    h->weight = m->method->weight;
    h->product = m->method->product;
    h->output = m->method->forward;
    h->kv = m->method->kv;
    TRY_IN(m->method->attach(&at, m->options, &h->state), "in %s", s->name);
    m->at[m->n_sites] = s;
    m->hung[m->n_sites] = s;
    m->n_sites++;
    site_hang(s, h);
    return STATUS_OK;
}

status peft_hang(peft *p, int number, const site *s, const peft_extra *like, void *state)
{
    module *m = &p->modules[number];

    CHECK(m->n_extra < PEFT_EXTRA_MAX);
    peft_extra *x = &m->extra[m->n_extra++];
    *x = *like;
    x->s = &p->m->sites[s->number];
    x->hook.state = state;
    site_hang(x->s, &x->hook);
    return STATUS_OK;
}

/* What the sites share, then the sites, then what is beside them. */
static status take_places(peft *p, int number, const bool *match)
{
    const module     *m = &p->modules[number];
    const peft_attach at = {.p = p, .module = number};
    const site      **chosen;
    void             *shared = NULL;
    int               n = 0;

    TRY_TAKE(chosen, p->a, p->m->n_sites);
    for (int i = 0; i < p->m->n_sites; i++)
        if (match[i])
            chosen[n++] = &p->m->sites[i];
    if (m->method->open)
        TRY(m->method->open(&at, m->options, chosen, n, &shared));
    for (int i = 0; i < p->m->n_sites; i++)
        if (match[i])
            TRY(sit_down(p, number, &p->m->sites[i], shared));
    return m->method->beside ? m->method->beside(p, number, m->options) : STATUS_OK;
}

status peft_add(peft *p, const char *name, const peft_method *method, const void *options,
                const char *const *patterns, int n_patterns, bool trains)
{
    bool *match;

    TRY_TAKE(match, p->a, p->m->n_sites);
    memset(match, 0, (size_t)p->m->n_sites);
    TRY_IN(sites_match(p->m->sites, p->m->n_sites, method->sites, patterns, n_patterns, match), "in module %s",
           name);
    return peft_add_at(p, &(module){.name = name, .method = method, .options = options, .trains = trains}, match);
}

status peft_add_at(peft *p, const module *like, const bool *match)
{
    TRY(check_name(p, like->name));
    module *m = &p->modules[p->n_modules];
    *m = *like;
    TRY_TAKE(m->at, p->a, p->m->n_sites);
    TRY_TAKE(m->hooks, p->a, p->m->n_sites);
    TRY_TAKE(m->hung, p->a, p->m->n_sites);
    TRY_TAKE(m->extra, p->a, PEFT_EXTRA_MAX);
    memset(m->hooks, 0, (size_t)p->m->n_sites * sizeof *m->hooks);
    p->n_modules++;
    return fail_in(take_places(p, p->n_modules - 1, match), "in module %s", like->name);
}

static status start_tensor(const peft *p, const tuned *x)
{
    const int64_t n = shape_count(x->value.s);
    const float   size = (float)x->start.size;
    float        *v = x->value.v;
    char          purpose[600];

    snprintf(purpose, sizeof purpose, "init:%s:%s", p->modules[x->module].name, x->name);
    switch (x->start.how) {
    case INIT_VALUE:
        for (int64_t i = 0; i < n; i++)
            v[i] = size;
        break;
    case INIT_COPY:
        quant_expand(x->start.from->type, x->start.from->v, n, v);
        break;
    case INIT_MADE:
        return x->start.make(p->a, x->start.context, &x->value);
    case INIT_UNIFORM:
        rng_fill_uniform(rng_key_for(p->seed, purpose), 0, -size, size, v, n);
        break;
    case INIT_ABOVE:
        rng_fill_uniform(rng_key_for(p->seed, purpose), 0, 0, size, v, n);
        break;
    case INIT_NORMAL:
        rng_fill_normal(rng_key_for(p->seed, purpose), 0, size, v, n);
        break;
    }
    return STATUS_OK;
}

/* Tuned values that stand in for trunk tensors come to their places, or the trunk gets its own back. */
static void stand_in(peft *p, bool in)
{
    for (int i = 0; i < p->n_tuned; i++) {
        tuned *x = &p->tensors[i];
        if (!x->place)
            continue;
        if (x->value.v)
            x->place->value = in ? x->value : x->kept;
        x->place->grad = in && !x->fixed && p->modules[x->module].trains ? &x->grad : NULL;
        x->place->part = in && x->part && p->modules[x->module].trains ? &x->part->w : NULL;
    }
}

static status take_bytes(arena *memory, size_t bytes, void **v)
{
    *v = arena_take(memory, bytes, 1);
    return *v ? STATUS_OK : STATUS_MEMORY;
}

status peft_allocate(peft *p, arena *memory)
{
    TRY_TAKE(p->values, memory, p->size);
    TRY_TAKE(p->fixed_values, memory, p->fixed_size);
    p->all.v = p->values;
    memset(p->values, 0, (size_t)p->size * sizeof *p->values);
    for (int i = 0; i < p->n_tuned; i++) {
        tuned *x = &p->tensors[i];
        if (x->first >= 0)
            x->value.v = (x->fixed ? p->fixed_values : p->values) + x->first;
        else
            TRY(take_bytes(memory, tensor_bytes(&x->value), &x->value.v));
    }
    for (int i = 0; i < p->n_tuned; i++) { /* one may make others too */
        TRY_IN(start_tensor(p, &p->tensors[i]), "in %s", p->tensors[i].name);
        if (p->tensors[i].part) /* there is a copy, and the file's takes no memory until it is read again */
            weights_let_go(p->m->source, &p->tensors[i].kept);
    }
    stand_in(p, true);
    return STATUS_OK;
}

peft_start_cost peft_cost_of_start(const peft *p)
{
    peft_start_cost c = {0};

    for (int i = 0; i < p->n_modules; i++)
        for (int k = 0; k < p->modules[i].n_sites && p->modules[i].method->start_cost; k++)
            p->modules[i].method->start_cost(p->modules[i].at[k], p->modules[i].options, &c);
    return c;
}

size_t peft_instead_bytes(const peft *p)
{
    size_t bytes = 0;

    for (int i = 0; i < p->n_tuned; i++)
        if (p->tensors[i].first < 0)
            bytes += tensor_bytes(&p->tensors[i].value);
    return bytes;
}

void peft_use_gradients(peft *p, float *flat)
{
    p->all_gradients.v = flat;
    for (int i = 0; i < p->n_tuned; i++)
        if (!p->tensors[i].fixed)
            p->tensors[i].grad.v = flat + p->tensors[i].first;
}

var *peft_var(tape *t, const peft *p, tuned *x)
{
    return !x->fixed && p->modules[x->module].trains ? tape_param(t, &x->value, &x->grad)
                                                     : tape_tensor(t, &x->value);
}

var *peft_value(tape *t, const peft *p, tuned *x)
{
    return ag_expand(t, peft_var(t, p, x));
}

var *peft_dropout(tape *t, const peft *p, const site *s, var *x, double share)
{
    const row_names *rows = &p->m->rows;

    return share > 0 && rows->samples ? ag_dropout(t, x, rows->samples, rows->positions, share, s->number)
                                      : x;
}

void peft_add_loss(peft_losses *l, var *value, double weight)
{
    CHECK(l->n < l->most);
    l->v[l->n++] = (struct peft_loss){value, weight};
}

status peft_extra_loss(tape *t, const peft *p, arena *a, peft_losses *l)
{
    *l = (peft_losses){.most = p->n_tuned};
    TRY_TAKE(l->v, a, l->most);
    for (int i = 0; i < p->n_modules; i++)
        if (p->modules[i].trains && p->modules[i].method->extra_loss)
            p->modules[i].method->extra_loss(t, p, i, p->modules[i].options, l);
    return STATUS_OK;
}

status peft_terms_begin(peft *p, arena *a, peft_terms *l)
{
    *l = (peft_terms){.most = p->m->n_sites};
    TRY_TAKE(l->v, a, l->most);
    p->terms = l;
    return STATUS_OK;
}

void peft_terms_end(peft *p)
{
    p->terms = NULL;
}

void peft_add_term(const peft *p, var *value, double weight)
{
    CHECK(p->terms && p->terms->n < p->terms->most);
    p->terms->v[p->terms->n++] = (struct peft_loss){value, weight};
}

var *peft_all_values(tape *t, peft *p, bool trained)
{
    p->all.s = p->all_gradients.s = shape_1(p->size); /* all modules have their places by now */
    p->all.type = p->all_gradients.type = TYPE_F32;
    return trained ? tape_param(t, &p->all, &p->all_gradients) : tape_tensor(t, &p->all);
}

static bool steps(const module *m)
{
    return m->trains && (peft_traits(m->method, m->options) & PEFT_STEPS);
}

bool peft_steps(const peft *p)
{
    for (int i = 0; i < p->n_modules; i++)
        if (steps(&p->modules[i]))
            return true;
    return false;
}

status peft_after_step(peft *p, const peft_step *s)
{
    for (int i = 0; i < p->n_modules; i++)
        if (steps(&p->modules[i]))
            TRY_IN(p->modules[i].method->after_step(p, i, p->modules[i].options, s), "in module %s",
                   p->modules[i].name);
    return STATUS_OK;
}

void peft_detach(peft *p)
{
    for (int i = 0; i < p->n_modules; i++)
        for (int k = 0; k < p->modules[i].n_sites && !p->modules[i].routed; k++)
            site_unhang(p->modules[i].hung[k], &p->modules[i].hooks[k]);
    for (int i = 0; i < p->n_modules; i++)
        for (int k = 0; k < p->modules[i].n_extra; k++)
            site_unhang(p->modules[i].extra[k].s, &p->modules[i].extra[k].hook);
    stand_in(p, false);
}

void peft_attach_again(peft *p)
{
    for (int i = 0; i < p->n_modules; i++)
        for (int k = 0; k < p->modules[i].n_sites && !p->modules[i].routed; k++)
            site_hang(p->modules[i].hung[k], &p->modules[i].hooks[k]);
    for (int i = 0; i < p->n_modules; i++)
        for (int k = 0; k < p->modules[i].n_extra; k++)
            site_hang(p->modules[i].extra[k].s, &p->modules[i].extra[k].hook);
    stand_in(p, true);
}

const tensor *peft_stand_in(const peft *p, const char *name)
{
    peft_settle(p);
    for (int i = 0; i < p->n_tuned; i++)
        if (p->tensors[i].place && strcmp(p->tensors[i].place->name, name) == 0)
            return &p->tensors[i].value;
    return NULL;
}

bool peft_changes(const peft *p, const site *s)
{
    for (int i = 0; i < p->n_modules; i++) {
        if (peft_sits(p, i, s))
            return true;
        for (int k = 0; k < p->modules[i].n_extra; k++)
            if (p->modules[i].extra[k].s == s)
                return true;
    }
    for (int i = 0; i < p->n_tuned; i++)
        if (p->tensors[i].place && (p->tensors[i].place == s->weight || p->tensors[i].place == s->bias))
            return true;
    return false;
}

bool peft_sits(const peft *p, int module, const site *s)
{
    for (int k = 0; k < p->modules[module].n_sites; k++)
        if (p->modules[module].at[k] == s)
            return true;
    return false;
}

/* The tuned values, or the fixed ones, and whether they have a twin on the current device. */
static bool values_there(const peft *p, bool fixed, tensor *values)
{
    const device *d = device_current();
    dtype         type;

    *values = (tensor){.s = shape_1(fixed ? p->fixed_size : p->size), .type = TYPE_F32,
                       .v = fixed ? p->fixed_values : p->values};
    return d && shape_count(values->s) > 0 && device_find(d, values->v, &type) != NULL;
}

status peft_pull(const peft *p)
{
    tensor values;

    if (!values_there(p, false, &values))
        return STATUS_OK;
    device_pull(device_current(), &values);
    return device_check(device_current());
}

status peft_push(const peft *p)
{
    tensor values;

    for (int fixed = 0; fixed < 2; fixed++)
        if (values_there(p, fixed, &values)) {
            device_push(device_current(), &values);
            TRY(device_check(device_current()));
        }
    return STATUS_OK;
}
