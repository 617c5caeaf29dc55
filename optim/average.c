/* average: four kinds of one loop */
#include "optim/average.h"

#include "core/threads.h"

#include <math.h>
#include <string.h>

enum { OFF, EMA, EMA_WARM, EMA_DEBIASED, SWA, PIECE = 16384 };

static const char *const names[] = {"none", "ema", "ema_warm", "ema_debiased", "swa"};

static const key average_rows[] = {
    {.name = "average",
     .kind = KEY_CHOICE,
     .offset = offsetof(average_options, average),
     .preset = "none",
     .choices = "none|ema|ema_warm|ema_debiased|swa",
     .help = "Running average of the tuned values that evaluation and the result use."},
    {.name = "average_decay",
     .kind = KEY_REAL,
     .offset = offsetof(average_options, decay),
     .preset = "0.999",
     .lo = 0,
     .hi = 1,
     .help = "Share of the old average that is kept."},
};
const key_table average_keys = KEY_TABLE("average", average_rows, average_options);

status average_open(average *a, arena *tuned, const average_options *options, const float *p,
                    int64_t n)
{
    *a = (average){.kind = -1, .decay = options->decay, .n = n};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strcmp(names[i], options->average ? options->average : "none") == 0)
            a->kind = (int)i;
    if (a->kind < 0)
        return fail(STATUS_USAGE, "average is '%s', must be one of %s", options->average,
                    average_rows[0].choices);
    if (a->kind == OFF)
        return STATUS_OK;
    if (!(a->decay >= 0 && a->decay <= 1) || (a->decay == 1 && a->kind == EMA_DEBIASED))
        return fail(STATUS_USAGE, "average_decay is %g, must be from 0 to %s1", a->decay,
                    a->kind == EMA_DEBIASED ? "below " : "");
    TRY_TAKE(a->v, tuned, n);
    memcpy(a->v, p, (size_t)n * sizeof *p);
    return STATUS_OK;
}

typedef struct mix_args {
    float *v;
    const float *p;
    int64_t n;
    float factor; /* v = factor v + fresh (p - factor v): a lerp when factor is 1 */
    float fresh;
} mix_args;

static void mix_piece(void *context, int64_t piece)
{
    const mix_args *a = context;
    const int64_t first = piece * PIECE, end = first + PIECE < a->n ? first + PIECE : a->n;
    float *RESTRICT v = a->v;
    const float *RESTRICT p = a->p;
    const float factor = a->factor, fresh = a->fresh;

#pragma omp simd
    for (int64_t i = first; i < end; i++) {
        const float old = factor * v[i];
        v[i] = old + fresh * (p[i] - old);
    }
}

void average_update(average *a, const float *p)
{
    mix_args m = {.v = a->v, .p = p, .n = a->n, .factor = 1, .fresh = (float)(1 - a->decay)};

    if (a->kind == OFF)
        return;
    const double n = (double)++a->updates;
    if (a->kind == EMA_WARM)
        m.fresh = (float)(1 - fmin(a->decay, (1 + n) / (10 + n)));
    else if (a->kind == SWA)
        m.fresh = (float)(1 / n);
    if (n == 1 && (a->kind == SWA || a->kind == EMA_DEBIASED))
        m.factor = 0; /* the copy of the start does not count */
    if (m.fresh == 1)
        m.factor = 0; /* exactly p */
    threads_run((a->n + PIECE - 1) / PIECE, mix_piece, &m);
}

void average_read(const average *a, float *out)
{
    const bool divide = a->kind == EMA_DEBIASED && a->updates > 0;
    const double whole = divide ? 1 - pow(a->decay, (double)a->updates) : 1;

    for (int64_t i = 0; i < a->n; i++)
        out[i] = (float)(a->v[i] / whole);
}
