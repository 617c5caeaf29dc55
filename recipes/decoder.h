/* decoder: text from a model, one token a time, several prompts in one batch.
 *
 * Keys and values lie in pages of 32 tokens; prompts are read in one packed run, then every step
 * computes one row for each prompt that is not finished. */
#ifndef RECIPES_DECODER_H
#define RECIPES_DECODER_H

#include "layers/model.h"
#include "recipes/sampler.h"

typedef struct prompt {
    const int32_t *ids;
    int64_t        n;    /* at least 1 */
    int32_t        task; /* for modules that tell tasks apart */
} prompt;

typedef struct decoded {
    int32_t *ids; /* new tokens only */
    int64_t  n;
    bool     ended;   /* by an end token */
    bool     stopped; /* by the watch */
    double   margin;  /* smallest distance of the best logit to the second: how sure greedy was */
} decoded;

/* Called after every new token, with what a prompt has so far; *stop: that is enough. */
typedef status (*decode_watch)(void *context, int64_t prompt, const decoded *so_far, bool *stop);

typedef struct decode_options {
    int64_t         max_tokens; /* new tokens a prompt */
    bool            ignore_end; /* go on behind end tokens */
    const int32_t  *ends;       /* tokens that end an answer; they are not part of it */
    int             n_ends;
    sampler_options choose;
    int64_t         number;  /* of the first prompt, for random numbers */
    decode_watch    watch;   /* NULL: none */
    void           *context; /* the watch's */
} decode_options;

typedef struct decode_times {
    double  prompt_seconds, token_seconds;
    int64_t prompt_tokens, tokens;
} decode_times;

/* out[n] in the arena. Fails when a prompt and its answer are longer than the model's positions. Memory of
 * the run (cache, activations) is taken and given back inside. */
status decode(arena *a, model *m, const prompt *prompts, int64_t n, const decode_options *o,
              decoded *out, decode_times *times);

#endif
