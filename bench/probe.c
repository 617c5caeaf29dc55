/* probe: the ceilings themselves, for each number of threads */
#include "bench/bench.h"

typedef struct probing {
    ceiling_kind kind;
    int          threads;
} probing;

/* A rate is the amount of one second. */
static status run(void *context, reading *r)
{
    const probing *p = context;

    *r = (reading){.seconds = 1, .amount = ceiling_probe(p->kind, p->threads)};
    return STATUS_OK;
}

status bench_probe(bench *b)
{
    static const struct {
        ceiling_kind kind;
        const char  *what, *unit;
    } rows[] = {{CEILING_FMA, "f32 multiply-adds", "GFLOP/s"},
                {CEILING_PAIRS, "bf16 pairs", "GFLOP/s"},
                {CEILING_BANDWIDTH, "reading memory", "GB/s"}};

    for (int k = 0; k < b->n_counts; k++)
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            const int threads = b->counts[k];
            probing   p = {rows[i].kind, threads};
            figure   *f;
            TRY(bench_time(b,
                           &(timed){.what = rows[i].what,
                                    .unit = rows[i].unit,
                                    .threads = threads,
                                    .run = run,
                                    .context = &p},
                           &f));
            if (rows[i].kind == CEILING_PAIRS && !ceiling_has_pairs())
                TRY(bench_note(b, f, "this path has no bf16 pairs: the f32 ceiling stands here"));
        }
    return STATUS_OK;
}
