/* answers: what the model says to test prompts, scored with ROUGE-L against the truth. */
#ifndef RECIPES_ANSWERS_H
#define RECIPES_ANSWERS_H

#include "recipes/session.h"

typedef struct answer {
    const char *text;
    size_t      length;
    double      rouge;
} answer;

/* Greedy answers to n questions, in the session's setup arena, and the mean ROUGE-L. */
status answers_make(session *s, const question *q, int64_t n, int64_t max_tokens, answer **out,
                    double *mean_rouge);

/* Prints the first `show` questions with truth, answer before and answer after (either may be NULL) to
 * stderr, one line each. */
void answers_print(const question *q, int64_t show, const answer *before, const answer *after);

#endif
