/* beams: the search for one prompt's answer among several that grow at once, as transformers' `generate` does it.
 *
 * A step continues every beam by every token and looks at the best of all: those among the first that end are kept as
 * answers, the best that do not end are the next beams. Of equals the earlier beam, then the smaller token comes
 * first. */
#ifndef RECIPES_BEAMS_H
#define RECIPES_BEAMS_H

#include "recipes/decoder.h"

typedef struct beam {
    int32_t *ids; /* of the answer, behind a copy of what was given */
    int64_t  n;
    double   score; /* log probability; of an answer that ended over length ^ length_penalty */
    int32_t  parent; /* its beam before */
    bool     ended, stopped;
} beam;

typedef struct beam_candidate {
    double  score;
    int32_t parent, id;
} beam_candidate;

typedef struct beams {
    const decode_options *o;
    int64_t               given, width, number; /* width: candidates; number: of the prompt, for the watch */
    beam                 *running, *next, *answers; /* [o->beams.n] each; answers: the best first */
    beam                  trial;
    int64_t               n_running, n_answers, length; /* length: of every running beam */
    beam_candidate       *candidates; /* [width] */
    int64_t               n_candidates;
    bool                  done;
} beams;

/* One beam that is empty. */
status beams_open(beams *b, arena *a, const decode_options *o, const int32_t *given, int64_t n, int64_t number);

/* A step from the logits of every running beam, [n_running, s->words], which become log probabilities. Then the beams
 * that run come from their parents' by one token, or b->done. */
status beams_step(beams *b, sampler *s, float *logits);

/* The best answer. */
const beam *beams_best(const beams *b);

#endif
