/* generate: reading prompts against multiply-adds, making tokens against reading the trunk */
#include "bench/bench.h"

#include "recipes/decoder.h"
#include "recipes/session.h"

typedef struct decoding {
    session *s;
    int64_t  n_prompts, length, tokens;
    bool     reading_prompts; /* what is counted */
    double   trunk_bytes, trunk_values;
} decoding;

static void weigh(const model *m, decoding *d)
{
    for (int i = 0; i < m->n_tensors; i++)
        d->trunk_bytes += (double)tensor_bytes(&m->tensors[i].value);
    for (int i = 0; i < m->n_sites; i++)
        if (m->sites[i].kind == SITE_LINEAR)
            d->trunk_values += (double)m->sites[i].in * (double)m->sites[i].out;
}

static status make_prompts(arena *a, const decoding *d, prompt **out)
{
    TRY_TAKE(*out, a, d->n_prompts);
    for (int64_t i = 0; i < d->n_prompts; i++) {
        int32_t *ids;
        TRY_TAKE(ids, a, d->length);
        for (int64_t k = 0; k < d->length; k++)
            ids[k] = (int32_t)(3 + (i * 31 + k * 17) % 250);
        (*out)[i] = (prompt){ids, d->length, 0};
    }
    return STATUS_OK;
}

static status run(void *context, reading *r)
{
    decoding            *d = context;
    arena               *a = &d->s->setup;
    const size_t         mark = arena_mark(a);
    const decode_options o = {
        .max_tokens = d->reading_prompts ? 1 : d->tokens, .ignore_end = true};
    prompt              *prompts;
    decoded             *out;
    decode_times         t;

    TRY(make_prompts(a, d, &prompts));
    TRY_TAKE(out, a, d->n_prompts);
    TRY(decode(a, &d->s->m, prompts, d->n_prompts, &o, out, &t));
    arena_rewind(a, mark);
    if (d->reading_prompts)
        *r = (reading){t.prompt_seconds, (double)t.prompt_tokens,
                       2e-9 * d->trunk_values * (double)t.prompt_tokens};
    else
        *r = (reading){t.token_seconds, (double)t.tokens,
                       1e-9 * d->trunk_bytes * (double)t.tokens / (double)d->n_prompts};
    return STATUS_OK;
}

static status measure(bench *b, decoding *d)
{
    char what[64];

    if (d->reading_prompts)
        snprintf(what, sizeof what, "%lld prompts of %lld", (long long)d->n_prompts,
                 (long long)d->length);
    else
        snprintf(what, sizeof what, "%lld tokens for %lld prompts", (long long)d->tokens,
                 (long long)d->n_prompts);
    TRY(bench_time_threads(b, (timed){.what = what, .unit = "tokens/s", .run = run, .context = d,
                                      .ceiling = d->reading_prompts ? CEILING_FMA
                                                                        : CEILING_BANDWIDTH}));
    return STATUS_OK;
}

static status measure_all(bench *b, session *s)
{
    static const int64_t prompts[] = {1, 4, 8, 16};
    decoding d = {.s = s, .length = b->o.quick ? 8 : 128, .tokens = b->o.quick ? 4 : 64};

    TRY(session_base(s, b->o.base, 0, false));
    weigh(&s->m, &d);
    for (size_t i = 0; i < (b->o.quick ? 1 : COUNT_OF(prompts)); i++)
        for (int reading_prompts = 1; reading_prompts >= 0; reading_prompts--) {
            d.n_prompts = prompts[i];
            d.reading_prompts = reading_prompts;
            TRY(measure(b, &d));
        }
    return STATUS_OK;
}

status bench_generate(bench *b)
{
    session s;

    TRY(session_open(&s));
    const status done = measure_all(b, &s);
    session_close(&s);
    return done;
}
