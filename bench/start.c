/* start: from before the process is made to the end of its first step, files in the system's cache
 */
#include "bench/child.h"
#include "bench/trial.h"

typedef struct starting {
    bench      *b;
    const char *recipe;
    int         threads;
} starting;

static status run(void *context, reading *r)
{
    const starting *x = context;
    child_report    c;

    TRY(child_call(x->b, x->recipe, x->threads, 1, &c));
    *r = (reading){.seconds = c.ended - c.started, .amount = 1};
    return STATUS_OK;
}

status bench_start(bench *b)
{
    const char *module = trial_lora(b, b->o.rank);
    trial_spec  s = {b->o.base, module, 64, 64, NULL};
    char       *path;

    if (!module)
        return STATUS_MEMORY;
    TRY(trial_write(b, &s, &path));
    for (int k = 0; k < b->n_counts; k++) {
        starting x = {b, path, b->counts[k]};
        TRY(bench_time(b,
                       &(timed){.what = "start to first step",
                                .unit = "ms",
                                .threads = b->counts[k],
                                .ceiling = CEILING_FMA,
                                .beside = true,
                                .run = run,
                                .context = &x,
                                .inverse = true},
                       NULL));
    }
    return STATUS_OK;
}
