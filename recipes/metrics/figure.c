/* figure: of all rows, of drawn rows, and over seeds */
#include "core/rng.h"
#include "recipes/metrics/form.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Which rows: all in order, or those of a resample. */
typedef struct draw {
    const rng_key *key; /* NULL: all in order */
    uint32_t       resample;
} draw;

static int64_t drawn(const draw *d, int64_t n, int64_t i)
{
    if (!d->key)
        return i;
    const rng_block b = rng_philox(*d->key, (uint32_t)(i / 4), (uint32_t)((i / 4) >> 32), d->resample, 0);
    return (int64_t)(((uint64_t)b.r[i % 4] * (uint64_t)n) >> 32);
}

static status from_sum(const metric_tally *t, const draw *d, double *out)
{
    double *state;

    TRY_TAKE(state, t->a, t->state);
    memset(state, 0, (size_t)t->state * sizeof *state);
    for (int64_t i = 0; i < t->n; i++) {
        const double *row = t->rows + drawn(d, t->n, i) * t->width;
        if (t->m->form->add)
            t->m->form->add(t, row, state);
        else
            for (int64_t j = 0; j < t->width; j++)
                state[j] += row[j];
    }
    *out = t->m->form->finish(t, state, t->n);
    return STATUS_OK;
}

static status from_all(const metric_tally *t, const draw *d, double *out)
{
    double *rows;

    TRY_TAKE(rows, t->a, t->n * t->width);
    for (int64_t i = 0; i < t->n; i++)
        memcpy(rows + i * t->width, t->rows + drawn(d, t->n, i) * t->width, (size_t)t->width * sizeof *rows);
    return t->m->form->whole(t, rows, t->n, out);
}

static status figure(const metric_tally *t, const draw *d, double *out)
{
    const size_t mark = arena_mark(t->a);

    if (t->n == 0) {
        *out = NAN;
        return STATUS_OK;
    }
    TRY(t->m->form->whole ? from_all(t, d, out) : from_sum(t, d, out));
    arena_rewind(t->a, mark);
    return STATUS_OK;
}

status metric_figure(const metric_tally *t, double *out)
{
    return figure(t, &(draw){0}, out);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Of n sorted values, linear between neighbours. */
static double quantile(const double *v, int64_t n, double share)
{
    const double  place = share * (double)(n - 1);
    const int64_t i = (int64_t)place;

    return i + 1 < n ? v[i] + (v[i + 1] - v[i]) * (place - (double)i) : v[n - 1];
}

status metric_bootstrap(const metric_tally *t, uint64_t seed, int64_t resamples, double level,
                        metric_interval *out)
{
    const size_t  mark = arena_mark(t->a);
    const rng_key key = rng_key_for(seed, "bootstrap");
    double       *v;
    int64_t       n = 0;

    CHECK(resamples > 0 && resamples <= UINT32_MAX && t->n <= UINT32_MAX);
    CHECK(level > 0 && level < 1);
    TRY_TAKE(v, t->a, resamples);
    for (int64_t b = 0; b < resamples; b++) {
        TRY(figure(t, &(draw){.key = &key, .resample = (uint32_t)b}, &v[n]));
        n += !isnan(v[n]);
    }
    *out = (metric_interval){.lo = NAN, .hi = NAN, .undefined = resamples - n};
    if (n > 0) {
        qsort(v, (size_t)n, sizeof *v, ascending);
        out->lo = quantile(v, n, (1 - level) / 2);
        out->hi = quantile(v, n, (1 + level) / 2);
    }
    arena_rewind(t->a, mark);
    return STATUS_OK;
}

void metric_over_seeds(const double *figures, int64_t n, double *mean, double *deviation)
{
    double sum = 0, squares = 0;

    for (int64_t i = 0; i < n; i++)
        sum += figures[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += (figures[i] - *mean) * (figures[i] - *mean);
    *deviation = n > 1 ? sqrt(squares / (double)(n - 1)) : NAN;
}
