/* with_objective: see the header */
#include "tests/with_objective.h"

#include <math.h>
#include <unistd.h>

/* The recipe of that name, in the arena that this opens. */
static status load(arena *a, const char *name, int n, const char *const *overrides, recipe **out)
{
    const key_texts changed = {n, overrides};
    char            path[300];

    ck_assert_int_eq(chdir(SOURCE_FOLDER), 0);
    snprintf(path, sizeof path, "recipes/objectives/%s.yaml", name);
    MUST(arena_open(a, "setup", (size_t)1 << 28));
    return recipe_load(a, path, &changed, registry(), out);
}

void open_run(run *t, const char *name, int n, const char *const *overrides)
{
    memset(t, 0, sizeof *t);
    MUST(load(&t->a, name, n, overrides, &t->r));
    MUST(opening_begin(&t->in, t->r));
    MUST(opening_load(&t->in, false));
    MUST(opening_settle(&t->in, true));
    MUST(trainer_open(&t->x, &t->in.s.setup, &t->in.s.tuned, &t->in.s.m, t->in.s.p, &t->in.trainer, false));
}

status refuse(const char *name, const char *override)
{
    arena   a;
    recipe *r;
    opening in;
    status  s = load(&a, name, 1, &override, &r);

    if (s == STATUS_OK) {
        MUST(opening_begin(&in, r));
        s = opening_load(&in, false);
        opening_end(&in);
    }
    arena_close(&a);
    return s;
}

void close_run(run *t)
{
    trainer_close(&t->x);
    opening_end(&t->in);
    arena_close(&t->a);
}

double next_loss(run *t)
{
    pack_step plan;

    packer_step(&t->in.data, &plan);
    packer_fill(&t->in.data, &plan, 0, &t->x.f.b);
    feed_load(&t->x.f);
    tape_set_run(t->x.t, &t->x.run);
    tape_forward(t->x.t);
    return (double)*(const float *)t->x.loss->t.v;
}

const float *scores_of(const run *t)
{
    return t->x.out.scores->t.v;
}

void same(const char *what, double is, double must)
{
    ck_assert_msg(fabs(is - must) <= 1e-6 * (1 + fabs(must)), "%s: the loss is %.9g, must be %.9g", what, is, must);
}
