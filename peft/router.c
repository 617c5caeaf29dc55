/* router: modules that one router answers for */
#include "peft/router.h"

#include "peft/lora.h"

#include <string.h>

#define ROUTER(name) extern const peft_method peft_router_##name;
#include "peft/routers.def"
#undef ROUTER

static const peft_method *const routers[] = {
#define ROUTER(name) &peft_router_##name,
#include "peft/routers.def"
#undef ROUTER
};

const peft_method *const *peft_routers(int *n)
{
    *n = (int)COUNT_OF(routers);
    return routers;
}

const peft_method *peft_find_router(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(routers); i++)
        if (strcmp(routers[i]->name, name) == 0)
            return routers[i];
    return NULL;
}

/* ---- adding one ---------------------------------------------------------------------------------------- */

static int find_module(const peft *p, const char *name)
{
    for (int i = 0; i < p->n_modules; i++)
        if (strcmp(p->modules[i].name, name) == 0)
            return i;
    return -1;
}

static status list_modules(peft *p, const char *router, const char *const *over, int n, int **out, int *n_out)
{
    *n_out = n > 0 ? n : p->n_modules;
    TRY_TAKE(*out, p->a, *n_out);
    for (int i = 0; i < *n_out; i++) {
        const int module = n > 0 ? find_module(p, over[i]) : i;
        if (module < 0)
            return fail(STATUS_USAGE, "router %s: there is no module '%s'", router, over[i]);
        for (int k = 0; k < i; k++)
            if ((*out)[k] == module)
                return fail(STATUS_USAGE, "router %s: module '%s' is listed twice", router, over[i]);
        (*out)[i] = module;
    }
    return *n_out > 0 ? STATUS_OK : fail(STATUS_USAGE, "router %s: there are no modules", router);
}

/* The module's factors can be taken out of its hands. */
static status check_module(const peft *p, const char *router, const module *m)
{
    if (m->method != &peft_lora)
        return fail(STATUS_UNSUPPORTED, "router %s: module %s is of the method %s, must be lora", router, m->name,
                    m->method->name);
    if (m->routed)
        return fail(STATUS_USAGE, "router %s: module %s has a router already", router, m->name);
    if (m->n_whole > 0 || m->n_tokens > 0)
        return fail(STATUS_UNSUPPORTED, "router %s: module %s holds %d whole parts and %lld rows of the trunk beside "
                    "its factors, must hold none", router, m->name, m->n_whole, (long long)m->n_tokens);
    for (int i = 0; i < p->n_tuned; i++)
        if (&p->modules[p->tensors[i].module] == m && p->tensors[i].place)
            return fail(STATUS_UNSUPPORTED, "router %s: module %s holds %s in the trunk's place beside its factors, "
                        "must hold none", router, m->name, p->tensors[i].name);
    for (int k = 0; k < m->n_sites; k++)
        if (m->at[k]->kind != SITE_LINEAR || m->at[k]->block < 0)
            return fail(STATUS_UNSUPPORTED, "router %s: module %s sits on %s; only linear layers of blocks have a "
                        "row for each token", router, m->name, m->at[k]->checkpoint);
    return STATUS_OK;
}

status peft_route(peft *p, const char *name, const peft_method *router, const void *options, const char *const *over,
                  int n_over)
{
    int  *modules, n;
    bool *match;
    void *own;

    TRY(list_modules(p, router->name, over, n_over, &modules, &n));
    for (int i = 0; i < n; i++)
        TRY(check_module(p, router->name, &p->modules[modules[i]]));
    if (p->m->has_source)
        return fail(STATUS_UNSUPPORTED, "router %s: a %s model has rows of two kinds, must have one stream",
                    router->name, p->m->family->name);
    own = arena_take(p->a, 1, router->keys->size);
    TRY_TAKE(match, p->a, p->m->n_sites);
    if (!own)
        return STATUS_MEMORY;
    memset(own, 0, router->keys->size);
    if (options)
        memcpy(own, options, router->keys->size);
    ((router_options *)own)->n = n;
    for (int s = 0; s < p->m->n_sites; s++) {
        match[s] = false;
        for (int i = 0; i < n; i++)
            match[s] |= peft_sits(p, modules[i], &p->m->sites[s]);
    }
    for (int i = 0; i < n; i++) {
        module *m = &p->modules[modules[i]];
        for (int k = 0; k < m->n_sites; k++)
            site_unhang(m->hung[k], &m->hooks[k]);
        m->routed = true;
    }
    return peft_add_at(p, &(module){.name = name, .method = router, .options = own, .trains = true, .over = modules,
                                    .n_over = n}, match);
}

/* ---- experts -------------------------------------------------------------------------------------------- */

static status take_expert(router_experts *x, const module *m, const site *s, int64_t e)
{
    for (int k = 0; k < m->n_sites; k++)
        if (m->at[k] == s)
            TRY_IN(lora_parts(m->hooks[k].state, &x->a[e], &x->b[e], &x->scale[e]), "in module %s, %s", m->name,
                   s->name);
    x->train |= m->trains && x->a[e];
    return STATUS_OK;
}

/* Rows of the table, the columns' owners and the scales. */
static status fill_tables(arena *a, router_experts *x)
{
    int32_t *owner;
    float   *scales;

    for (int64_t e = 0; e < x->n; e++) {
        const int64_t rank = x->a[e] ? x->a[e]->value.s.d[0] : 0;
        x->ranks += rank;
        x->rank = rank > x->rank ? rank : x->rank;
    }
    TRY_TAKE(x->rows, a, 3 * x->n);
    TRY_TAKE(owner, a, x->ranks);
    TRY_TAKE(scales, a, x->n);
    memset(x->rows, 0, (size_t)(3 * x->n) * sizeof *x->rows);
    for (int64_t e = 0, r = 0; e < x->n; e++) {
        scales[e] = (float)x->scale[e];
        if (!x->a[e])
            continue;
        CHECK(x->a[e]->first % EXPERT_STEP == 0 && x->b[e]->first % EXPERT_STEP == 0);
        if (x->b[e]->first / EXPERT_STEP > INT32_MAX || x->a[e]->first / EXPERT_STEP > INT32_MAX)
            return fail(STATUS_MEMORY, "router: more than %lld tuned values", (long long)INT32_MAX * EXPERT_STEP);
        x->rows[3 * e] = (int32_t)x->a[e]->value.s.d[0];
        x->rows[3 * e + 1] = (int32_t)(x->a[e]->first / EXPERT_STEP);
        x->rows[3 * e + 2] = (int32_t)(x->b[e]->first / EXPERT_STEP);
        for (int64_t i = 0; i < x->rows[3 * e]; i++)
            owner[r++] = (int32_t)e;
    }
    x->table = (tensor){.s = shape_2(x->n, 3), .type = TYPE_I32, .v = x->rows};
    x->owner = (tensor){.s = shape_1(x->ranks), .type = TYPE_I32, .v = owner};
    x->scales = (tensor){.s = shape_1(x->n), .type = TYPE_F32, .v = scales};
    return STATUS_OK;
}

status router_experts_at(const peft_attach *at, router_experts *x)
{
    arena        *a = at->p->a;
    const module *m = &at->p->modules[at->module];

    *x = (router_experts){.p = at->p, .over = m->over, .n = m->n_over};
    TRY_TAKE(x->a, a, x->n);
    TRY_TAKE(x->b, a, x->n);
    TRY_TAKE(x->scale, a, x->n);
    memset(x->a, 0, (size_t)x->n * sizeof *x->a);
    memset(x->b, 0, (size_t)x->n * sizeof *x->b);
    for (int64_t e = 0; e < x->n; e++) {
        x->scale[e] = 0;
        TRY(take_expert(x, &at->p->modules[m->over[e]], at->s, e));
    }
    return fill_tables(a, x);
}

static router_form form = ROUTER_BY_SHAPE;

void router_force(router_form which)
{
    form = which;
}

/* Sorting gathers a row once for each of its modules, the product with all factors does what most weights make 0. */
static bool sorts(const router_experts *x, int64_t most)
{
    return form == ROUTER_BY_SHAPE ? x->ranks > 4 * most * x->rank : form == ROUTER_SORTED;
}

var *router_mixture(tape *t, router_experts *x, var *y, var *in, var *w, int64_t most)
{
    var *values = peft_all_values(t, x->p, x->train), *table = tape_input(t, &x->table), *b;
    var *scales = tape_tensor(t, &x->scales);

    if (sorts(x, most))
        return ag_lora_gated(t, y, in, values, w, table, scales, x->rank, most);
    tape_weight_begin(t);
    var *a = ag_stack_factors(t, values, table, x->ranks, shape_last(in->t.s), shape_last(y->t.s), &b);
    tape_weight_end(t);
    var *u = ag_gain_columns(t, ag_linear(t, in, a, NULL), w, tape_input(t, &x->owner), scales);
    return ag_add(t, y, ag_linear(t, u, b, NULL));
}
