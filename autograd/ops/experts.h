/* experts: low-rank experts that lie apart in one flat buffer
 *
 * Row e of a table i32 [E, 3] holds the rank of expert e and the places of its factors A [rank, K] and B [M, rank] in
 * steps of EXPERT_STEP values. A rank of 0: the expert does nothing here. */
#ifndef AUTOGRAD_OPS_EXPERTS_H
#define AUTOGRAD_OPS_EXPERTS_H

#include "autograd/ops.h"

static inline int64_t expert_rank(const int32_t *table, int64_t e)
{
    return table[3 * e];
}

static inline int64_t expert_low(const int32_t *table, int64_t e)
{
    return (int64_t)table[3 * e + 1] * EXPERT_STEP;
}

static inline int64_t expert_high(const int32_t *table, int64_t e)
{
    return (int64_t)table[3 * e + 2] * EXPERT_STEP;
}

#endif
