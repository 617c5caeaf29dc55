/* lottery_select: which values of many tensors are trained: the k with the largest scores, over all tensors together
 * (Ansell et al. 2022, LT-SFT). */
#ifndef PEFT_LOTTERY_SELECT_H
#define PEFT_LOTTERY_SELECT_H

#include "core/arena.h"

/* At the k-th largest score: `keep` takes all that have it, so more than k may be chosen; `cap` takes exactly k, of
 * equal ones those that come first: in the order of the tensors' names, then of their values. */
typedef enum lottery_ties { LOTTERY_CAP, LOTTERY_KEEP } lottery_ties;

typedef struct lottery_tensor {
    const char  *name;
    int64_t      n;
    const float *now, *start; /* the score is |now - start|, in f32; start NULL: it is |now| */
    uint8_t     *mask;        /* [n] in: 1 where it was chosen before, which is not chosen again; out: all that are */
} lottery_tensor;

/* Chooses k of the values that are not chosen yet. *chosen: how many were, with `keep` k or more. Refused: k above what
 * there is, a score that is not a number. */
status lottery_select(lottery_tensor *x, int n, int64_t k, lottery_ties ties, int64_t *chosen);

/* The same where a score is how far training moved a value: k above the number of those that moved is refused too, for
 * then whatever did not move would be chosen with them. */
status lottery_select_moved(lottery_tensor *x, int n, int64_t k, lottery_ties ties, int64_t *chosen);

/* k of a setting: whole from 1 on, below 1 a share of `values`, rounded down. */
status lottery_count(double k, int64_t values, int64_t *out);

#endif
