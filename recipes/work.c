/* work: micro-batches filled and counted */
#include "recipes/work.h"

/* Query-key pairs of attention over a micro-batch: all, or those of a key not behind its query. */
static double attention_pairs(const batch *b, bool all)
{
    double pairs = 0;

    for (int i = 0; i < b->n_seqs; i++) {
        const double n = b->offsets[i + 1] - b->offsets[i];
        pairs += all ? n * n : n * (n + 1) / 2;
    }
    return pairs;
}

void work_add(work *w, trainer *x, const packer *data, const pack_step *plan)
{
    for (int leaf = 0; leaf < plan->n_leaves; leaf++) {
        packer_fill(data, plan, leaf, &x->f.b);
        feed_load(&x->f);
        const tape_work f = tape_flops(x->t, attention_pairs(&x->f.b, x->m->sees_all));
        w->forward += f.forward;
        w->backward += f.backward;
    }
    w->tokens += plan->n_tokens;
    w->targets += plan->n_targets;
    w->steps++;
}
