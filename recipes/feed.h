/* feed: micro-batches into the inputs of a recorded computation.
 *
 * The arrays have the capacity of the largest micro-batch; the numbers in use stand beside them and
 * kernels read them at every run. */
#ifndef RECIPES_FEED_H
#define RECIPES_FEED_H

#include "data/pack.h"
#include "layers/model.h"

/* Which sequences, and which rows, are what, where samples are several texts. */
typedef struct feed_texts {
    int32_t  n_answers;
    int32_t *first, *answer, *third, *from, *to;
    tensor   firsts, seconds, thirds; /* [samples] sequences: first, second, third texts; thirds: if all have one */
    tensor   answers;                 /* the second texts, and behind them all later ones */
    tensor   from_rows, to_rows;      /* [sequences] first and last row of each */
    tensor   first_targets;           /* [sequences + 1] */
} feed_texts;

typedef struct feed {
    batch   b;
    int32_t n_rows, n_offsets, n_seqs, n_targets, n_samples, from_to[2];
    bool    has_types, has_tasks, has_spans;
    tensor  ids, positions, types, samples, offsets, tasks, whole, target_rows, target_ids;
    int32_t *sample_of_row; /* [capacity] */
    /* of a model with an encoder */
    int32_t  n_source;
    tensor   source_ids, source_positions, source_samples, source_offsets;
    int32_t *source_sample_of_row;
    stream   source;
    /* of a model of images */
    int32_t  n_patches;
    tensor   patches, places;
    var     *target_rows_var, *target_ids_var;
    /* of an objective whose samples are several texts; the objective puts on the tape what it wants of it */
    feed_texts texts;
    stream   recorded; /* what feed_record made */
    /* of TARGET_SPAN */
    tensor   spans;
    var     *spans_var;
    /* of an objective that wants values of samples */
    tensor   values;
    var     *values_var;
    /* changes a micro-batch that was filled: chooses targets; NULL: nothing */
    void   (*prepare)(const void *context, batch *b);
    const void *context;
} feed;

/* Arrays for micro-batches of `capacity` tokens, those in front of the sequences included, and `seqs` sequences, as
 * the model counts positions; with an encoder also `source` tokens of its own. What modules put in front, and whether
 * they tell tasks apart, is asked now; a model with an encoder, or of images, has no place for it. */
status feed_open(feed *f, const model *m, arena *memory, int64_t capacity, int64_t source, int64_t seqs);

/* Adds `width` values a sample. Before feed_record. */
status feed_open_values(feed *f, arena *memory, int64_t width);

/* Adds f->texts, of samples that are two texts at least. Before feed_record. */
status feed_open_texts(feed *f, arena *memory);

/* Where the head's targets are. */
target_place feed_place(const model_head *h);

/* Puts the inputs on a tape and into the stream, whose source, if the model has one, is f->source. */
void feed_record(feed *f, tape *t, stream *s);

/* Prepares and takes over f->b as filled by packer_fill. A batch without a sequence is a programmer's error. */
void feed_load(feed *f);

#endif
