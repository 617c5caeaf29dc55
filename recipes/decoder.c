/* decoder: the loops that choose tokens for every prompt that goes on */
#include "recipes/decoder.h"

#include "core/clock.h"
#include "recipes/beams.h"
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

bool decode_ends_with(const decode_options *o, int32_t id)
{
    for (int i = 0; !o->ignore_end && i < o->n_ends; i++)
        if (o->ends[i] == id)
            return true;
    return false;
}

/* An answer lies behind a copy of what was given, so that the sampler sees both. */
static status open_answers(decoder *x, arena *a)
{
    TRY(sampler_open(&x->s, &x->d.memory, x->d.m->words, &x->o->choose));
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

/* ---- a token after the other --------------------------------------------------------------------------------- */

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
        if (decode_ends_with(x->o, id)) {
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

/* From what d.first says about the prompts. */
static status go_on(decoder *x, decode_times *times)
{
    if (x->o->max_tokens == 0)
        return STATUS_OK;
    TRY(choose(x, &x->d.first));
    while (x->going > 0) {
        decoding_begin(&x->d);
        for (int64_t i = 0; i < x->going; i++) {
            const decoded *out = &x->out[x->rows[i]];
            int64_t        given;
            decoding_given(&x->d, x->rows[i], &given);
            decoding_add(&x->d, x->rows[i], 0, out->ids[out->n - 1], given + out->n - 1);
        }
        TRY(decoding_run(&x->d));
        times->tokens += x->going;
        TRY(choose(x, &x->d.next));
    }
    return STATUS_OK;
}

/* ---- a search ------------------------------------------------------------------------------------------------ */

static status open_searches(decoder *x, beams **out)
{
    TRY_TAKE(*out, &x->d.memory, x->d.n);
    for (int64_t p = 0; p < x->d.n; p++) {
        int64_t        n;
        const int32_t *given = decoding_given(&x->d, p, &n);
        TRY(beams_open(&(*out)[p], &x->d.memory, x->o, given, n, p));
    }
    return STATUS_OK;
}

/* A step of every search that is not done, from its rows of a run. */
static status step(decoder *x, beams *b, const decode_run *r)
{
    float *logits = r->logits->t.v;

    for (int64_t p = 0; p < x->d.n; p++)
        if (!b[p].done) {
            float *own = logits;
            logits += b[p].n_running * x->d.m->words;
            TRY(beams_step(&b[p], &x->s, own));
        }
    return STATUS_OK;
}

/* The newest tokens of the beams, in the places of their parents. */
static status add_beams(decoder *x, arena *a, const beams *b, int64_t p)
{
    const int64_t before = b->given + b->length - 1;
    int32_t      *parents;

    TRY_TAKE(parents, a, b->n_running);
    for (int64_t i = 0; i < b->n_running; i++)
        parents[i] = b->running[i].parent;
    decoding_follow(&x->d, p, parents, b->n_running, before);
    for (int64_t i = 0; i < b->n_running; i++, x->going++)
        decoding_add(&x->d, p, i, b->running[i].ids[b->length - 1], before);
    return STATUS_OK;
}

static void take_best(decoder *x, const beams *b)
{
    for (int64_t p = 0; p < x->d.n; p++) {
        const beam *best = beams_best(&b[p]);
        decoded    *out = &x->out[p];
        memcpy(out->ids, best->ids, (size_t)best->n * sizeof *out->ids);
        out->n = best->n;
        out->ended = best->ended;
        out->stopped = best->stopped;
        out->score = best->score;
    }
}

static status search(decoder *x, decode_times *times)
{
    arena *a = &x->d.memory;
    beams *b;

    TRY(open_searches(x, &b));
    if (x->o->max_tokens > 0)
        TRY(step(x, b, &x->d.first));
    for (;;) {
        const size_t mark = arena_mark(a);
        x->going = 0;
        decoding_begin(&x->d);
        for (int64_t p = 0; p < x->d.n; p++)
            if (!b[p].done)
                TRY(add_beams(x, a, &b[p], p));
        if (x->going == 0)
            break;
        TRY(decoding_run(&x->d));
        times->tokens += x->going;
        TRY(step(x, b, &x->d.next));
        arena_rewind(a, mark);
    }
    take_best(x, b);
    return STATUS_OK;
}

/* ---- prompts ------------------------------------------------------------------------------------------------- */

static status run_decoder(decoder *x, arena *a, decode_times *times)
{
    double from = clock_seconds();

    TRY(open_answers(x, a));
    TRY(decoding_read(&x->d));
    *times = (decode_times){.prompt_seconds = clock_seconds() - from, .prompt_tokens = x->d.total};
    from = clock_seconds();
    TRY(x->o->beams.n > 1 ? search(x, times) : go_on(x, times));
    times->token_seconds = clock_seconds() - from;
    return STATUS_OK;
}

status decode(arena *a, model *m, const prompt *prompts, int64_t n, const decode_options *o,
              decoded *out, decode_times *times)
{
    decoder x = {.o = o, .out = out};
    status  s = decoding_open(&x.d, m, prompts, n, o->beams.n > 1 ? o->beams.n : 1, o->max_tokens);

    if (s == STATUS_OK)
        s = run_decoder(&x, a, times);
    decoding_close(&x.d);
    return s;
}

/* ---- a conversation ------------------------------------------------------------------------------------------ */

struct conversation {
    decoder  x;
    int32_t *ids;    /* tokens that the cache has */
    int64_t  held, room;
    int32_t  task;   /* with which it computed them */
    size_t   mark;   /* of the decoder's memory, between answers */
};

status conversation_open(arena *a, model *m, int64_t room, conversation **out)
{
    conversation *c;

    TRY_TAKE(*out, a, 1);
    c = *out;
    *c = (conversation){.room = room};
    TRY_TAKE(c->ids, a, room);
    TRY(decoding_open_room(&c->x.d, m, room));
    c->mark = arena_mark(&c->x.d.memory);
    return STATUS_OK;
}

void conversation_close(conversation *c)
{
    if (c)
        decoding_close(&c->x.d);
}

/* Tokens that a prompt begins with and the cache has; its last one is read again, for what follows it. */
static int64_t common(const conversation *c, const prompt *p)
{
    int64_t n = 0;

    while (p->task == c->task && n < c->held && n < p->n - 1 && c->ids[n] == p->ids[n])
        n++;
    return n;
}

static status answer(conversation *c, arena *a, const prompt *p, decode_times *times)
{
    const double  from = clock_seconds();
    const int64_t known = common(c, p);

    TRY(open_answers(&c->x, a));
    c->held = 0; /* until all went well */
    TRY(decoding_read_on(&c->x.d, known));
    *times = (decode_times){.prompt_seconds = clock_seconds() - from, .prompt_tokens = p->n - known};
    TRY(go_on(&c->x, times));
    times->token_seconds = clock_seconds() - from - times->prompt_seconds;
    c->held = p->n + times->tokens;
    c->task = p->task;
    memcpy(c->ids, c->x.out->ids - p->n, (size_t)c->held * sizeof *c->ids);
    return STATUS_OK;
}

status conversation_answer(conversation *c, arena *a, const prompt *p, const decode_options *o, decoded *out,
                           decode_times *times)
{
    decoding *d = &c->x.d;

    CHECK(o->beams.n <= 1);
    TRY(decoding_check(d->m, p, 0));
    if (p->n + o->max_tokens > c->room)
        return fail(STATUS_USAGE, "a conversation of %lld tokens and an answer of %lld have no room in %lld",
                    (long long)p->n, (long long)o->max_tokens, (long long)c->room);
    arena_rewind(&d->memory, c->mark);
    d->prompts = p;
    c->x.o = o;
    c->x.out = out;
    return answer(c, a, p, times);
}
