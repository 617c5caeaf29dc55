/* methods: a step with each method of peft/methods.def, at all linear layers or where else it sits, plain lora
 * measured beside it. What counts is time by needed FLOPs, against lora's. */
#include "bench/trial.h"

#include "core/log.h"

#include <string.h>

static status measure(bench *b, const char *what, const char *module, int threads, figure **f)
{
    const trial_spec s = {b->o.base, module, b->o.tokens / 2, b->o.tokens / 2, NULL};
    trial            t;

    *f = NULL;
    status done = trial_open_spec(&t, b, &s);
    if (done == STATUS_OK)
        done = bench_time(b, &(timed){.what = what, .unit = "tokens/s", .ceiling = CEILING_FMA,
                                      .threads = threads, .run = trial_step, .context = &t}, f);
    trial_close(&t);
    return done;
}

static const char *place_of(const peft_method *m)
{
    return m->sites & SITE_LINEAR ? "all-linear" : m->sites & SITE_NORM ? "'*norm*'" : "'*'";
}

static status against_lora(bench *b, const peft_method *method, const char *plain, int threads)
{
    figure     *lora, *f;
    const char *module = arena_printf(b->a, "method: %s, at: %s", method->name, place_of(method));
    const char *name = method->name;

    if (!module)
        return STATUS_MEMORY;
    if (!bench_wants(b, name))
        return STATUS_OK;
    TRY(measure(b, arena_printf(b->a, "lora beside %s", name), plain, threads, &lora));
    const status s = measure(b, name, module, threads, &f);
    if (s == STATUS_USAGE || s == STATUS_SHAPE ||
        s == STATUS_UNSUPPORTED) { /* it sits elsewhere, or needs options */
        TRY(bench_keep(b, &(figure){.what = name, .unit = "tokens/s", .threads = threads}, &f));
        return bench_note(b, f, "not measured: %s", status_text());
    }
    TRY(s);
    if (!lora || !f)
        return STATUS_OK;
    return bench_note(b, f, "%.3f of lora's speed; time by needed FLOPs %.2f of lora's", f->value / lora->value,
                      f->share > 0 ? lora->share / f->share : 0);
}

status bench_methods(bench *b)
{
    int                       n;
    const peft_method *const *methods = peft_methods(&n);
    const char               *plain = trial_lora(b, b->o.rank);

    if (!plain)
        return STATUS_MEMORY;
    for (int i = 0; i < n; i++)
        TRY(against_lora(b, methods[i],
                         strcmp(methods[i]->name, "lora") == 0 ? "method: lora, at: all-linear"
                                                               : plain,
                         b->most_threads));
    return STATUS_OK;
}
