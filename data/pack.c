/* pack: the plan of a step, and the filling of a micro-batch */
#include "data/pack.h"

#include <math.h>
#include <string.h>

status batch_open(arena *a, int64_t capacity, int64_t seqs_capacity, batch *out)
{
    *out = (batch){.capacity = capacity, .seqs_capacity = seqs_capacity, .pad = -1};
    TRY_TAKE(out->ids, a, capacity);
    TRY_TAKE(out->positions, a, capacity);
    TRY_TAKE(out->types, a, capacity);
    TRY_TAKE(out->seq_of_row, a, capacity);
    TRY_TAKE(out->offsets, a, seqs_capacity + 1);
    TRY_TAKE(out->target_rows, a, capacity);
    TRY_TAKE(out->target_ids, a, capacity);
    TRY_TAKE(out->task, a, seqs_capacity);
    TRY_TAKE(out->label, a, seqs_capacity);
    TRY_TAKE(out->spans, a, 2 * seqs_capacity);
    TRY_TAKE(out->sample, a, seqs_capacity);
    TRY_TAKE(out->example, a, seqs_capacity);
    TRY_TAKE(out->text, a, seqs_capacity);
    TRY_TAKE(out->first_target, a, seqs_capacity + 1);
    out->offsets[0] = out->first_target[0] = 0;
    return STATUS_OK;
}

status batch_open_source(arena *a, int64_t capacity, batch *b)
{
    b->source = (batch_source){.capacity = capacity};
    TRY_TAKE(b->source.ids, a, capacity);
    TRY_TAKE(b->source.positions, a, capacity);
    TRY_TAKE(b->source.seq_of_row, a, capacity);
    TRY_TAKE(b->source.offsets, a, b->seqs_capacity + 1);
    b->source.offsets[0] = 0;
    return STATUS_OK;
}

status batch_open_images(arena *a, int64_t values, batch *b)
{
    b->images = (batch_images){.values = values};
    TRY_TAKE(b->images.patches, a, b->capacity * values);
    TRY_TAKE(b->images.places, a, b->capacity);
    return STATUS_OK;
}

static void add_source(batch *b, const example *e)
{
    batch_source *x = &b->source;

    for (int32_t i = 0; i < e->n_source; i++, x->n++) {
        x->ids[x->n] = e->source[i];
        x->positions[x->n] = i;
        x->seq_of_row[x->n] = b->n_seqs;
    }
    x->offsets[b->n_seqs + 1] = x->n;
}

static void add_image(batch *b, const example *e)
{
    batch_images *x = &b->images;

    memcpy(x->patches + x->n * x->values, e->patches, (size_t)((e->n - 1) * x->values) * sizeof *x->patches);
    x->places[b->n_tokens] = -1;
    for (int32_t i = 1; i < e->n; i++)
        x->places[b->n_tokens + i] = x->n++;
}

void batch_clear(batch *b)
{
    b->n_tokens = b->n_seqs = b->n_targets = b->n_samples = 0;
    b->source.n = b->images.n = 0;
}

status batch_open_values(arena *a, int64_t width, batch *b)
{
    b->width = width;
    TRY_TAKE(b->values, a, b->seqs_capacity * width);
    memset(b->values, 0, (size_t)(b->seqs_capacity * width) * sizeof *b->values);
    return STATUS_OK;
}

void batch_add_target(batch *b, int32_t row, int32_t id)
{
    CHECK(b->n_targets < b->capacity);
    b->target_rows[b->n_targets] = row;
    b->target_ids[b->n_targets++] = id;
}

/* The target of a whole sample. */
static void add_target_of_all(batch *b, const example *e, int32_t row)
{
    if (example_targets(e, b->place))
        batch_add_target(b, row, e->label >= 0 ? e->label : 0);
}

/* Those of its i-th text, whose first token is at `row`. */
static void add_targets(batch *b, const example *e, int32_t text, int32_t row)
{
    const int32_t from = example_begin(e, text), n = example_end(e, text) - from;
    const int32_t ahead = b->place == TARGET_NEXT || b->place == TARGET_TEXTS;

    for (int32_t i = 1; b->front_labels && i < b->front; i++)
        if (b->front_labels[i] != LABEL_NONE)
            batch_add_target(b, row - b->front + i - 1, b->front_labels[i]);
    if (b->place == TARGET_SEQUENCE && text == 0)
        add_target_of_all(b, e, row - b->front);
    if (b->place == TARGET_LAST && text == example_texts(e) - 1)
        add_target_of_all(b, e, row + n - 1);
    if (b->place == TARGET_SPAN)
        batch_add_target(b, row, 0);
    if (b->place == TARGET_SEQUENCE || b->place == TARGET_LAST || b->place == TARGET_SPAN ||
        b->place == TARGET_MASKED || !e->labels)
        return;
    for (int32_t i = ahead; i < n; i++)
        if (e->labels[from + i] != LABEL_NONE)
            batch_add_target(b, row + i - ahead, e->labels[from + i]);
}

/* The rows of its i-th text. */
static void add_rows(batch *b, const example *e, int32_t text)
{
    const int32_t row = b->n_tokens, first = row + b->front, from = example_begin(e, text);
    const int32_t n = example_end(e, text) - from;

    memset(b->ids + row, 0, (size_t)b->front * sizeof *b->ids);
    memset(b->types + row, 0, (size_t)b->front * sizeof *b->types);
    for (int32_t i = 0; i < b->front; i++)
        b->positions[row + i] = b->first_position + i;
    for (int32_t i = 0, position = b->first_position + b->front; i < n; i++) {
        const bool pad = e->ids && e->ids[from + i] == b->pad;
        b->ids[first + i] = e->ids ? e->ids[from + i] : 0;
        b->positions[first + i] = pad ? b->pad : position++;
        b->types[first + i] = e->types ? e->types[from + i] : 0;
    }
    for (int32_t i = row; i < first + n; i++)
        b->seq_of_row[i] = b->n_seqs;
    add_targets(b, e, text, first);
    b->n_tokens = first + n;
    b->offsets[++b->n_seqs] = b->n_tokens;
    b->first_target[b->n_seqs] = b->n_targets;
}

bool batch_add(batch *b, const example *e, int64_t sample, int64_t number)
{
    const int32_t texts = example_texts(e);

    if (b->n_seqs + (int64_t)texts > b->seqs_capacity ||
        b->n_tokens + (int64_t)e->n + (int64_t)texts * b->front > b->capacity ||
        (b->source.capacity > 0 && b->source.n + (int64_t)e->n_source > b->source.capacity))
        return false;
    CHECK((e->source != NULL) == (b->source.capacity > 0) && (e->patches != NULL) == (b->images.values > 0));
    CHECK(texts == 1 || (!e->source && !e->patches));
    if (e->source)
        add_source(b, e);
    if (e->patches)
        add_image(b, e);
    if (e->values && b->width > 0)
        memcpy(b->values + b->n_samples * b->width, e->values, (size_t)b->width * sizeof *b->values);
    for (int32_t i = 0; i < texts; i++) {
        const int32_t s = b->n_seqs;
        b->task[s] = e->task;
        b->label[s] = e->label;
        b->spans[2 * s] = b->front + e->span[0];
        b->spans[2 * s + 1] = b->front + e->span[1];
        b->sample[s] = sample;
        b->example[s] = number;
        b->text[s] = i;
        add_rows(b, e, i);
    }
    b->n_samples++;
    return true;
}

/* Rows that an example takes. */
static int64_t rows_of(const examples *x, int64_t i)
{
    return (int64_t)x->front * example_texts(&x->v[i]) + x->v[i].n;
}

/* Rows of its shortest text. */
static int64_t shortest_of(const examples *x, int64_t i)
{
    const example *e = &x->v[i];
    int32_t        least = e->n;

    for (int32_t k = 0; k < example_texts(e); k++) {
        const int32_t n = example_end(e, k) - example_begin(e, k);
        least = n < least ? n : least;
    }
    return x->front + (int64_t)least;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The capacities of given micro-batches. */
static status measure_given(packer *p)
{
    int64_t tokens = 0, seqs = 0, source = 0;

    for (int64_t i = 0; i < p->x->n; i++) {
        const bool fresh = i == 0 || p->x->v[i].batch != p->x->v[i - 1].batch;

        tokens = (fresh ? 0 : tokens) + rows_of(p->x, i);
        source = (fresh ? 0 : source) + p->x->v[i].n_source;
        seqs = (fresh ? 0 : seqs) + example_texts(&p->x->v[i]);
        p->batches += fresh;
        p->capacity = larger(tokens, p->capacity);
        p->source_capacity = larger(source, p->source_capacity);
        p->seqs_capacity = larger(seqs, p->seqs_capacity);
    }
    if (larger(p->capacity, p->source_capacity) > INT32_MAX / 2)
        return fail(STATUS_SHAPE, "data: a given micro-batch has %lld tokens, may have %d",
                    (long long)larger(p->capacity, p->source_capacity), INT32_MAX / 2);
    p->leaves_capacity = p->o.accumulate;
    return STATUS_OK;
}

/* The encoder's part of a micro-batch. */
static status measure_source(packer *p)
{
    const int64_t most = p->o.source_pack > 0 ? p->o.source_pack : p->o.pack;

    if (p->x->longest_source == 0)
        return STATUS_OK;
    if (most > INT32_MAX / 2 || p->x->longest_source > most)
        return fail(STATUS_USAGE, "data: a sample has %d tokens that the encoder reads, its part of a micro-batch is "
                    "%lld (source_pack), must be at least as many and at most %d", p->x->longest_source,
                    (long long)most, INT32_MAX / 2);
    p->source_capacity = most;
    return STATUS_OK;
}

static status measure_packed(packer *p)
{
    const pack_options *o = &p->o;
    int64_t             shortest = o->pack, texts = 1;

    if (o->pack < 1 || o->pack > INT32_MAX / 2)
        return fail(STATUS_USAGE, "data: pack is %lld tokens, must be 1..%d", (long long)o->pack,
                    INT32_MAX / 2);
    if (o->batch_tokens % o->pack != 0)
        return fail(STATUS_USAGE, "train: batch_tokens is %lld, must be a multiple of pack (%lld)",
                    (long long)o->batch_tokens, (long long)o->pack);
    for (int64_t i = 0; i < p->x->n; i++) {
        const int64_t n = rows_of(p->x, i);

        if (n > o->pack)
            return fail(STATUS_SHAPE,
                        "data: sample %lld has %lld tokens%s%s, more than a micro-batch holds (pack %lld): "
                        "length must be at most pack%s",
                        (long long)i, (long long)n, p->x->v[i].ends ? " in all its texts" : "",
                        p->x->front ? " with the virtual ones in front" : "", (long long)o->pack,
                        p->x->v[i].ends ? " divided by the texts of a sample" : "");
        const int64_t least = shortest_of(p->x, i);
        shortest = least < shortest ? least : shortest;
        texts = example_texts(&p->x->v[i]) > texts ? example_texts(&p->x->v[i]) : texts;
    }
    TRY(measure_source(p));
    p->capacity = o->pack;
    p->seqs_capacity = o->pack / (shortest > 0 ? shortest : 1);
    if (o->batch_samples > 0 && o->batch_samples * texts < p->seqs_capacity)
        p->seqs_capacity = o->batch_samples * texts;
    p->leaves_capacity = o->batch_samples  ? o->batch_samples
                         : o->batch_tokens ? o->batch_tokens / o->pack
                                           : o->accumulate;
    return STATUS_OK;
}

/* How long an epoch is, and what it holds of each source. */
static status measure_epoch(arena *a, packer *p)
{
    const examples *x = p->x;
    double          most = 0;

    p->epoch = x->n;
    if (x->n_parts == 0)
        return STATUS_OK;
    p->epoch = 0;
    TRY_TAKE(p->take, a, x->n_parts);
    for (int i = 0; i < x->n_parts; i++)
        most = x->parts[i].weight > most ? x->parts[i].weight : most;
    for (int i = 0; i < x->n_parts; i++) {
        const int64_t n = (int64_t)floor((double)x->parts[i].n * (x->parts[i].weight / most) + 0.5);

        p->take[i] = p->o.whole ? x->parts[i].n : n > 0 ? n : 1;
        p->epoch += p->take[i];
    }
    return STATUS_OK;
}

status packer_open(arena *a, const examples *x, const pack_options *o, packer *out)
{
    int64_t samples;

    *out = (packer){.x = x, .o = *o, .key = rng_key_for(o->seed, "shuffle"),
                    .mixture_key = rng_key_for(o->seed, "mixture")};
    if (x->n == 0)
        return fail(STATUS_USAGE, "data: there are no examples");
    if (o->batch_tokens < 0 || o->batch_samples < 0 || o->accumulate < 0 || o->epochs < 0)
        return fail(STATUS_USAGE, "train: batch_tokens, batch_samples, accumulate and epochs must not be "
                                  "negative");
    if ((o->batch_tokens > 0) + (o->batch_samples > 0) + (o->accumulate > 0) > 1)
        return fail(STATUS_USAGE, "train: only one of batch_tokens, batch_samples and accumulate may be "
                                  "given");
    if (x->batched && (o->batch_tokens || o->batch_samples))
        return fail(STATUS_USAGE, "train: the data gives its micro-batches: a step is `accumulate` of "
                                  "them, not %s",
                    o->batch_tokens ? "batch_tokens" : "batch_samples");
    out->o.accumulate = o->accumulate ? o->accumulate : 1;
    for (int32_t i = 1; x->place == TARGET_NEXT && x->front_labels && i < x->front; i++)
        out->front_targets += x->front_labels[i] != LABEL_NONE;
    TRY(measure_epoch(a, out));
    TRY(x->batched ? measure_given(out) : measure_packed(out));
    if (MUL_OVERFLOWS(out->leaves_capacity, out->seqs_capacity, &samples) || samples > INT32_MAX)
        return fail(STATUS_USAGE, "train: a step of %lld micro-batches is too large",
                    (long long)out->leaves_capacity);
    if (o->batch_samples)
        samples = o->batch_samples;
    TRY_TAKE(out->first, a, out->leaves_capacity + 1);
    TRY_TAKE(out->samples, a, samples);
    TRY_TAKE(out->used, a, samples);
    return STATUS_OK;
}

status packer_open_once(arena *a, const examples *x, int64_t pack, int64_t source_pack, packer *out)
{
    const pack_options o = {.pack = pack, .source_pack = source_pack, .epochs = 1, .whole = true};

    return packer_open(a, x, &o, out);
}

/* The example that lies at a place of an epoch before the epoch is shuffled. */
static int64_t place_example(const packer *p, int64_t epoch, int64_t place)
{
    int i = 0;

    if (p->x->n_parts == 0)
        return place;
    while (place >= p->take[i])
        place -= p->take[i++];

    const example_part *part = &p->x->parts[i];
    const int64_t       drawn = epoch * p->take[i] + place, round = drawn / part->n;
    const uint64_t      order = (uint64_t)round * (uint64_t)p->x->n_parts + (uint64_t)i;

    if (p->take[i] == part->n || !p->o.shuffle)
        return part->first + drawn % part->n;
    return part->first + rng_permute(p->mixture_key, (uint32_t)order, part->n, drawn % part->n);
}

static pack_sample place_sample(const packer *p, int64_t epoch, int64_t place)
{
    const int64_t n = p->epoch;
    const int64_t to = p->o.shuffle && !p->batches ? rng_permute(p->key, (uint32_t)epoch, n, place) : place;

    return (pack_sample){.sample = epoch * n + place, .example = place_example(p, epoch, to)};
}

static bool ended(const packer *p)
{
    return p->o.epochs > 0 && p->at.epoch >= p->o.epochs;
}

static void add_sample(packer *p, pack_step *s, pack_sample which)
{
    const example *e = &p->x->v[which.example];

    p->samples[s->n_samples++] = which;
    s->n_tokens += rows_of(p->x, which.example) + e->n_source;
    s->n_followed += rows_of(p->x, which.example) - example_texts(e);
    s->n_targets += example_targets(e, p->x->place) + p->front_targets;
}

static void close_leaf(packer *p, pack_step *s)
{
    p->first[++s->n_leaves] = (int32_t)s->n_samples;
}

/* What is left of a micro-batch. */
typedef struct pack_room {
    int64_t tokens, source, seqs;
} pack_room;

/* Takes the room of an example; false when there is not enough. */
static bool take_room(const packer *p, int64_t example, pack_room *room)
{
    const int64_t tokens = rows_of(p->x, example), source = p->x->v[example].n_source;
    const int64_t seqs = example_texts(&p->x->v[example]);

    if (tokens > room->tokens || source > room->source || seqs > room->seqs)
        return false;
    room->tokens -= tokens;
    room->source -= source;
    room->seqs -= seqs;
    return true;
}

/* Fills one micro-batch from the waiting samples, refilling them within the epoch. */
static void plan_leaf(packer *p, pack_step *s)
{
    pack_position *at = &p->at;
    pack_room      room = {p->capacity, p->source_capacity, p->seqs_capacity};

    for (int64_t w = 0;;) {
        while (at->n_waiting < PACK_WINDOW && at->next < p->epoch)
            at->waiting[at->n_waiting++] = at->next++;
        if (w >= at->n_waiting || room.seqs == 0)
            break;

        const pack_sample which = place_sample(p, at->epoch, at->waiting[w]);
        if (!take_room(p, which.example, &room)) {
            w++;
            continue;
        }
        add_sample(p, s, which);
        at->n_waiting--;
        memmove(at->waiting + w, at->waiting + w + 1,
                (size_t)(at->n_waiting - w) * sizeof *at->waiting);
    }
    if (at->n_waiting == 0 && at->next == p->epoch) {
        at->epoch++;
        at->next = 0;
    }
    close_leaf(p, s);
}

/* All lines of the next given micro-batch. */
static void plan_given(packer *p, pack_step *s)
{
    const int64_t number = p->x->v[p->at.next].batch;

    do {
        add_sample(p, s, place_sample(p, p->at.epoch, p->at.next++));
    } while (p->at.next < p->x->n && p->x->v[p->at.next].batch == number);
    if (p->at.next == p->x->n) {
        p->at.epoch++;
        p->at.next = 0;
    }
    close_leaf(p, s);
}

/* The next batch_samples samples, dealt to micro-batches: first the oldest that is left, then every
 * later one that fits. Reads past an epoch's end. */
static void plan_samples(packer *p, pack_step *s)
{
    const int64_t n = p->epoch;
    pack_position at = p->at;
    int64_t       total = 0, from = 0;

    for (; total < p->o.batch_samples && !ended(p); total++) {
        p->used[total] = false;
        if (++p->at.next == n) {
            p->at.epoch++;
            p->at.next = 0;
        }
    }
    while (s->n_samples < total) {
        pack_room room = {p->capacity, p->source_capacity, p->seqs_capacity};

        while (p->used[from])
            from++;
        for (int64_t i = from; i < total && room.seqs > 0; i++) {
            const int64_t place = at.next + i;
            if (p->used[i])
                continue;
            const pack_sample which = place_sample(p, at.epoch + place / n, place % n);
            if (!take_room(p, which.example, &room))
                continue;
            p->used[i] = true;
            add_sample(p, s, which);
        }
        close_leaf(p, s);
    }
}

void packer_step(packer *p, pack_step *out)
{
    *out = (pack_step){.first = p->first, .samples = p->samples};
    p->first[0] = 0;
    if (ended(p))
        return;
    if (p->o.batch_samples > 0)
        plan_samples(p, out);
    else
        while (out->n_leaves < p->leaves_capacity && !ended(p)) {
            if (p->batches)
                plan_given(p, out);
            else
                plan_leaf(p, out);
        }
    p->at.step++;
}

void packer_fill(const packer *p, const pack_step *s, int leaf, batch *b)
{
    CHECK(leaf >= 0 && leaf < s->n_leaves && b->front == p->x->front);
    batch_clear(b);
    b->place = p->x->place;
    b->front_labels = b->place == TARGET_NEXT ? p->x->front_labels : NULL;
    for (int32_t i = s->first[leaf]; i < s->first[leaf + 1]; i++) {
        const pack_sample w = s->samples[i];
        const bool        fits = batch_add(b, &p->x->v[w.example], w.sample, w.example);
        CHECK(fits);
    }
}

status packer_seek(packer *p, const pack_position *to)
{
    bool ok = to->epoch >= 0 && to->step >= 0 && to->next >= 0 && to->next <= p->epoch &&
              to->n_waiting >= 0 && to->n_waiting <= PACK_WINDOW &&
              (to->next < p->epoch || to->n_waiting > 0) &&
              (to->n_waiting == 0 || (!p->batches && !p->o.batch_samples));

    for (int64_t i = 0; ok && i < to->n_waiting; i++)
        ok = to->waiting[i] >= (i ? to->waiting[i - 1] + 1 : 0) && to->waiting[i] < to->next;
    if (ok && p->batches && to->next > 0)
        ok = p->x->v[to->next].batch != p->x->v[to->next - 1].batch;
    if (!ok)
        return fail(STATUS_FORMAT,
                    "data: the saved position (epoch %lld, sample %lld, step %lld) does not belong to "
                    "these %lld examples",
                    (long long)to->epoch, (long long)to->next, (long long)to->step,
                    (long long)p->epoch);
    p->at = *to;
    return STATUS_OK;
}

int64_t packer_count(const packer *p, int64_t epochs)
{
    packer    copy = *p;
    pack_step s;

    if (epochs < 1)
        return 0;
    copy.at = (pack_position){0};
    copy.o.epochs = epochs;
    for (;;) {
        packer_step(&copy, &s);
        if (s.n_leaves == 0)
            return copy.at.step;
    }
}
