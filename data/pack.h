/* pack: examples to micro-batches and steps.
 *
 * A packer walks the examples of an epoch in a shuffled order (rng_permute with the purpose "shuffle";
 * a function of seed, epoch and place alone) or as they lie, and fills micro-batches of at most `pack`
 * tokens: the oldest waiting sample first, then every sample of the next PACK_WINDOW that still fits.
 * Of a mixture an epoch holds, of each source, its number of samples times its weight / the largest weight,
 * rounded and at least one. A source of the largest weight comes whole. Of another the samples come in an order
 * of its own, and an epoch goes on where the one before ended, so that all of them come equally often.
 * No micro-batch of that kind crosses an epoch's end. A step is a list of micro-batches (leaves of its
 * sum), planned without filling them, so that ranks fill their own only. Everything is a function of
 * the examples, the options and the position. */
#ifndef DATA_PACK_H
#define DATA_PACK_H

#include "core/rng.h"
#include "data/example.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { PACK_WINDOW = 32 }; /* samples that may wait to fill a gap */

/* The encoder's tokens, likewise one sequence after another; capacity 0: there is none. */
typedef struct batch_source {
    int64_t  capacity;
    int32_t  n;
    int32_t *ids, *positions, *seq_of_row; /* [n] */
    int32_t *offsets;                      /* [n_seqs + 1] */
} batch_source;

/* Patches of images, whose class tokens have none; values 0: there are no images. */
typedef struct batch_images {
    int64_t  values;  /* of a patch */
    int32_t  n;
    float   *patches; /* [n, values] */
    int32_t *places;  /* [n_tokens] row of its patch, -1: a class token */
} batch_images;

/* One micro-batch as the model reads it: sequences one after another, no padding. */
typedef struct batch {
    int64_t  capacity, seqs_capacity; /* tokens, sequences */
    int32_t  n_tokens, n_seqs, n_targets, n_samples; /* a sample of several texts is as many sequences */
    int32_t *ids;         /* [n_tokens] */
    int32_t *positions;   /* [n_tokens] place within its sequence, from first_position on */
    int32_t *types;       /* [n_tokens] kind of the token */
    int32_t *seq_of_row;  /* [n_tokens] its sequence */
    int32_t *offsets;     /* [n_seqs + 1] first row of each sequence */
    /* these may be set after batch_open */
    int32_t  front;          /* virtual tokens in front of every sequence, with id 0 */
    int32_t  first_position; /* of a sequence's first row */
    int32_t  pad;            /* tokens with this id have it as their position too and do not count; -1: none */
    target_place place;
    const int32_t *front_labels; /* [front] or NULL: as in examples */
    int32_t *target_rows; /* [n_targets] row whose hidden state predicts the target, ascending */
    int32_t *target_ids;  /* [n_targets] */
    int32_t *first_target; /* [n_seqs + 1] of each sequence, unless they are chosen (TARGET_MASKED) */
    int64_t  width;       /* of values, 0: there are none */
    float   *values;      /* [n_samples, width] what is wanted of samples, which all have some */
    int32_t *task, *label; /* [n_seqs] label -1: no class */
    int32_t *spans;        /* [n_seqs, 2] of TARGET_SPAN: first and last row, counted from the sequence's first */
    int64_t *sample; /* [n_seqs] number of the sample in the run: epoch * n + its place in the epoch's
                        order; what random numbers are counted by */
    int64_t *example; /* [n_seqs] its number in the examples */
    int32_t *text;    /* [n_seqs] which text of its sample it is */
    batch_source source;  /* what encoders read of the same sequences */
    batch_images images;
} batch;

/* Takes the arrays of a micro-batch, for capacity rows. */
status batch_open(arena *a, int64_t capacity, int64_t seqs_capacity, batch *out);

/* Adds those of a source of so many tokens, or of images with so many values a patch. */
status batch_open_source(arena *a, int64_t capacity, batch *b);
status batch_open_images(arena *a, int64_t values, batch *b);
/* Adds those of so many values a sample. */
status batch_open_values(arena *a, int64_t width, batch *b);

/* Adds a target at a row; rows ascend. For those who choose targets of TARGET_MASKED. */
void batch_add_target(batch *b, int32_t row, int32_t id);

/* Takes all sequences out. */
void batch_clear(batch *b);

/* Appends a sample: a sequence, or one for each of its texts. False (and nothing changed) when it does not fit. */
bool batch_add(batch *b, const example *e, int64_t sample, int64_t number);

typedef struct pack_options {
    int64_t  pack;          /* tokens a micro-batch may hold; unused when batches are given */
    int64_t  source_pack;   /* .. and of an encoder's; 0: as pack */
    int64_t  batch_tokens;  /* tokens a step: batch_tokens / pack micro-batches (a multiple); or .. */
    int64_t  batch_samples; /* .. exactly this many samples a step, in as many micro-batches as they
                               need; or .. */
    int64_t  accumulate;    /* .. this many micro-batches a step (given batches; else if neither of
                               the above is there); 0 counts as 1 */
    int64_t  epochs;        /* the data ends after so many; 0: never */
    bool     shuffle;       /* not for given batches, which keep their order */
    bool     whole;         /* an epoch of a mixture holds all samples, whatever the weights */
    uint64_t seed;
} pack_options;

/* Where a run is in its data: plain numbers to save and restore as they are. */
typedef struct pack_position {
    int64_t epoch;     /* of the next sample */
    int64_t next;      /* place in that epoch's order; given batches: number of the example */
    int64_t step;      /* steps planned so far */
    int64_t n_waiting; /* places before `next` that are not in a micro-batch yet, oldest first */
    int64_t waiting[PACK_WINDOW];
} pack_position;

typedef struct pack_sample {
    int64_t sample, example; /* as in batch */
} pack_sample;

/* The micro-batches of one step; leaf l holds samples[first[l] .. first[l + 1]). */
typedef struct pack_step {
    int                n_leaves; /* 0: the data has ended */
    const int32_t     *first;    /* [n_leaves + 1] */
    const pack_sample *samples;
    int64_t            n_tokens, n_targets, n_samples; /* of all leaves; tokens: also an encoder's */
    int64_t            n_followed; /* rows that another one of their sequence follows */
} pack_step;

typedef struct packer {
    const examples *x;
    pack_options    o;
    pack_position   at;
    rng_key         key, mixture_key;
    int64_t         capacity, seqs_capacity; /* of the largest micro-batch there can be */
    int64_t         source_capacity;         /* an encoder's tokens, 0: there is none */
    int64_t         leaves_capacity;         /* micro-batches of a step at most */
    int64_t         front_targets;           /* of every sample, beside its own */
    int64_t         batches;                 /* number of given micro-batches, 0: packed here */
    int64_t         epoch;                    /* samples of an epoch */
    int64_t        *take;                     /* of each source of a mixture: its samples in an epoch */
    int32_t        *first;
    pack_sample    *samples;
    bool           *used;
} packer;

/* Makes a packer at the beginning of the data. Fails when a sample is longer than `pack`, or the
 * options do not go together. x must outlive it. */
status packer_open(arena *a, const examples *x, const pack_options *o, packer *out);

/* An evaluation: every sample once whatever the weights, in order, one micro-batch a step. source_pack: as in the
 * options. */
status packer_open_once(arena *a, const examples *x, int64_t pack, int64_t source_pack, packer *out);

/* Plans the next step; what it points to is good until the next call. Allocates nothing. The last step
 * before the end of the data may be smaller. */
void packer_step(packer *p, pack_step *out);

/* Fills a micro-batch of the planned step. b must have the packer's capacities. */
void packer_fill(const packer *p, const pack_step *s, int leaf, batch *b);

/* Goes to a position that was saved from a packer of the same examples and options; refuses one that
 * cannot be. */
status packer_seek(packer *p, const pack_position *to);

/* Steps that `epochs` epochs take from the beginning. Plans them all, so a step planned before is no
 * longer good. */
int64_t packer_count(const packer *p, int64_t epochs);

#ifdef __cplusplus
}
#endif
#endif
