/* sampler: what takes likelihood away, and a draw from what is left */
#include "recipes/sampler.h"

#include "core/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

status sampler_open(sampler *s, arena *a, int64_t words, const sampler_options *o)
{
    *s = (sampler){.o = *o, .words = words};
    if (o->temperature > 0)
        TRY_TAKE(s->c, a, words);
    TRY_TAKE(s->marks, a, words);
    memset(s->marks, 0, (size_t)words * sizeof *s->marks);
    return STATUS_OK;
}

/* A token that was seen often is treated once. */
static void penalise(sampler *s, float *logits, const int32_t *seen, int64_t n)
{
    const float by = (float)s->o.penalty;

    for (int64_t i = 0; i < n; i++) {
        float *x = &logits[seen[i]];
        if (!s->marks[seen[i]])
            *x = *x < 0 ? *x * by : *x / by;
        s->marks[seen[i]] = true;
    }
    for (int64_t i = 0; i < n; i++)
        s->marks[seen[i]] = false;
}

/* What followed the last tokens when they stood somewhere before may not follow now. */
static void forbid_repeats(const sampler *s, float *logits, const int32_t *seen, int64_t n)
{
    const int64_t before = s->o.no_repeat - 1;

    for (int64_t i = 0; i + before < n; i++)
        if (memcmp(seen + i, seen + n - before, (size_t)before * sizeof *seen) == 0)
            logits[seen[i + before]] = -INFINITY;
}

void sampler_process(sampler *s, float *logits, const int32_t *seen, int64_t n)
{
    if (s->o.penalty > 0 && s->o.penalty != 1)
        penalise(s, logits, seen, n);
    if (s->o.no_repeat > 0)
        forbid_repeats(s, logits, seen, n);
}

static int by_logit(const void *a, const void *b)
{
    const sampler_candidate *x = a, *y = b;

    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return x->id - y->id;
}

/* Of a candidate, relative to the likeliest's. */
static double chance(const sampler *s, int64_t i)
{
    return i == 0 ? 1 : exp((double)s->c[i].logit - (double)s->c[0].logit);
}

int64_t sampler_candidates(sampler *s, const float *logits)
{
    const sampler_options *o = &s->o;
    int64_t                n = s->words, kept = 0;
    double                 sum = 0, so_far = 0;

    for (int64_t i = 0; i < n; i++)
        s->c[i] = (sampler_candidate){logits[i] / (float)o->temperature, (int32_t)i};
    qsort(s->c, (size_t)n, sizeof *s->c, by_logit);
    if (o->top_k > 0 && o->top_k < n) {
        n = o->top_k;
        while (n < s->words && s->c[n].logit == s->c[o->top_k - 1].logit)
            n++;
    }
    while (n > 1 && s->c[n - 1].logit == -INFINITY)
        n--;
    if (o->top_p > 0 && o->top_p < 1) {
        for (int64_t i = 0; i < n; i++)
            sum += chance(s, i);
        while (kept < n && (kept == 0 || so_far < o->top_p * sum))
            so_far += chance(s, kept++);
        n = kept;
    }
    while (n > 1 && chance(s, n - 1) < o->min_p)
        n--;
    return n;
}

int32_t sampler_greedy(const sampler *s, const float *logits, double *margin)
{
    int32_t best = 0;
    float   second = -INFINITY;

    for (int64_t i = 1; i < s->words; i++)
        if (logits[i] > logits[best]) {
            second = logits[best];
            best = (int32_t)i;
        } else if (logits[i] > second)
            second = logits[i];
    if (logits[best] - second < *margin)
        *margin = logits[best] - second;
    return best;
}

int32_t sampler_draw(sampler *s, const float *logits, int64_t prompt, int64_t position)
{
    const int64_t   n = sampler_candidates(s, logits);
    const rng_block r = rng_philox(rng_key_for(s->o.seed, "sample"), (uint32_t)prompt, (uint32_t)position, 0, 0);
    double          at = 0;

    for (int64_t i = 0; i < n; i++)
        at += chance(s, i);
    at *= (double)rng_unit(r.r[0]);
    for (int64_t i = 0; i < n - 1; i++) {
        at -= chance(s, i);
        if (at < 0)
            return s->c[i].id;
    }
    return s->c[n - 1].id;
}
