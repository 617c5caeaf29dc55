/* work: micro-batches filled and counted */
#include "recipes/work.h"

/* Query-key pairs of attention over a micro-batch: all, or those of a key not behind its query. */
static tape_pairs attention_pairs(const feed *f, bool all)
{
    const batch *b = &f->b;
    const bool   encoder = b->source.capacity > 0;
    tape_pairs   pairs = {.source = encoder ? f->recorded.source->q_offsets : NULL};

    for (int i = 0; i < b->n_seqs; i++) {
        const double n = b->offsets[i + 1] - b->offsets[i];
        const double read = encoder ? b->source.offsets[i + 1] - b->source.offsets[i] : 0;
        pairs.own += all ? n * n : n * (n + 1) / 2;
        pairs.read += read * read;
        pairs.crossed += n * read;
    }
    return pairs;
}

void work_add(work *w, trainer *x, const packer *data, const pack_step *plan)
{
    for (int leaf = 0; leaf < plan->n_leaves; leaf++) {
        packer_fill(data, plan, leaf, &x->f.b);
        feed_load(&x->f);
        const tape_pairs pairs = attention_pairs(&x->f, x->m->sees_all);
        const tape_work  f = tape_flops(x->t, &pairs);
        w->forward += f.forward;
        w->backward += f.backward;
    }
    w->tokens += plan->n_tokens;
    w->targets += plan->n_targets;
    w->steps++;
}
