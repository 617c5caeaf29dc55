/* decoding: pages, rows of a run, and the runs themselves */
#include "recipes/decoding.h"

/* ---- lengths ------------------------------------------------------------------------------------------------ */

static status check_ids(const model *m, const prompt *p, int64_t number)
{
    CHECK(p->n > 0);
    for (int64_t k = 0; k < p->n; k++)
        if (p->ids[k] < 0 || p->ids[k] >= m->words)
            return fail(STATUS_USAGE, "token %d of prompt %lld is %d, must be 0..%lld", (int)k, (long long)number,
                        p->ids[k], (long long)m->words - 1);
    return STATUS_OK;
}

static status check_lengths(decoding *d, int64_t tokens)
{
    const model *m = d->m;
    int64_t      longest = 0;

    d->total = d->n * d->front.tokens;
    for (int64_t i = 0; i < d->n; i++) {
        TRY(check_ids(m, &d->prompts[i], i));
        TRY_IN(model_check_task(m, d->prompts[i].task), "in prompt %lld", (long long)i);
        d->total += d->prompts[i].n;
        longest = d->prompts[i].n > longest ? d->prompts[i].n : longest;
    }
    if (m->has_source) {
        if (d->front.tokens + d->front.positions > 0)
            return fail(STATUS_UNSUPPORTED, "a %s model has no place in front of its sequences for modules",
                        m->family->name);
        d->source_pages = (longest + DECODE_PAGE - 1) / DECODE_PAGE;
        longest = 1;
    }
    longest += d->front.tokens;
    if (longest + d->front.positions + tokens > m->positions)
        return fail(STATUS_USAGE,
                    "a prompt of %lld tokens%s and %lld new ones are more than the model's %lld positions",
                    (long long)longest + d->front.positions,
                    d->front.tokens + d->front.positions ? " with what is in front" : "", (long long)tokens,
                    (long long)m->positions);
    d->pages = (longest + tokens + DECODE_PAGE - 1) / DECODE_PAGE;
    return STATUS_OK;
}

/* ---- inputs ---------------------------------------------------------------------------------------------------- */

static tensor ints(int32_t *v, shape s, const int32_t *rows)
{
    return (tensor){.s = s, .type = TYPE_I32, .v = v, .rows = rows};
}

static status open_inputs(decoding *d, decode_run *r, int64_t rows, int64_t seqs)
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

/* rows 0: what the source gives lies in the cache already. */
static status open_source(decoding *d, decode_run *r, int64_t rows, int64_t seqs)
{
    arena *a = &d->memory;

    TRY_TAKE(r->v_source_k, a, seqs + 1);
    TRY_TAKE(r->v_source_blocks, a, seqs * d->source_pages);
    r->source_k = ints(r->v_source_k, shape_1(seqs + 1), &r->n_offsets);
    r->source_blocks = ints(r->v_source_blocks, shape_2(seqs, d->source_pages), &r->n_seqs);
    r->source = (stream){.k_offsets = tape_input(r->t, &r->source_k), .blocks = tape_input(r->t, &r->source_blocks)};
    if (rows == 0)
        return STATUS_OK;
    TRY_TAKE(r->v_source_ids, a, rows);
    TRY_TAKE(r->v_source_positions, a, rows);
    TRY_TAKE(r->v_source_slots, a, rows);
    TRY_TAKE(r->v_source_q, a, seqs + 1);
    r->source_ids = ints(r->v_source_ids, shape_1(rows), &r->n_source);
    r->source_positions = ints(r->v_source_positions, shape_1(rows), &r->n_source);
    r->source_slots = ints(r->v_source_slots, shape_1(rows), &r->n_source);
    r->source_q = ints(r->v_source_q, shape_1(seqs + 1), &r->n_offsets);
    r->source.ids = tape_input(r->t, &r->source_ids);
    r->source.positions = tape_input(r->t, &r->source_positions);
    r->source.slots = tape_input(r->t, &r->source_slots);
    r->source.q_offsets = tape_input(r->t, &r->source_q);
    return STATUS_OK;
}

static status record(decoding *d, decode_run *r, int64_t rows, int64_t source, int64_t seqs)
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
    if (d->m->has_source) {
        TRY(open_source(d, r, source, seqs));
        s.source = &r->source;
        s.source->tasks = s.tasks;
    }
    var *hidden = model_hidden(d->m, t, &s);
    r->logits = head_logits(t, &d->m->head, ag_gather_rows(t, hidden, tape_input(t, &r->last)));
    tape_keep(t, r->logits);
    return tape_plan(t, NULL, RECOMPUTE_NONE);
}

/* ---- cache ----------------------------------------------------------------------------------------------------- */

static status open_table(decoding *d, int64_t rows, tensor **out)
{
    const int64_t W = d->m->kv_width;

    TRY_TAKE(*out, &d->memory, d->m->layers);
    for (int64_t l = 0; l < d->m->layers; l++) {
        float *v;
        TRY_TAKE(v, &d->memory, rows * W);
        (*out)[l] = (tensor){.s = shape_2(rows, W), .type = TYPE_F32, .v = v};
    }
    return STATUS_OK;
}

static status open_cache(decoding *d)
{
    const int64_t rows = d->n * d->pages * DECODE_PAGE, source = d->n * d->source_pages * DECODE_PAGE;

    if (rows > INT32_MAX || source > INT32_MAX)
        return fail(STATUS_USAGE, "%lld prompts of %lld tokens are too many at once", (long long)d->n,
                    (long long)(d->pages + d->source_pages) * DECODE_PAGE);
    d->cache.layers = (int)d->m->layers;
    TRY(open_table(d, rows, &d->cache.k));
    TRY(open_table(d, rows, &d->cache.v));
    if (!d->m->has_source)
        return STATUS_OK;
    TRY(open_table(d, source, &d->cache.source_k));
    return open_table(d, source, &d->cache.source_v);
}

static size_t table_bytes(const decoding *d, const tensor *table)
{
    if (!table)
        return 0;
    const tensor one = {.s = table[0].s, .type = device_activations(device_current())};

    return (size_t)d->cache.layers * device_arena_room(tensor_bytes(&one));
}

static size_t cache_bytes(const decoding *d)
{
    return 2 * (table_bytes(d, d->cache.k) + table_bytes(d, d->cache.source_k));
}

/* Before anything is taken there: cache, activations and scratch of both runs fit beside what is held. */
static status check_device_memory(const decoding *d)
{
    const device *there = device_current();
    const size_t  first = tape_device_scratch(d->first.t), then = tape_device_scratch(d->next.t);
    const size_t  cache = cache_bytes(d), scratch = first > then ? first : then;
    const size_t  runs = tape_device_bytes(d->first.t) + tape_device_bytes(d->next.t);
    const size_t  have = device_functions(there)->memory_free();

    if (cache + runs + scratch <= have)
        return STATUS_OK;
    return fail(STATUS_MEMORY,
                "%lld prompts of %lld tokens in all need %.0f MB of the device to be answered (keys and values "
                "%.0f, activations %.0f, scratch %.0f), %.0f MB are free; ask fewer prompts at once, or for "
                "fewer tokens", (long long)d->n, (long long)d->total, (double)(cache + runs + scratch) / 1e6,
                (double)cache / 1e6, (double)runs / 1e6, (double)scratch / 1e6, (double)have / 1e6);
}

static status hold_cache(decoding *d)
{
    tensor *const tables[] = {d->cache.k, d->cache.v, d->cache.source_k, d->cache.source_v};
    device       *there = device_current();

    TRY(device_arena_open(there, &d->there, "the cache of keys and values", cache_bytes(d)));
    for (size_t i = 0; i < COUNT_OF(tables); i++)
        for (int l = 0; tables[i] && l < d->cache.layers; l++)
            TRY(device_hold(&d->there, &tables[i][l], device_activations(there)));
    return STATUS_OK;
}

/* ---- opening --------------------------------------------------------------------------------------------------- */

status decoding_open(decoding *d, model *m, const prompt *prompts, int64_t n, int64_t tokens)
{
    *d = (decoding){.m = m, .prompts = prompts, .n = n, .front = model_in_front(m)};
    if (m->head.kind != HEAD_CAUSAL && m->head.kind != HEAD_SEQ2SEQ)
        return fail(STATUS_USAGE, "a %s model with the head %s writes no text: only a causal_lm or seq2seq head says "
                    "the next token", m->family->name, head_name(m->head.kind));
    TRY(check_lengths(d, tokens));
    TRY(arena_open(&d->memory, "decoder", (size_t)64 << 30));
    TRY(open_cache(d));
    TRY(record(d, &d->first, m->has_source ? n : d->total, d->total, n));
    TRY(record(d, &d->next, n, 0, n));
    if (device_current()) {
        TRY(check_device_memory(d));
        TRY(hold_cache(d));
    }
    TRY(tape_bind(d->first.t, &d->memory));
    TRY(tape_bind(d->next.t, &d->memory));
    tape_set_run(d->first.t, &(op_run){.decoding = true}); /* for the head: a row a prompt */
    tape_set_run(d->next.t, &(op_run){.decoding = true});
    return STATUS_OK;
}

void decoding_close(decoding *d)
{
    tape_close(d->first.t);
    tape_close(d->next.t);
    device_arena_close(&d->there);
    arena_close(&d->memory);
}

/* ---- rows of a run --------------------------------------------------------------------------------------------- */

/* Rows of a prompt's tokens from position `from` on. ids NULL: virtual ones. */
static void append(const decoding *d, decode_run *r, int64_t p, const int32_t *ids, int64_t from, int64_t count)
{
    for (int64_t i = 0; i < count; i++, r->n_rows++) {
        r->v_ids[r->n_rows] = ids ? ids[i] : 0;
        r->v_positions[r->n_rows] = d->front.positions + (int32_t)(from + i);
        r->v_slots[r->n_rows] = (int32_t)(p * d->pages * DECODE_PAGE + from + i);
    }
    r->from_to[1] = r->n_rows;
}

/* A page of the source's keys for each 32 tokens of it. */
static void add_source(const decoding *d, decode_run *r, int64_t p)
{
    const int32_t s = r->n_seqs;
    const prompt *x = &d->prompts[p];

    r->v_source_k[s + 1] = r->v_source_k[s] + (int32_t)x->n;
    for (int64_t b = 0; b < d->source_pages; b++)
        r->v_source_blocks[s * d->source_pages + b] = (int32_t)(p * d->source_pages + b);
    if (!r->v_source_ids)
        return;
    for (int64_t i = 0; i < x->n; i++, r->n_source++) {
        r->v_source_ids[r->n_source] = x->ids[i];
        r->v_source_positions[r->n_source] = (int32_t)i;
        r->v_source_slots[r->n_source] = (int32_t)(p * d->source_pages * DECODE_PAGE + i);
    }
    r->v_source_q[s + 1] = r->n_source;
}

/* `count` tokens behind `from` others; the virtual tokens stand before a prompt's first. */
static void add_rows(const decoding *d, decode_run *r, int64_t p, const int32_t *ids, int64_t from, int64_t count)
{
    const int32_t s = r->n_seqs;

    if (d->m->has_source)
        add_source(d, r, p);
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
    r->v_tasks[s] = d->prompts[p].task;
    for (int64_t b = 0; b < d->pages; b++)
        r->v_blocks[s * d->pages + b] = (int32_t)(p * d->pages + b);
    r->n_seqs++;
    r->n_offsets = r->n_seqs + 1;
}

static void empty(decode_run *r)
{
    r->n_rows = r->n_seqs = r->n_source = r->from_to[0] = r->from_to[1] = 0;
    r->n_offsets = 1;
    r->v_q[0] = r->v_k[0] = 0;
    if (r->v_source_k)
        r->v_source_k[0] = 0;
    if (r->v_source_q)
        r->v_source_q[0] = 0;
}

/* ---- running --------------------------------------------------------------------------------------------------- */

/* Logits that are no numbers choose nothing: says where they come from. */
static status check_logits(const decoding *d, const decode_run *r)
{
    const int64_t n = r->n_seqs * d->m->words;

    TRY(tape_check(r->t));
    const float *v = r->logits->t.v;
    float        sums[16] = {0}, sum = 0; /* of zeros, or NaN */
    int64_t      i = 0;

    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 16; k++)
            sums[k] += v[i + k] * 0.0f;
    for (; i < n; i++)
        sum += v[i] * 0.0f;
    for (int k = 0; k < 16; k++)
        sum += sums[k];
    if (sum == 0)
        return STATUS_OK;
    TRY(tape_find_nonfinite(r->t));
    return fail(STATUS_NUMERIC, "head: the logits are not finite");
}

const int32_t *decoding_given(const decoding *d, int64_t p, int64_t *n)
{
    *n = d->m->has_source ? 1 : d->prompts[p].n;
    return d->m->has_source ? &d->m->begin : d->prompts[p].ids;
}

status decoding_read(decoding *d)
{
    empty(&d->first);
    for (int64_t p = 0; p < d->n; p++) {
        int64_t        n;
        const int32_t *ids = decoding_given(d, p, &n);
        add_rows(d, &d->first, p, ids, 0, n);
    }
    tape_forward(d->first.t);
    return check_logits(d, &d->first);
}

void decoding_begin(decoding *d)
{
    empty(&d->next);
}

void decoding_add(decoding *d, int64_t p, int32_t id, int64_t before)
{
    add_rows(d, &d->next, p, &id, before, 1);
}

status decoding_run(decoding *d)
{
    tape_forward(d->next.t);
    return check_logits(d, &d->next);
}
