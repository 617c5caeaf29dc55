/* decoding: what all ways of making text share: a cache of keys and values in pages, and two recorded computations,
 * one that reads prompts, one over a row a sequence.
 *
 * Each prompt has one sequence, or as many as a search goes on with (beams). In a model with a source the prompt is
 * the encoder's, read once; the decoder then goes on from its first token. */
#ifndef RECIPES_DECODING_H
#define RECIPES_DECODING_H

#include "recipes/decoder.h"
#include "recipes/kv_pages.h"

/* One recorded computation with its inputs. */
typedef struct decode_run {
    tape    *t;
    var     *logits; /* [sequences, words] */
    int32_t  n_rows, n_offsets, n_seqs, from_to[2];
    tensor   ids, positions, slots, whole, q_offsets, k_offsets, q_start, blocks, last, tasks;
    int32_t *v_ids, *v_positions, *v_slots, *v_q, *v_k, *v_start, *v_blocks, *v_last, *v_tasks;
    /* of a source: where its keys lie; of prompts also what it reads */
    stream   source;
    int32_t  n_source;
    tensor   source_ids, source_positions, source_slots, source_q, source_k, source_blocks;
    int32_t *v_source_ids, *v_source_positions, *v_source_slots, *v_source_q, *v_source_k, *v_source_blocks;
} decode_run;

typedef struct decoding {
    arena         memory;
    model        *m;
    const prompt *prompts;
    int64_t       n, total; /* total: tokens of all prompts, what stands in front of them included */
    model_front   front;    /* of every prompt */
    kv_pages      pages;
    decode_run    first, next;
} decoding;

/* Memory of all kinds, recorded and bound, for answers of up to `tokens` tokens. Fails when a prompt and its answer
 * are too long for the model, or all of it for the device's memory. Close it also after a failure. */
status decoding_open(decoding *d, model *m, const prompt *prompts, int64_t n, int64_t beams, int64_t tokens);

/* The same for one prompt that changes and grows, d->prompts, with its answers up to `room` tokens. */
status decoding_open_room(decoding *d, model *m, int64_t room);
void   decoding_close(decoding *d);

/* Reads the prompts: d->first.logits have a row a prompt. */
status decoding_read(decoding *d);

/* Reads the one prompt's tokens from `from` on; those before it are in the cache. */
status decoding_read_on(decoding *d, int64_t from);

/* The sequences of prompt p become continuations of its sequences parents[0..n), which have `before` tokens of the
 * decoder. At the first call there is only sequence 0. */
void decoding_follow(decoding *d, int64_t p, const int32_t *parents, int64_t n, int64_t before);

/* A step: begin, then add each sequence that goes on with its newest token, which stands behind `before` others (of
 * the decoder), then run: d->next.logits have a row a sequence in the order in which they were added. */
void   decoding_begin(decoding *d);
void   decoding_add(decoding *d, int64_t p, int64_t beam, int32_t id, int64_t before);
status decoding_run(decoding *d);

/* Tokens of the decoder that stand before a prompt's answer. */
const int32_t *decoding_given(const decoding *d, int64_t prompt, int64_t *n);

/* Refuses tokens that the model does not have, and a task. */
status decoding_check(const model *m, const prompt *p, int64_t number);

#endif
