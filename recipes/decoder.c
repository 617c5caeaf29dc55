/* decoder: the loop that chooses a token for every prompt that goes on */
#include "recipes/decoder.h"

#include "core/clock.h"
#include "recipes/decoding.h"

#include <math.h>
#include <string.h>

typedef struct decoder {
    decoding              d;
    sampler               s;
    const decode_options *o;
    decoded              *out;
    int64_t              *rows, going; /* prompts that go on */
} decoder;

static bool is_end(const decode_options *o, int32_t id)
{
    for (int i = 0; i < o->n_ends; i++)
        if (o->ends[i] == id)
            return true;
    return false;
}

/* An answer lies behind a copy of what was given, so that the sampler sees both. */
static status open_answers(decoder *x, arena *a)
{
    TRY_TAKE(x->rows, &x->d.memory, x->d.n);
    for (int64_t i = 0; i < x->d.n; i++) {
        int64_t        n;
        const int32_t *given = decoding_given(&x->d, i, &n);
        int32_t       *ids;
        TRY_TAKE(ids, a, n + x->o->max_tokens);
        memcpy(ids, given, (size_t)n * sizeof *ids);
        x->out[i] = (decoded){.ids = ids + n, .margin = INFINITY};
        x->rows[i] = i;
    }
    x->going = x->d.n;
    return STATUS_OK;
}

/* The next token of prompt p. */
static int32_t choose_one(decoder *x, int64_t p, float *logits)
{
    decoded *out = &x->out[p];
    int64_t  given;

    decoding_given(&x->d, p, &given);
    sampler_process(&x->s, logits, out->ids - given, given + out->n);
    return x->o->choose.temperature > 0 ? sampler_draw(&x->s, logits, x->o->number + p, out->n)
                                        : sampler_greedy(&x->s, logits, &out->margin);
}

/* Chooses the next token of every row of a run and keeps the prompts that go on. */
static status choose(decoder *x, const decode_run *r)
{
    float        *logits = r->logits->t.v;
    const int64_t n = x->going;

    x->going = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t p = x->rows[i];
        decoded      *out = &x->out[p];
        const int32_t id = choose_one(x, p, logits + i * x->d.m->words);
        if (!x->o->ignore_end && is_end(x->o, id)) {
            out->ended = true;
            continue;
        }
        out->ids[out->n++] = id;
        if (x->o->watch)
            TRY(x->o->watch(x->o->context, p, out, &out->stopped));
        if (out->n < x->o->max_tokens && !out->stopped)
            x->rows[x->going++] = p;
    }
    return STATUS_OK;
}

static status run_decoder(decoder *x, arena *a, decode_times *times)
{
    double from = clock_seconds();

    TRY(sampler_open(&x->s, &x->d.memory, x->d.m->words, &x->o->choose));
    TRY(open_answers(x, a));
    TRY(decoding_read(&x->d));
    *times = (decode_times){.prompt_seconds = clock_seconds() - from, .prompt_tokens = x->d.total};
    from = clock_seconds();
    if (x->o->max_tokens > 0)
        TRY(choose(x, &x->d.first));
    else
        x->going = 0;
    while (x->going > 0) {
        decoding_begin(&x->d);
        for (int64_t i = 0; i < x->going; i++) {
            const decoded *out = &x->out[x->rows[i]];
            int64_t        given;
            decoding_given(&x->d, x->rows[i], &given);
            decoding_add(&x->d, x->rows[i], out->ids[out->n - 1], given + out->n - 1);
        }
        TRY(decoding_run(&x->d));
        times->tokens += x->going;
        TRY(choose(x, &x->d.next));
    }
    times->token_seconds = clock_seconds() - from;
    return STATUS_OK;
}

status decode(arena *a, model *m, const prompt *prompts, int64_t n, const decode_options *o,
              decoded *out, decode_times *times)
{
    decoder x = {.o = o, .out = out};
    status  s = decoding_open(&x.d, m, prompts, n, o->max_tokens);

    if (s == STATUS_OK)
        s = run_decoder(&x, a, times);
    decoding_close(&x.d);
    return s;
}
