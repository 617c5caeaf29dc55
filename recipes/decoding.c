/* decoding: rows of a run, and the runs themselves */
#include "recipes/decoding.h"

#include <string.h>

enum { PIECE = 256 }; /* tokens of a conversation that are read at once */

/* ---- lengths ------------------------------------------------------------------------------------------------- */

status decoding_check(const model *m, const prompt *p, int64_t number)
{
    CHECK(p->n > 0);
    for (int64_t k = 0; k < p->n; k++)
        if (p->ids[k] < 0 || p->ids[k] >= m->words)
            return fail(STATUS_USAGE, "token %d of prompt %lld is %d, must be 0..%lld", (int)k, (long long)number,
                        p->ids[k], (long long)m->words - 1);
    TRY_IN(model_check_task(m, p->task), "in prompt %lld", (long long)number);
    return STATUS_OK;
}

/* What the prompts need, and whether the model has it. */
static status measure(decoding *d, int64_t beams, int64_t tokens, kv_need *need)
{
    const model *m = d->m;
    int64_t      longest = 0, shortest = INT64_MAX;

    d->total = d->n * d->front.tokens;
    for (int64_t i = 0; i < d->n; i++) {
        const int64_t n = d->prompts[i].n;
        TRY(decoding_check(m, &d->prompts[i], i));
        d->total += n;
        longest = n > longest ? n : longest;
        shortest = n < shortest ? n : shortest;
    }
    *need = (kv_need){.prompts = d->n, .beams = beams};
    if (m->has_source) {
        if (d->front.tokens + d->front.positions > 0)
            return fail(STATUS_UNSUPPORTED, "a %s model has no place in front of its sequences for modules",
                        m->family->name);
        need->source = longest;
        longest = shortest = 1;
    }
    longest += d->front.tokens;
    need->common = shortest + d->front.tokens;
    need->positions = longest + tokens;
    if (need->positions + d->front.positions <= m->positions)
        return STATUS_OK;
    return fail(STATUS_USAGE, "a prompt of %lld tokens%s and %lld new ones are more than the model's %lld positions",
                (long long)longest + d->front.positions,
                d->front.tokens + d->front.positions ? " with what is in front" : "", (long long)tokens,
                (long long)m->positions);
}

/* ---- inputs -------------------------------------------------------------------------------------------------- */

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
    TRY_TAKE(r->v_blocks, a, seqs * d->pages.each);
    r->ids = ints(r->v_ids, shape_1(rows), &r->n_rows);
    r->positions = ints(r->v_positions, shape_1(rows), &r->n_rows);
    r->slots = ints(r->v_slots, shape_1(rows), &r->n_rows);
    r->q_offsets = ints(r->v_q, shape_1(seqs + 1), &r->n_offsets);
    r->k_offsets = ints(r->v_k, shape_1(seqs + 1), &r->n_offsets);
    r->q_start = ints(r->v_start, shape_1(seqs), &r->n_seqs);
    r->whole = ints(r->from_to, shape_1(2), NULL);
    r->tasks = ints(r->v_tasks, shape_1(seqs), &r->n_seqs);
    r->last = ints(r->v_last, shape_1(seqs), &r->n_seqs);
    r->blocks = ints(r->v_blocks, shape_2(seqs, d->pages.each), &r->n_seqs);
    return STATUS_OK;
}

/* rows 0: what the source gives lies in the cache already. */
static status open_source(decoding *d, decode_run *r, int64_t rows, int64_t seqs)
{
    arena *a = &d->memory;

    TRY_TAKE(r->v_source_k, a, seqs + 1);
    TRY_TAKE(r->v_source_blocks, a, seqs * d->pages.source_each);
    r->source_k = ints(r->v_source_k, shape_1(seqs + 1), &r->n_offsets);
    r->source_blocks = ints(r->v_source_blocks, shape_2(seqs, d->pages.source_each), &r->n_seqs);
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
    stream s = {.cache = &d->pages.cache};
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

/* ---- opening ------------------------------------------------------------------------------------------------- */

/* Before anything is taken there: cache, activations and scratch of both runs fit beside what is held. */
static status check_device_memory(const decoding *d)
{
    const device *there = device_current();
    const size_t  first = tape_device_scratch(d->first.t), then = tape_device_scratch(d->next.t);
    const size_t  cache = kv_pages_bytes(&d->pages), scratch = first > then ? first : then;
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

/* rows: that the first run reads at once. */
static status open_runs(decoding *d, const kv_need *need, int64_t rows)
{
    const int64_t n = need->prompts;

    TRY(arena_open(&d->memory, "decoder", (size_t)64 << 30));
    TRY(kv_pages_open(&d->pages, &d->memory, d->m, need));
    TRY(record(d, &d->first, rows, d->total, n));
    TRY(record(d, &d->next, n * need->beams, 0, n * need->beams));
    if (device_current()) {
        TRY(check_device_memory(d));
        TRY(kv_pages_hold(&d->pages));
    }
    TRY(tape_bind(d->first.t, &d->memory));
    TRY(tape_bind(d->next.t, &d->memory));
    tape_set_run(d->first.t, &(op_run){.decoding = true}); /* for the head: a row a prompt */
    tape_set_run(d->next.t, &(op_run){.decoding = true});
    return STATUS_OK;
}

static status check_head(const model *m)
{
    if (m->head.kind == HEAD_CAUSAL || m->head.kind == HEAD_SEQ2SEQ)
        return STATUS_OK;
    return fail(STATUS_USAGE, "a %s model with the head %s writes no text: only a causal_lm or seq2seq head says "
                "the next token", m->family->name, head_name(m->head.kind));
}

status decoding_open(decoding *d, model *m, const prompt *prompts, int64_t n, int64_t beams, int64_t tokens)
{
    kv_need need;

    *d = (decoding){.m = m, .prompts = prompts, .n = n, .front = model_in_front(m)};
    TRY(check_head(m));
    TRY(measure(d, beams, tokens, &need));
    return open_runs(d, &need, m->has_source ? n : d->total);
}

status decoding_open_room(decoding *d, model *m, int64_t room)
{
    *d = (decoding){.m = m, .n = 1, .front = model_in_front(m)};
    const int64_t in_front = d->front.tokens + d->front.positions;

    TRY(check_head(m));
    if (m->has_source)
        return fail(STATUS_UNSUPPORTED, "a %s model answers single prompts, not conversations", m->family->name);
    if (room + in_front > m->positions)
        return fail(STATUS_USAGE, "a conversation of %lld tokens%s is more than the model's %lld positions",
                    (long long)room, in_front ? " with what is in front" : "", (long long)m->positions);
    d->total = room + d->front.tokens;
    return open_runs(d, &(kv_need){.prompts = 1, .beams = 1, .positions = d->total},
                     (room < PIECE ? room : PIECE) + d->front.tokens);
}

void decoding_close(decoding *d)
{
    tape_close(d->first.t);
    tape_close(d->next.t);
    kv_pages_close(&d->pages);
    arena_close(&d->memory);
}

/* ---- rows of a run ------------------------------------------------------------------------------------------- */

/* Some tokens of a sequence, behind `from` others. */
typedef struct piece {
    int64_t        p, beam;
    const int32_t *ids; /* NULL: virtual ones */
    int64_t        from, n;
} piece;

static void append(const decoding *d, decode_run *r, const piece *x)
{
    for (int64_t i = 0; i < x->n; i++, r->n_rows++) {
        r->v_ids[r->n_rows] = x->ids ? x->ids[i] : 0;
        r->v_positions[r->n_rows] = d->front.positions + (int32_t)(x->from + i);
        r->v_slots[r->n_rows] = kv_pages_slot(&d->pages, x->p, x->beam, x->from + i);
    }
    r->from_to[1] = r->n_rows;
}

/* A page of the source's keys for each 32 tokens of it. */
static void add_source(const decoding *d, decode_run *r, int64_t p)
{
    const int32_t s = r->n_seqs;
    const prompt *x = &d->prompts[p];

    r->v_source_k[s + 1] = r->v_source_k[s] + (int32_t)x->n;
    for (int64_t b = 0; b < d->pages.source_each; b++)
        r->v_source_blocks[s * d->pages.source_each + b] = (int32_t)(p * d->pages.source_each + b);
    if (!r->v_source_ids)
        return;
    for (int64_t i = 0; i < x->n; i++, r->n_source++) {
        r->v_source_ids[r->n_source] = x->ids[i];
        r->v_source_positions[r->n_source] = (int32_t)i;
        r->v_source_slots[r->n_source] = (int32_t)(p * d->pages.source_each * KV_PAGE + i);
    }
    r->v_source_q[s + 1] = r->n_source;
}

/* A sequence of the run; the virtual tokens stand before its first. */
static void add_rows(const decoding *d, decode_run *r, piece x)
{
    const int32_t s = r->n_seqs;
    const int64_t start = x.from > 0 ? x.from + d->front.tokens : 0;

    if (d->m->has_source)
        add_source(d, r, x.p);
    if (x.from == 0)
        append(d, r, &(piece){.p = x.p, .beam = x.beam, .n = d->front.tokens});
    x.from += d->front.tokens;
    append(d, r, &x);
    r->v_q[s + 1] = r->n_rows;
    r->v_k[s + 1] = r->v_k[s] + (int32_t)(x.from + x.n);
    r->v_start[s] = (int32_t)start;
    r->v_last[s] = r->n_rows - 1;
    r->v_tasks[s] = d->prompts[x.p].task;
    memcpy(r->v_blocks + s * d->pages.each, kv_pages_of(&d->pages, x.p, x.beam),
           (size_t)d->pages.each * sizeof *r->v_blocks);
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

/* ---- running ------------------------------------------------------------------------------------------------- */

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
        piece x = {.p = p};
        x.ids = decoding_given(d, p, &x.n);
        add_rows(d, &d->first, x);
    }
    tape_forward(d->first.t);
    return check_logits(d, &d->first);
}

status decoding_read_on(decoding *d, int64_t from)
{
    const prompt *p = d->prompts;

    for (int64_t n; from < p->n; from += n) {
        n = p->n - from < PIECE ? p->n - from : PIECE;
        empty(&d->first);
        add_rows(d, &d->first, (piece){.ids = p->ids + from, .from = from, .n = n});
        tape_forward(d->first.t);
        TRY(check_logits(d, &d->first));
    }
    return STATUS_OK;
}

void decoding_follow(decoding *d, int64_t p, const int32_t *parents, int64_t n, int64_t before)
{
    kv_pages_follow(&d->pages, p, parents, n, d->front.tokens + before);
}

void decoding_begin(decoding *d)
{
    empty(&d->next);
}

void decoding_add(decoding *d, int64_t p, int64_t beam, int32_t id, int64_t before)
{
    add_rows(d, &d->next, (piece){.p = p, .beam = beam, .ids = &id, .from = before, .n = 1});
}

status decoding_run(decoding *d)
{
    tape_forward(d->next.t);
    return check_logits(d, &d->next);
}
