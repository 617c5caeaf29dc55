/* memory: the peak of a run in a process of its own, above what the bare process holds, against the
 * bill */
#include "bench/child.h"
#include "bench/trial.h"

static status measure(bench *b, const char *what, const char *path)
{
    child_report c;
    figure      *f;

    if (!bench_wants(b, what))
        return STATUS_OK;
    TRY(child_call(b, path, b->most_threads, 3, &c));
    const double taken = 1e-6 * (c.peak - c.idle), planned = 1e-6 * c.planned;
    TRY(bench_keep_one(b, what, "MB", taken, &f));
    return bench_note(b, f, "planned %.1f MB, taken %+.1f MB (%+.1f %%) beside that", planned,
                      taken - planned, 100 * (taken - planned) / planned);
}

status bench_memory(bench *b)
{
    static const char *const recompute[] = {"none", "block"};
    const char *module = trial_lora(b, b->o.rank);

    if (!module)
        return STATUS_MEMORY;
    if (b->o.recipe)
        return measure(b, "the recipe", b->o.recipe);
    for (int64_t tokens = b->o.tokens / 4; tokens <= b->o.tokens; tokens *= 2)
        for (size_t i = 0; i < COUNT_OF(recompute); i++) {
            const trial_spec s = {b->o.base, module, tokens, tokens, recompute[i]};
            char             what[64], *path;
            snprintf(what, sizeof what, "%lld tokens, recompute %s", (long long)tokens,
                     recompute[i]);
            TRY(trial_write(b, &s, &path));
            TRY(measure(b, what, path));
        }
    return STATUS_OK;
}
