/* time: repetitions behind probes, and the figures made of them */
#include "bench/bench.h"

#include "core/cpu/path.h"
#include "core/cpu/probe.h"
#include "core/device.h"
#include "core/threads.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LEAST = 5, LEAST_SLOW = 3, LEAST_QUICK = 2, MOST = 200, TIMES_MAX = 1 << 16 };

double bench_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double device_ceiling(ceiling_kind c, const device *d)
{
    const unsigned what = c == CEILING_BANDWIDTH                  ? PROBE_BANDWIDTH
                          : device_activations(d) == TYPE_BF16 ? PROBE_BF16
                                                               : PROBE_F32;
    device_probe   p;

    device_functions(d)->probe(what, &p);
    return 1e-9 * (what == PROBE_BANDWIDTH ? p.bandwidth : what == PROBE_BF16 ? p.bf16 : p.f32);
}

double ceiling_probe(ceiling_kind c, int threads)
{
    if (device_current() && c != CEILING_NONE)
        return device_ceiling(c, device_current());
    if (c == CEILING_BANDWIDTH)
        return probe_bandwidth(threads);
    const double pairs = c == CEILING_PAIRS && path_pairs() ? probe_bf16(threads) : 0;
    return c == CEILING_NONE ? 0 : pairs > 0 ? pairs : probe_fma(threads);
}

bool ceiling_has_pairs(void)
{
    return path_pairs();
}

bool bench_wants(const bench *b, const char *what)
{
    return !b->o.only || strstr(what, b->o.only);
}

status bench_keep(bench *b, const figure *f, figure **out)
{
    if (b->n == FIGURES_MAX)
        return fail(STATUS_MEMORY, "%s: more than %d figures", b->name, FIGURES_MAX);
    figure *kept = &b->v[b->n++];
    *kept = *f;
    kept->what = arena_string(b->a, f->what, strlen(f->what));
    if (!kept->what)
        return STATUS_MEMORY;
    if (!kept->note)
        kept->note = "";
    bench_print(b, kept);
    if (out)
        *out = kept;
    return STATUS_OK;
}

status bench_keep_one(bench *b, const char *what, const char *unit, double value, figure **out)
{
    return bench_keep(b, &(figure){.what = what, .unit = unit, .threads = b->most_threads, .n = 1, .value = value,
                                   .best = value, .worst = value}, out);
}

status bench_note(bench *b, figure *f, const char *format, ...)
{
    char    text[512];
    va_list list;

    if (!f)
        return STATUS_OK;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    f->note = arena_string(b->a, text, strlen(text));
    if (!b->o.json)
        fprintf(b->out, "    %s\n", text);
    return f->note ? STATUS_OK : STATUS_MEMORY;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_size);
    return n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

/* Runs of one repetition: enough that the clock's own time does not count. */
static status run_often(const timed *c, int times, reading *r)
{
    reading one;

    *r = (reading){0};
    for (int i = 0; i < times; i++) {
        one = (reading){0};
        TRY(c->run(c->context, &one));
        r->seconds += one.seconds;
        r->amount += one.amount;
        r->work += one.work;
    }
    return STATUS_OK;
}

/* What takes seconds is warm after one run, and repeated less often. */
static status warm_up(const bench *b, const timed *c, int *times, int *least)
{
    const double enough = b->o.quick ? 0.001 : 0.02, long_run = 2, from = bench_now();
    reading      r;

    *times = 1;
    TRY(run_often(c, 1, &r));
    const bool slow = bench_now() - from > long_run;
    *least = b->o.quick ? LEAST_QUICK : slow ? LEAST_SLOW : LEAST;
    if (!b->o.quick && !slow)
        TRY(run_often(c, 1, &r));
    while (r.seconds < enough && *times < TIMES_MAX) {
        *times *= 2;
        TRY(run_often(c, *times, &r));
    }
    return STATUS_OK;
}

static status repeat(bench *b, const timed *c, figure *f)
{
    double value[MOST], share[MOST], probe[MOST];
    int    times, least, n = 0;

    TRY(warm_up(b, c, &times, &least));
    const double until = bench_now() + b->o.seconds;
    for (; n < MOST && (n < least || bench_now() < until); n++) {
        reading r;
        probe[n] = ceiling_probe(c->ceiling, c->threads);
        TRY(run_often(c, times, &r));
        if (!(r.seconds > 0) || !(r.amount > 0))
            return fail(STATUS_NUMERIC, "%s: a repetition took %g s for %g %s", c->what, r.seconds,
                        r.amount, c->unit);
        value[n] = c->inverse ? 1e3 * r.seconds / r.amount : r.amount / r.seconds;
        share[n] = probe[n] > 0 && !c->beside ? (r.work > 0 ? r.work : r.amount) / r.seconds / probe[n] : 0;
    }
    *f = (figure){.what = c->what, .unit = c->unit, .threads = c->threads, .n = n,
                  .value = bench_median(value, n), .probe = bench_median(probe, n), .share = bench_median(share, n)};
    f->best = c->inverse ? value[0] : value[n - 1]; /* median has sorted them */
    f->worst = c->inverse ? value[n - 1] : value[0];
    return STATUS_OK;
}

status bench_time(bench *b, const timed *c, figure **out)
{
    const int before = threads_count();
    figure    f;

    if (out)
        *out = NULL;
    if (!bench_wants(b, c->what))
        return STATUS_OK;
    threads_set(c->threads);
    const status s = repeat(b, c, &f);
    threads_set(before);
    TRY_IN(s, "in %s %s", b->name, c->what);
    return bench_keep(b, &f, out);
}

status bench_time_threads(bench *b, timed c)
{
    for (int i = 0; i < b->n_counts; i++) {
        c.threads = b->counts[i];
        TRY(bench_time(b, &c, NULL));
    }
    return STATUS_OK;
}
