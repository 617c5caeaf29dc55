/* decoding: what all ways of making text share: a cache of keys and values in pages, and two recorded computations,
 * one over whole prompts, one over a row a sequence.
 *
 * A prompt has `per_prompt` sequences, numbered one prompt after another; its first one reads it. Pages hold 32
 * positions; tables[sequence][i] says which page holds positions 32 i and on, at first each sequence has pages of its
 * own. In a model with a source the prompt is the encoder's, read once; the decoder then goes on from its first token. */
#ifndef RECIPES_DECODING_H
#define RECIPES_DECODING_H

#include "core/device.h"
#include "recipes/decoder.h"

enum { DECODE_PAGE = 32 };

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
    int64_t       n, per_prompt, total; /* total: tokens of all prompts, what stands in front of them included */
    int64_t       pages, source_pages, all_pages; /* of a sequence, of a prompt's source, of all sequences */
    int32_t      *tables;  /* [n * per_prompt, pages] */
    model_front   front;   /* of every prompt */
    kv_cache      cache;
    device_arena  there;   /* the cache, on a device */
    decode_run    first, next;
} decoding;

/* Memory of all kinds, recorded and bound; spare: pages more than the sequences need. Fails when a prompt and its
 * `tokens` new ones are too long for the model, or for the device's memory. Close it also after a failure. */
status decoding_open(decoding *d, model *m, const prompt *prompts, int64_t n, int64_t per_prompt, int64_t tokens,
                     int64_t spare);
void   decoding_close(decoding *d);

/* Reads the prompts: d->first.logits have a row a prompt. */
status decoding_read(decoding *d);

/* A step: begin, then add each sequence with its newest token, which stands behind `before` others (of the decoder),
 * then run: d->next.logits have a row a sequence in the order in which they were added. */
void   decoding_begin(decoding *d);
void   decoding_add(decoding *d, int64_t sequence, int32_t id, int64_t before);
status decoding_run(decoding *d);

/* Tokens of the decoder that stand before a prompt's answer. */
const int32_t *decoding_given(const decoding *d, int64_t prompt, int64_t *n);

/* Copies what a page holds, in all layers. */
void decoding_copy_page(decoding *d, int32_t from, int32_t to);

#endif
