/* attention: the keys in front are a second attention, joined with the first, or added to it, by their log-sum-exps */
#include "layers/attention.h"

static bool has_front(const site *kv)
{
    for (const site_hook *h = kv->hooks; h; h = h->next)
        if (h->kv)
            return true;
    return false;
}

/* Over the keys and values in front all rows are one sequence. */
static var *over_front(tape *t, const site *kv, const site_hook *h, const stream *s, var *q,
                       const attention_options *o, var **lse)
{
    const attention_options all = {.heads = o->heads, .kv_heads = o->kv_heads, .scale = o->scale,
                                   .softcap = o->softcap};
    var *k, *v, *offsets;

    h->kv(t, kv, h->state, &k, &v, &offsets);
    return ag_attention(t, q, k, v, s->whole, offsets, NULL, NULL, &all, lse);
}

var *site_attention(tape *t, const site *kv, const stream *s, var *q, var *k, var *v, const attention_options *o)
{
    const bool front = has_front(kv);
    var       *lse, *more, *y = ag_attention(t, q, k, v, s->q_offsets, s->cache ? s->k_offsets : s->q_offsets,
                                             s->q_start, s->blocks, o, front ? &lse : NULL);

    for (const site_hook *h = kv->hooks; h; h = h->next)
        if (h->kv) {
            var *z = over_front(t, kv, h, s, q, o, &more);
            y = (h->whole ? ag_attention_add : ag_attention_join)(t, y, lse, z, more, &lse);
        }
    return y;
}
