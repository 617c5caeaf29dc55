/* together: 32 runs on one trunk that take turns, a step each, against one of them alone: tokens a second of all */
#include "bench/trial.h"

enum { RUNS = 32 };

typedef struct turns {
    trial *v;
    int    n;
} turns;

/* A step of each. */
static status one_round(void *context, reading *r)
{
    const turns *x = context;
    reading      one;

    *r = (reading){0};
    for (int i = 0; i < x->n; i++) {
        TRY(trial_step(&x->v[i], &one));
        r->seconds += one.seconds;
        r->amount += one.amount;
        r->work += one.work;
    }
    return STATUS_OK;
}

static status measure(bench *b, turns *x, const trial_spec *s, const char *what, figure **f)
{
    while (x->n < RUNS) {
        x->n++;
        TRY(trial_open_beside(&x->v[x->n - 1], b, s, &x->v[0]));
    }
    return bench_time(b, &(timed){.what = what, .unit = "tokens/s", .ceiling = CEILING_FMA,
                                  .threads = b->most_threads, .run = one_round, .context = x}, f);
}

status bench_together(bench *b)
{
    const char      *lora = trial_lora(b, b->o.rank);
    const trial_spec s = {b->o.base, lora, b->o.tokens, b->o.tokens, NULL};
    turns            x = {0};
    figure          *alone = NULL, *all = NULL;

    if (!lora)
        return STATUS_MEMORY;
    TRY_TAKE(x.v, b->a, RUNS);
    x.n = 1;
    status done = trial_open_spec(&x.v[0], b, &s);
    if (done == STATUS_OK)
        done = bench_time(b, &(timed){.what = "one run", .unit = "tokens/s", .ceiling = CEILING_FMA,
                                      .threads = b->most_threads, .run = trial_step, .context = &x.v[0]}, &alone);
    if (done == STATUS_OK)
        done = measure(b, &x, &s, "32 runs together", &all);
    if (done == STATUS_OK && alone && all)
        done = bench_note(b, all, "%.3f of the tokens a second of one run alone", all->value / alone->value);
    for (int i = x.n - 1; i >= 0; i--)
        trial_close(&x.v[i]);
    return done;
}
