/* leaf_sum: the fixed binary tree in which a step's micro-batch gradients are added.
 *
 * Leaf i is one micro-batch. Like a binary counter: two sums of equal height are joined as soon as
 * both are there, older + newer. Whoever computes an aligned subtree gets the same bytes, however
 * many leaves others compute.
 *
 * Buffers that have twins on the current device are zeroed and added there; the host's are not touched. */
#ifndef RECIPES_LEAF_SUM_H
#define RECIPES_LEAF_SUM_H

#include "core/arena.h"

#include <stdbool.h>

enum { LEAF_LEVELS = 24 };

typedef struct leaf_sum {
    int64_t size;               /* values of a buffer */
    int     n_buffers;          /* log2(leaves) + 1, rounded up */
    float  *buffer[LEAF_LEVELS + 1];
    bool    used[LEAF_LEVELS + 1];
    int     level[LEAF_LEVELS]; /* buffer that holds the sum of 2^l leaves, or -1 */
    double  loss[LEAF_LEVELS];  /* of the same leaves: added in the same tree */
    int     current;            /* buffer of the leaf being computed */
    int64_t leaves;
} leaf_sum;

/* Buffers for at most `leaves` micro-batches a step. */
status leaf_sum_open(leaf_sum *s, arena *memory, int64_t size, int64_t leaves);
/* Number of buffers that leaf_sum_open takes. */
int leaf_sum_buffers(int64_t leaves);

/* A step: start; then for every micro-batch leaf_sum_begin (a zeroed buffer for its gradient) and
 * leaf_sum_end with its loss; at last leaf_sum_total. */
void   leaf_sum_start(leaf_sum *s);
float *leaf_sum_begin(leaf_sum *s);
void   leaf_sum_end(leaf_sum *s, double loss);
float *leaf_sum_total(leaf_sum *s, double *loss);

#endif
