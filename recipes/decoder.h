/* decoder: text from a model, one token a time, several prompts in one batch, or one conversation.
 *
 * Keys and values lie in pages of 32 tokens; prompts are read in one packed run, then every step
 * computes one row for each prompt that is not finished, or one for each beam of it. */
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
    double   score;   /* of a search: log probability / length ^ length_penalty */
} decoded;

/* Called after every new token, with what a prompt has so far, in a search with every continuation that may be kept;
 * *stop: that is enough. */
typedef status (*decode_watch)(void *context, int64_t prompt, const decoded *so_far, bool *stop);

/* When a search ends before the last token. Of as many answers as beams have ended: */
typedef enum beam_stop {
    BEAM_STOP_LIKELY, /* none that goes on is better than the worst of them, as long as it is now */
    BEAM_STOP_FULL,   /* at once */
    BEAM_STOP_SURE    /* none that goes on can become better than the worst of them */
} beam_stop;

typedef struct beam_options {
    int64_t   n;              /* beams; 0, 1: no search */
    double    length_penalty; /* above 0 longer answers are preferred */
    beam_stop stop;
} beam_options;

typedef struct decode_options {
    int64_t         max_tokens; /* new tokens a prompt */
    bool            ignore_end; /* go on behind end tokens */
    const int32_t  *ends;       /* tokens that end an answer; they are not part of it */
    int             n_ends;
    sampler_options choose;
    beam_options    beams;   /* a search takes no temperature */
    int64_t         number;  /* of the first prompt, for random numbers */
    decode_watch    watch;   /* NULL: none */
    void           *context; /* the watch's */
} decode_options;

typedef struct decode_times {
    double  prompt_seconds, token_seconds;
    int64_t prompt_tokens, tokens;
} decode_times;

/* Does this token end an answer? */
bool decode_ends_with(const decode_options *o, int32_t id);

/* out[n] in the arena. Fails when a prompt and its answer are longer than the model's positions. Memory of
 * the run (cache, activations) is taken and given back inside. */
status decode(arena *a, model *m, const prompt *prompts, int64_t n, const decode_options *o,
              decoded *out, decode_times *times);

/* A prompt that grows from answer to answer: what the cache has of it is not computed again. */
typedef struct conversation conversation;

/* room: tokens that it may have, answers included. In the arena. Close it also after a failure. */
status conversation_open(arena *a, model *m, int64_t room, conversation **out);
void   conversation_close(conversation *c);

/* As decode; of the prompt only what differs from what the conversation has is read. No search. Fails when prompt and
 * answer have no room. */
status conversation_answer(conversation *c, arena *a, const prompt *p, const decode_options *o, decoded *out,
                           decode_times *times);

#endif
