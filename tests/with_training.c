/* with_training: see the header */
#include "tests/with_training.h"

#include "tests/check.h"

static void open_samples(training *g, int samples, int tokens, int tasks)
{
    int32_t *ids = arena_take(&g->s.memory, (size_t)tokens, sizeof *ids);

    for (int32_t i = 0; i < tokens; i++)
        ids[i] = 3 + 7 * i;
    g->x = (examples){.n = samples, .n_tokens = samples * tokens, .longest = tokens};
    g->x.v = arena_take(&g->s.memory, (size_t)samples, sizeof *g->x.v);
    for (int32_t i = 0; i < samples; i++)
        g->x.v[i] = (example){.n = tokens, .ids = ids, .labels = ids, .label = -1, .batch = -1, .task = i % tasks};
}

void training_open(training *g, int samples, int tokens, int in_a_batch, int tasks)
{
    const pack_options packing = {.pack = in_a_batch * tokens, .batch_samples = samples};
    trainer_options    o = {.schedule = {.schedule = "constant"}, .steps = 10, .optimizer_options = &g->adamw};

    open_samples(g, samples, tokens, tasks);
    MUST(packer_open(&g->s.memory, &g->x, &packing, &g->data));
    MUST(adamw_set(&g->adamw, 1e-2, 1e-8, 0, &o.optimizer));
    o.pack = g->data.capacity;
    o.seqs = g->data.seqs_capacity;
    o.leaves = g->data.leaves_capacity;
    MUST(trainer_open(&g->t, &g->s.memory, &g->s.tuned, &g->s.m, g->s.p, &o, false));
    packer_step(&g->data, &g->plan);
    g->t.run = (op_run){.seed = 9, .step = 4, .training = true};
}

void training_close(training *g)
{
    trainer_close(&g->t);
    small_close(&g->s);
}
