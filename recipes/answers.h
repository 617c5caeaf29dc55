/* answers: what the model says to test prompts, scored against the truth. */
#ifndef RECIPES_ANSWERS_H
#define RECIPES_ANSWERS_H

#include "recipes/metrics.h"
#include "recipes/registry.h"
#include "recipes/session.h"

typedef struct answer {
    const char *text;
    size_t      length;
} answer;

/* Greedy answers to n questions, in the session's setup arena. */
status answers_make(session *s, const question *q, int64_t n, int64_t max_tokens, answer **out);

/* The figures that the recipe asks for, o->metrics.n of them, in the arena. */
status answers_score(arena *a, const question *q, const answer *answers, int64_t n, const answer_options *o,
                     uint64_t seed, metric_result **out);

/* Prints the first `show` questions with truth, answer before and answer after (either may be NULL) to
 * stderr, one line each. */
void answers_print(const question *q, int64_t show, const answer *before, const answer *after);

#endif
