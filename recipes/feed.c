/* feed: a batch as tensors */
#include "recipes/feed.h"

static tensor ints(int32_t *v, int64_t capacity, const int32_t *rows)
{
    return (tensor){.s = shape_1(capacity), .type = TYPE_I32, .v = v, .rows = rows};
}

static status open_source(feed *f, arena *memory, int64_t capacity, int64_t seqs)
{
    const batch_source *b = &f->b.source;

    TRY(batch_open_source(memory, capacity, &f->b));
    TRY_TAKE(f->source_sample_of_row, memory, capacity);
    f->source_ids = ints(b->ids, capacity, &f->n_source);
    f->source_positions = ints(b->positions, capacity, &f->n_source);
    f->source_samples = ints(f->source_sample_of_row, capacity, &f->n_source);
    f->source_offsets = ints(b->offsets, seqs + 1, &f->n_offsets);
    return STATUS_OK;
}

static status open_images(feed *f, const model *m, arena *memory, int64_t capacity)
{
    const int64_t values = patches_values(&m->image);

    TRY(batch_open_images(memory, values, &f->b));
    f->patches = (tensor){.s = shape_2(capacity, values), .type = TYPE_F32, .v = f->b.images.patches,
                          .rows = &f->n_patches};
    f->places = ints(f->b.images.places, capacity, &f->n_rows);
    return STATUS_OK;
}

status feed_open(feed *f, const model *m, arena *memory, int64_t capacity, int64_t source, int64_t seqs)
{
    const model_front front = model_in_front(m);

    if ((m->has_source || m->image.channels > 0) && (front.tokens > 0 || front.positions > 0))
        return fail(STATUS_UNSUPPORTED, "a %s model has no place in front of its sequences for modules",
                    m->family->name);
    *f = (feed){.has_types = m->types > 0, .has_tasks = model_tasks(m) > 0};
    TRY(batch_open(memory, capacity, seqs, &f->b));
    f->b.front = front.tokens;
    f->b.first_position = m->first_position + front.positions;
    f->b.pad = m->first_position > 0 ? m->pad : -1;
    TRY_TAKE(f->sample_of_row, memory, capacity);
    f->ids = ints(f->b.ids, capacity, &f->n_rows);
    f->positions = ints(f->b.positions, capacity, &f->n_rows);
    f->types = ints(f->b.types, capacity, &f->n_rows);
    f->samples = ints(f->sample_of_row, capacity, &f->n_rows);
    f->offsets = ints(f->b.offsets, seqs + 1, &f->n_offsets);
    f->tasks = ints(f->b.task, seqs, &f->n_seqs);
    f->whole = ints(f->from_to, 2, NULL);
    const int64_t targets = m->head.kind == HEAD_CLASSIFY ? seqs : capacity;
    f->target_rows = ints(f->b.target_rows, targets, &f->n_targets);
    f->target_ids = ints(f->b.target_ids, targets, &f->n_targets);
    f->spans = (tensor){.s = shape_2(seqs, 2), .type = TYPE_I32, .v = f->b.spans, .rows = &f->n_seqs};
    f->has_spans = m->head.kind == HEAD_SPAN;
    if (m->has_source)
        TRY(open_source(f, memory, source, seqs));
    return m->image.channels > 0 ? open_images(f, m, memory, capacity) : STATUS_OK;
}

status feed_open_values(feed *f, arena *memory, int64_t width)
{
    TRY(batch_open_values(memory, width, &f->b));
    f->values = (tensor){.s = shape_2(f->b.seqs_capacity, width), .type = TYPE_F32, .v = f->b.values,
                         .rows = &f->n_samples};
    return STATUS_OK;
}

status feed_open_texts(feed *f, arena *memory)
{
    feed_texts   *x = &f->texts;
    const int64_t seqs = f->b.seqs_capacity;

    TRY_TAKE(x->first, memory, seqs);
    TRY_TAKE(x->answer, memory, seqs);
    TRY_TAKE(x->third, memory, seqs);
    TRY_TAKE(x->from, memory, seqs);
    TRY_TAKE(x->to, memory, seqs);
    x->firsts = ints(x->first, seqs, &f->n_samples);
    x->seconds = ints(x->answer, seqs, &f->n_samples);
    x->thirds = ints(x->third, seqs, &f->n_samples);
    x->answers = ints(x->answer, seqs, &x->n_answers);
    x->from_rows = ints(x->from, seqs, &f->n_seqs);
    x->to_rows = ints(x->to, seqs, &f->n_seqs);
    x->first_targets = ints(f->b.first_target, seqs + 1, &f->n_offsets);
    return STATUS_OK;
}

target_place feed_place(const model_head *h)
{
    if (h->kind == HEAD_CLASSIFY)
        return h->last ? TARGET_LAST : TARGET_SEQUENCE;
    if (h->kind == HEAD_SPAN)
        return TARGET_SPAN;
    return h->kind == HEAD_CAUSAL ? TARGET_NEXT : TARGET_HERE;
}

static void record_source(feed *f, tape *t, stream *s)
{
    s->source = &f->source;
    s->source->ids = tape_input(t, &f->source_ids);
    s->source->positions = tape_input(t, &f->source_positions);
    s->source->samples = tape_input(t, &f->source_samples);
    s->source->q_offsets = tape_input(t, &f->source_offsets);
    s->source->tasks = s->tasks;
}

void feed_record(feed *f, tape *t, stream *s)
{
    if (f->b.images.values > 0) {
        s->patches = ag_expand(t, tape_input(t, &f->patches)); /* activations may be narrower */
        s->places = tape_input(t, &f->places);
    } else
        s->ids = tape_input(t, &f->ids);
    s->positions = tape_input(t, &f->positions);
    s->types = f->has_types ? tape_input(t, &f->types) : NULL;
    s->samples = tape_input(t, &f->samples);
    s->q_offsets = tape_input(t, &f->offsets);
    s->tasks = f->has_tasks ? tape_input(t, &f->tasks) : NULL;
    s->whole = tape_input(t, &f->whole);
    f->target_rows_var = tape_input(t, &f->target_rows);
    f->target_ids_var = tape_input(t, &f->target_ids);
    f->values_var = f->b.width > 0 ? ag_expand(t, tape_input(t, &f->values)) : NULL;
    f->spans_var = f->has_spans ? tape_input(t, &f->spans) : NULL;
    if (f->b.source.capacity > 0)
        record_source(f, t, s);
    f->recorded = *s;
}

/* Names of the rows, for random numbers: the texts of a sample have others. */
static void name_rows(const batch *b, const int32_t *seq_of_row, int32_t n, int32_t *sample_of_row)
{
    for (int32_t i = 0; i < n; i++) {
        const int32_t s = seq_of_row[i];
        sample_of_row[i] = (int32_t)((b->sample[s] ^ (int64_t)b->text[s] << 27) & 0x7fffffff);
    }
}

static void list_texts(feed *f)
{
    feed_texts  *x = &f->texts;
    const batch *b = &f->b;
    int32_t      firsts = 0, seconds = 0, thirds = 0;

    x->n_answers = b->n_samples;
    for (int32_t s = 0; s < b->n_seqs; s++) {
        x->from[s] = b->offsets[s];
        x->to[s] = b->offsets[s + 1] - 1;
        if (b->text[s] == 0)
            x->first[firsts++] = s;
        else if (b->text[s] == 1)
            x->answer[seconds++] = s;
        else
            x->answer[x->n_answers++] = s;
        if (b->text[s] == 2)
            x->third[thirds++] = s;
    }
    CHECK(firsts == b->n_samples && seconds == b->n_samples);
}

void feed_load(feed *f)
{
    const batch *b = &f->b;

    CHECK(b->n_seqs > 0);
    if (f->prepare)
        f->prepare(f->context, &f->b);
    f->n_rows = f->from_to[1] = b->n_tokens;
    f->n_seqs = b->n_seqs;
    f->n_offsets = b->n_seqs + 1;
    f->n_targets = b->n_targets;
    f->n_samples = b->n_samples;
    if (f->texts.first)
        list_texts(f);
    f->n_source = b->source.n;
    f->n_patches = b->images.n;
    name_rows(b, b->seq_of_row, b->n_tokens, f->sample_of_row);
    name_rows(b, b->source.seq_of_row, b->source.n, f->source_sample_of_row);
}
