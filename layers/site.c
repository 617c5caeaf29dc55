/* site: the product at a site, with its hooks */
#include "layers/site.h"

void site_hang(site *s, site_hook *hook)
{
    site_hook **at = &s->hooks;

    while (*at)
        at = &(*at)->next;
    hook->next = NULL;
    *at = hook;
}

void site_unhang(site *s, site_hook *hook)
{
    for (site_hook **at = &s->hooks; *at; at = &(*at)->next)
        if (*at == hook) {
            *at = hook->next;
            return;
        }
}

var *weight_var(tape *t, model_weight *w)
{
    if (!w)
        return NULL;
    if (w->part)
        return ag_put_values(t, tape_tensor(t, &w->value), tape_param(t, w->part->values, w->part->grad),
                             tape_tensor(t, w->part->places));
    return w->grad ? tape_param(t, &w->value, w->grad) : tape_tensor(t, &w->value);
}

static var *changed_weight(tape *t, const site *s, var *w)
{
    bool changed = false;

    for (site_hook *h = s->hooks; h; h = h->next)
        changed |= h->weight != NULL;
    if (!changed)
        return w;
    tape_weight_begin(t);
    w = ag_expand(t, w);
    for (site_hook *h = s->hooks; h; h = h->next)
        if (h->weight)
            w = h->weight(t, s, h->state, w);
    tape_weight_end(t);
    return w;
}

static var *output(tape *t, const site *s, var *x, var *y)
{
    for (site_hook *h = s->hooks; h; h = h->next)
        if (h->output)
            y = h->output(t, s, h->state, x, y);
    return y;
}

var *site_linear(tape *t, const site *s, var *x)
{
    var *w = weight_var(t, s->weight), *b = weight_var(t, s->bias);
    bool bare = false; /* hooks want the product without the bias */

    for (site_hook *h = s->hooks; h; h = h->next) {
        if (h->input)
            x = h->input(t, s, h->state, x);
        bare |= h->product != NULL;
    }
    w = changed_weight(t, s, w);

    var *y = ag_linear(t, x, w, bare ? NULL : b);
    for (site_hook *h = s->hooks; h; h = h->next)
        if (h->product)
            y = h->product(t, s, h->state, x, y);
    if (bare && b)
        y = ag_affine(t, y, NULL, b);
    return output(t, s, x, y);
}

var *site_product(tape *t, const char *place, const site *s, var *x)
{
    tape_enter(t, "%s", place);
    var *y = site_linear(t, s, x);
    tape_leave(t);
    return y;
}

var *site_embed(tape *t, const site *s, var *ids)
{
    return output(t, s, ids, ag_embed(t, weight_var(t, s->weight), ids));
}

var *site_block(tape *t, const site *s, var *x, var *y)
{
    return output(t, s, x, y);
}

var *site_layernorm(tape *t, const site *s, var *x, double eps)
{
    return ag_layernorm(t, x, weight_var(t, s->weight), weight_var(t, s->bias), eps);
}
