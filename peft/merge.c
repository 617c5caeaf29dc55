/* merge: the weight and bias of a site that compute alone what site and modules compute together */
#include "peft/peft.h"

#include <stdlib.h>
#include <string.h>

/* Rows of the identity, and one of zeros. */
static status identity(arena *a, int64_t n, tensor *out)
{
    float *v;

    TRY_TAKE(v, a, (n + 1) * n);
    memset(v, 0, (size_t)((n + 1) * n) * sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i * n + i] = 1;
    *out = (tensor){.s = shape_2(n + 1, n), .type = TYPE_F32, .v = v};
    return STATUS_OK;
}

/* What a site alone with one hook makes of x. */
static status run_site(arena *a, const site *s, site_hook *hook, const tensor *x, const tensor **y, tape **t)
{
    site       alone = *s;
    site_hook *next = hook->next;

    alone.hooks = hook;
    hook->next = NULL;
    TRY(tape_open(t, TYPE_F32));
    var *out = site_linear(*t, &alone, tape_tensor(*t, x));
    hook->next = next;
    tape_keep(*t, out);
    TRY(tape_plan(*t, NULL, RECOMPUTE_NONE));
    TRY(tape_bind(*t, a));
    tape_forward(*t);
    TRY(tape_check(*t));
    *y = &out->t;
    return STATUS_OK;
}

/* A site is linear in x whatever a merging module does there: y(x) = x W'^T + b'. So b' is y of zero, and row i of
 * W'^T is y of the i-th unit vector without it. */
static status merge_by_units(const site *s, site_hook *hook, float *w, float *b, arena *a, tape **t)
{
    model_weight  weight = {.value = {.s = shape_2(s->out, s->in), .type = TYPE_F32, .v = w}};
    model_weight  bias = {.value = {.s = shape_1(s->out), .type = TYPE_F32, .v = b}};
    site          plain = *s;
    tensor        units;
    const tensor *y;

    plain.weight = &weight;
    plain.bias = b ? &bias : NULL;
    TRY(identity(a, s->in, &units));
    TRY(run_site(a, &plain, hook, &units, &y, t));
    const float *v = y->v, *zero = v + s->in * s->out;
    for (int64_t o = 0; o < s->out; o++) {
        for (int64_t i = 0; i < s->in; i++)
            w[o * s->in + i] = v[i * s->out + o] - zero[o];
        if (b)
            b[o] = zero[o];
    }
    return STATUS_OK;
}

static status merge_module(const module *m, int k, const site *s, float *w, float *b)
{
    site_hook *hook = &m->hooks[k];
    arena      work;
    tape      *t = NULL;

    if (!(peft_traits(m->method, m->options) & PEFT_MERGES))
        return fail(STATUS_UNSUPPORTED, "module %s: %s cannot be merged", m->name, m->method->name);
    if (m->method->merge)
        return m->method->merge(s, m->hooks[k].state, w, b);
    if (!hook->input && !hook->weight && !hook->product && !hook->output) /* it stands in the trunk's place */
        return STATUS_OK;
    TRY(arena_open(&work, "merge", (size_t)1 << 36));
    const status done = merge_by_units(s, hook, w, b, &work, &t);
    tape_close(t);
    arena_close(&work);
    return done;
}

status peft_merged(const peft *p, const site *s, float *w, float *b)
{
    for (int i = 0; i < p->n_modules; i++)
        for (int k = 0; k < p->modules[i].n_sites && !p->modules[i].routed; k++)
            if (p->modules[i].at[k] == s)
                TRY_IN(merge_module(&p->modules[i], k, s, w, b), "in %s", s->name);
    for (int i = 0; i < p->n_modules; i++)
        for (int k = 0; k < p->modules[i].n_extra; k++)
            if (p->modules[i].extra[k].s == s && p->modules[i].extra[k].merge)
                TRY(p->modules[i].extra[k].merge(s, p->modules[i].extra[k].hook.state, w));
    return STATUS_OK;
}
