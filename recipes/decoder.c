/* decoder: a packed run over the prompts, then one row a prompt and step */
#include "recipes/decoder.h"

#include "core/clock.h"
#include "core/device.h"
#include "core/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 32 };

/* One recorded computation with its inputs: for the prompts or for single tokens. */
typedef struct decode_run {
    tape    *t;
    var     *logits;
    int32_t  n_rows, n_offsets, n_seqs, from_to[2];
    tensor   ids, positions, slots, whole, q_offsets, k_offsets, q_start, blocks, last, tasks;
    int32_t *v_ids, *v_positions, *v_slots, *v_q, *v_k, *v_start, *v_blocks, *v_last, *v_tasks;
} decode_run;

typedef struct decoder {
    arena       memory;
    model      *m;
    kv_cache    cache;
    device_arena there; /* the cache, on a device */
    int64_t     pages; /* of one prompt */
    model_front front; /* of every prompt */
    decode_run  prompts, tokens;
    const prompt *asked;
} decoder;

static tensor ints(int32_t *v, shape s, const int32_t *rows)
{
    return (tensor){.s = s, .type = TYPE_I32, .v = v, .rows = rows};
}

static status open_inputs(decoder *d, decode_run *r, int64_t rows, int64_t seqs)
{
    arena *a = &d->memory;

    TRY_TAKE(r->v_ids, a, rows);
    TRY_TAKE(r->v_positions, a, rows);
    TRY_TAKE(r->v_slots, a, rows);
    TRY_TAKE(r->v_q, a, seqs + 1);
    TRY_TAKE(r->v_k, a, seqs + 1);
    TRY_TAKE(r->v_start, a, seqs);
    TRY_TAKE(r->v_last, a, seqs);
    TRY_TAKE(r->v_tasks, a, seqs);
    TRY_TAKE(r->v_blocks, a, seqs * d->pages);
    r->ids = ints(r->v_ids, shape_1(rows), &r->n_rows);
    r->positions = ints(r->v_positions, shape_1(rows), &r->n_rows);
    r->slots = ints(r->v_slots, shape_1(rows), &r->n_rows);
    r->q_offsets = ints(r->v_q, shape_1(seqs + 1), &r->n_offsets);
    r->k_offsets = ints(r->v_k, shape_1(seqs + 1), &r->n_offsets);
    r->q_start = ints(r->v_start, shape_1(seqs), &r->n_seqs);
    r->whole = ints(r->from_to, shape_1(2), NULL);
    r->tasks = ints(r->v_tasks, shape_1(seqs), &r->n_seqs);
    r->last = ints(r->v_last, shape_1(seqs), &r->n_seqs);
    r->blocks = ints(r->v_blocks, shape_2(seqs, d->pages), &r->n_seqs);
    return STATUS_OK;
}

static status record(decoder *d, decode_run *r, int64_t rows, int64_t seqs)
{
    TRY(open_inputs(d, r, rows, seqs));
    TRY(tape_open(&r->t, TYPE_F32));

    tape  *t = r->t;
    stream s = {.cache = &d->cache};
    s.ids = tape_input(t, &r->ids);
    s.positions = tape_input(t, &r->positions);
    s.slots = tape_input(t, &r->slots);
    s.q_offsets = tape_input(t, &r->q_offsets);
    s.tasks = model_tasks(d->m) > 0 ? tape_input(t, &r->tasks) : NULL;
    s.whole = tape_input(t, &r->whole);
    s.k_offsets = tape_input(t, &r->k_offsets);
    s.q_start = tape_input(t, &r->q_start);
    s.blocks = tape_input(t, &r->blocks);
    var *hidden = model_hidden(d->m, t, &s);
    r->logits = head_logits(t, &d->m->head, ag_gather_rows(t, hidden, tape_input(t, &r->last)));
    tape_keep(t, r->logits);
    return tape_plan(t, NULL, RECOMPUTE_NONE);
}

static size_t cache_bytes(const decoder *d)
{
    const tensor one = {.s = d->cache.k[0].s, .type = device_activations(device_current())};

    return 2 * (size_t)d->cache.layers * device_arena_room(tensor_bytes(&one));
}

/* Before anything is taken there: cache, activations and scratch of both runs fit beside what is held. */
static status check_device_memory(const decoder *d, int64_t prompts, int64_t tokens)
{
    const device *there = device_current();
    const size_t  first = tape_device_scratch(d->prompts.t), then = tape_device_scratch(d->tokens.t);
    const size_t  cache = cache_bytes(d), scratch = first > then ? first : then;
    const size_t  runs = tape_device_bytes(d->prompts.t) + tape_device_bytes(d->tokens.t);
    const size_t  have = device_functions(there)->memory_free();

    if (cache + runs + scratch <= have)
        return STATUS_OK;
    return fail(STATUS_MEMORY,
                "%lld prompts of %lld tokens in all need %.0f MB of the device to be answered (keys and values "
                "%.0f, activations %.0f, scratch %.0f), %.0f MB are free; ask fewer prompts at once, or for "
                "fewer tokens", (long long)prompts, (long long)tokens, (double)(cache + runs + scratch) / 1e6,
                (double)cache / 1e6, (double)runs / 1e6, (double)scratch / 1e6, (double)have / 1e6);
}

static status hold_cache(decoder *d)
{
    device     *there = device_current();
    const dtype as = device_activations(there);

    TRY(device_arena_open(there, &d->there, "the cache of keys and values", cache_bytes(d)));
    for (int l = 0; l < d->cache.layers; l++) {
        TRY(device_hold(&d->there, &d->cache.k[l], as));
        TRY(device_hold(&d->there, &d->cache.v[l], as));
    }
    return STATUS_OK;
}

static status open_cache(decoder *d, int64_t seqs)
{
    const int64_t rows = seqs * d->pages * PAGE, n = d->m->layers;

    d->cache.layers = (int)n;
    TRY_TAKE(d->cache.k, &d->memory, n);
    TRY_TAKE(d->cache.v, &d->memory, n);
    for (int64_t l = 0; l < n; l++) {
        float *k, *v;
        TRY_TAKE(k, &d->memory, rows * d->m->kv_width);
        TRY_TAKE(v, &d->memory, rows * d->m->kv_width);
        d->cache.k[l] = (tensor){.s = shape_2(rows, d->m->kv_width), .type = TYPE_F32, .v = k};
        d->cache.v[l] = (tensor){.s = shape_2(rows, d->m->kv_width), .type = TYPE_F32, .v = v};
    }
    return STATUS_OK;
}

/* Appends `count` rows of prompt `p` to a run: its tokens from row `from` of the prompt on. ids NULL: virtual ones. */
static void append(const decoder *d, decode_run *r, int64_t p, const int32_t *ids, int64_t from, int64_t count)
{
    for (int64_t i = 0; i < count; i++, r->n_rows++) {
        r->v_ids[r->n_rows] = ids ? ids[i] : 0;
        r->v_positions[r->n_rows] = d->front.positions + (int32_t)(from + i);
        r->v_slots[r->n_rows] = (int32_t)(p * d->pages * PAGE + from + i);
    }
    r->from_to[1] = r->n_rows;
}

/* The same for a sequence of the run; the virtual tokens stand before a prompt's first. */
static void add_rows(const decoder *d, decode_run *r, int64_t p, const int32_t *ids, int64_t from,
                     int64_t count)
{
    const int32_t s = r->n_seqs;

    if (from == 0) {
        append(d, r, p, NULL, 0, d->front.tokens);
        append(d, r, p, ids, d->front.tokens, count);
        count += d->front.tokens;
    } else {
        from += d->front.tokens;
        append(d, r, p, ids, from, count);
    }
    r->v_q[s + 1] = r->n_rows;
    r->v_k[s + 1] = r->v_k[s] + (int32_t)(from + count);
    r->v_start[s] = (int32_t)from;
    r->v_last[s] = r->n_rows - 1;
    r->v_tasks[s] = d->asked[p].task;
    for (int64_t b = 0; b < d->pages; b++)
        r->v_blocks[s * d->pages + b] = (int32_t)(p * d->pages + b);
    r->n_seqs++;
    r->n_offsets = r->n_seqs + 1;
}

static void empty(decode_run *r)
{
    r->n_rows = r->n_seqs = r->from_to[0] = r->from_to[1] = 0;
    r->n_offsets = 1;
    r->v_q[0] = r->v_k[0] = 0;
}

typedef struct candidate {
    float   logit;
    int32_t id;
} candidate;

static int by_logit(const void *a, const void *b)
{
    const candidate *x = a, *y = b;

    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return x->id - y->id;
}

static int32_t greedy(const float *logits, int64_t words, double *margin)
{
    int32_t best = 0;
    float   second = -INFINITY;

    for (int64_t i = 1; i < words; i++)
        if (logits[i] > logits[best]) {
            second = logits[best];
            best = (int32_t)i;
        } else if (logits[i] > second)
            second = logits[i];
    if (logits[best] - second < *margin)
        *margin = logits[best] - second;
    return best;
}

/* Temperature, then the k best, then the smallest set whose share is at least top_p (Holtzman et al. 2020).
 * The number is a function of seed, prompt and step. */
static int32_t sample(const decoder *d, const decode_options *o, const float *logits, int64_t p,
                      int64_t step, candidate *c)
{
    const int64_t words = d->m->words;
    int64_t       n = o->top_k > 0 && o->top_k < words ? o->top_k : words;
    double        sum = 0, kept = 0;

    for (int64_t i = 0; i < words; i++)
        c[i] = (candidate){logits[i], (int32_t)i};
    qsort(c, (size_t)words, sizeof *c, by_logit);
    for (int64_t i = 0; i < n; i++)
        sum += exp((c[i].logit - c[0].logit) / o->temperature);
    int64_t last = 0;
    for (; last < n; last++) {
        kept += exp((c[last].logit - c[0].logit) / o->temperature);
        if (kept >= o->top_p * sum)
            break;
    }
    const rng_block r = rng_philox(rng_key_for(o->seed, "sample"), (uint32_t)p, (uint32_t)step, 0, 0);
    double          at = (double)rng_unit(r.r[0]) * kept;
    for (int64_t i = 0; i < last && i < n; i++) {
        at -= exp((c[i].logit - c[0].logit) / o->temperature);
        if (at < 0)
            return c[i].id;
    }
    return c[last < n ? last : n - 1].id;
}

/* Logits of n rows that are no numbers choose nothing: says where they come from. */
static status check_logits(const decoder *d, const decode_run *r, int64_t n)
{
    TRY(tape_check(r->t));
    const float *v = r->logits->t.v;
    float        sums[16] = {0}, sum = 0; /* of zeros, or NaN */
    int64_t      i = 0;

    for (; i + 16 <= n * d->m->words; i += 16)
        for (int k = 0; k < 16; k++)
            sums[k] += v[i + k] * 0.0f;
    for (; i < n * d->m->words; i++)
        sum += v[i] * 0.0f;
    for (int k = 0; k < 16; k++)
        sum += sums[k];
    if (sum == 0)
        return STATUS_OK;
    TRY(tape_find_nonfinite(r->t));
    return fail(STATUS_NUMERIC, "head: the logits are not finite");
}

static bool is_end(const decode_options *o, int32_t id)
{
    for (int i = 0; i < o->n_ends; i++)
        if (o->ends[i] == id)
            return true;
    return false;
}

static status check_lengths(const model *m, const prompt *prompts, int64_t n,
                            const decode_options *o, int64_t *longest, int64_t *total)
{
    const model_front front = model_in_front(m);

    *longest = *total = 0;
    for (int64_t i = 0; i < n; i++) {
        CHECK(prompts[i].n > 0);
        TRY_IN(model_check_task(m, prompts[i].task), "in prompt %lld", (long long)i);
        *total += prompts[i].n;
        if (prompts[i].n > *longest)
            *longest = prompts[i].n;
        for (int64_t k = 0; k < prompts[i].n; k++)
            if (prompts[i].ids[k] < 0 || prompts[i].ids[k] >= m->words)
                return fail(STATUS_USAGE, "token %d of prompt %lld is %d, must be 0..%lld", (int)k,
                            (long long)i, prompts[i].ids[k], (long long)m->words - 1);
    }
    *longest += front.tokens;
    *total += n * front.tokens;
    if (*longest + front.positions + o->max_tokens > m->positions)
        return fail(STATUS_USAGE,
                    "a prompt of %lld tokens%s and %lld new ones are more than the model's %lld positions",
                    (long long)*longest + front.positions,
                    front.tokens + front.positions ? " with what is in front" : "", (long long)o->max_tokens,
                    (long long)m->positions);
    return STATUS_OK;
}

/* Chooses the next token of every row of `r`; rows[i] says which prompt row i is. Returns how many
 * prompts go on, and shortens rows to them. */
static int64_t choose(const decoder *d, const decode_run *r, const decode_options *o, decoded *out,
                      int64_t *rows, int64_t n, candidate *scratch)
{
    const float *logits = r->logits->t.v;
    int64_t      going = 0;

    for (int64_t i = 0; i < n; i++) {
        const int64_t p = rows[i];
        const float  *row = logits + i * d->m->words;
        const int32_t id = o->temperature > 0 ? sample(d, o, row, p, out[p].n, scratch)
                                              : greedy(row, d->m->words, &out[p].margin);
        if (!o->ignore_end && is_end(o, id)) {
            out[p].ended = true;
            continue;
        }
        out[p].ids[out[p].n++] = id;
        if (out[p].n < o->max_tokens)
            rows[going++] = p;
    }
    return going;
}

static status run_decoder(decoder *d, arena *a, const prompt *prompts, int64_t n, int64_t total,
                          const decode_options *o, decoded *out, decode_times *times)
{
    int64_t   *rows, going;
    candidate *scratch = NULL;
    double     from = clock_seconds();

    TRY(open_cache(d, n));
    TRY(record(d, &d->prompts, total, n));
    TRY(record(d, &d->tokens, n, n));
    if (device_current()) {
        TRY(check_device_memory(d, n, total));
        TRY(hold_cache(d));
    }
    TRY(tape_bind(d->prompts.t, &d->memory));
    TRY(tape_bind(d->tokens.t, &d->memory));
    tape_set_run(d->prompts.t, &(op_run){.decoding = true}); /* for the head: a row a prompt */
    tape_set_run(d->tokens.t, &(op_run){.decoding = true});
    TRY_TAKE(rows, &d->memory, n);
    if (o->temperature > 0)
        TRY_TAKE(scratch, &d->memory, d->m->words);
    empty(&d->prompts);
    for (int64_t i = 0; i < n; i++) {
        TRY_TAKE(out[i].ids, a, o->max_tokens);
        out[i].n = 0;
        out[i].ended = false;
        out[i].margin = INFINITY;
        rows[i] = i;
        add_rows(d, &d->prompts, i, prompts[i].ids, 0, prompts[i].n);
    }
    tape_forward(d->prompts.t);
    TRY(check_logits(d, &d->prompts, n));
    *times = (decode_times){.prompt_seconds = clock_seconds() - from, .prompt_tokens = total};
    from = clock_seconds();
    going = o->max_tokens > 0 ? choose(d, &d->prompts, o, out, rows, n, scratch) : 0;
    while (going > 0) {
        empty(&d->tokens);
        for (int64_t i = 0; i < going; i++) {
            decoded *x = &out[rows[i]];
            add_rows(d, &d->tokens, rows[i], &x->ids[x->n - 1], prompts[rows[i]].n + x->n - 1, 1);
        }
        tape_forward(d->tokens.t);
        TRY(check_logits(d, &d->tokens, going));
        times->tokens += going;
        going = choose(d, &d->tokens, o, out, rows, going, scratch);
    }
    times->token_seconds = clock_seconds() - from;
    return STATUS_OK;
}

status decode(arena *a, model *m, const prompt *prompts, int64_t n, const decode_options *o,
              decoded *out, decode_times *times)
{
    decoder d = {.m = m, .front = model_in_front(m), .asked = prompts};
    int64_t longest, total;

    if (m->head.kind != HEAD_CAUSAL)
        return fail(STATUS_USAGE, "a %s model with the head %s writes no text: only a causal_lm head says the "
                    "next token", m->family->name, head_name(m->head.kind));
    TRY(check_lengths(m, prompts, n, o, &longest, &total));
    d.pages = (longest + o->max_tokens + PAGE - 1) / PAGE;
    TRY(arena_open(&d.memory, "decoder", (size_t)64 << 30));
    const status s = run_decoder(&d, a, prompts, n, total, o, out, times);
    tape_close(d.prompts.t);
    tape_close(d.tokens.t);
    device_arena_close(&d.there);
    arena_close(&d.memory);
    return s;
}
