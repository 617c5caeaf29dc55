/* feed: a batch as tensors */
#include "recipes/feed.h"

static tensor ints(int32_t *v, int64_t capacity, const int32_t *rows)
{
    return (tensor){.s = shape_1(capacity), .type = TYPE_I32, .v = v, .rows = rows};
}

status feed_open(feed *f, const model *m, arena *memory, int64_t capacity, int64_t seqs)
{
    const model_front front = model_in_front(m);

    *f = (feed){.has_types = m->types > 0};
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
    f->whole = ints(f->from_to, 2, NULL);
    f->target_rows = ints(f->b.target_rows, capacity, &f->n_targets);
    f->target_ids = ints(f->b.target_ids, capacity, &f->n_targets);
    return STATUS_OK;
}

void feed_record(feed *f, tape *t, stream *s)
{
    s->ids = tape_input(t, &f->ids);
    s->positions = tape_input(t, &f->positions);
    s->types = f->has_types ? tape_input(t, &f->types) : NULL;
    s->samples = tape_input(t, &f->samples);
    s->q_offsets = tape_input(t, &f->offsets);
    s->whole = tape_input(t, &f->whole);
    f->target_rows_var = tape_input(t, &f->target_rows);
    f->target_ids_var = tape_input(t, &f->target_ids);
}

void feed_load(feed *f)
{
    const batch *b = &f->b;

    CHECK(b->n_seqs > 0);
    f->n_rows = f->from_to[1] = b->n_tokens;
    f->n_offsets = b->n_seqs + 1;
    f->n_targets = b->n_targets;
    for (int32_t i = 0; i < b->n_tokens; i++)
        f->sample_of_row[i] = (int32_t)(b->sample[b->seq_of_row[i]] & 0x7fffffff);
}
