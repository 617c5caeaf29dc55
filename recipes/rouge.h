/* rouge: ROUGE-L F1 between two texts (Lin 2004), words as in the reference implementation: lower case,
 * everything but letters a-z and digits is a border, no stemming. */
#ifndef RECIPES_ROUGE_H
#define RECIPES_ROUGE_H

#include "core/arena.h"

/* 2 P R / (P + R) with P, R = longest common subsequence of words / words of answer, of truth; 0 when
 * either has no words. `a` is scratch and comes back as it was. */
status rouge_l(arena *a, const char *answer, size_t n_answer, const char *truth, size_t n_truth,
               double *f1);

#endif
