/* torch_random: the numbers of torch's generator on the CPU (MT19937; Matsumoto and Nishimura 1998), for
 * adapters whose files hold a seed where others hold values */
#ifndef PEFT_TORCH_RANDOM_H
#define PEFT_TORCH_RANDOM_H

#include "core/arena.h"
#include "core/tensor.h"

typedef struct torch_random {
    uint32_t state[624];
    int      at;
} torch_random;

/* torch.Generator().manual_seed(seed) */
void torch_seed(torch_random *r, uint64_t seed);

/* tensor.uniform_(-bound, bound, generator) of n float32 values */
void torch_uniform(torch_random *r, float bound, float *v, int64_t n);

/* The first k numbers of torch.randperm(n, generator), n below 2^32 / 20; work in `a`, which is left as it
 * was. */
status torch_permutation(torch_random *r, arena *a, int64_t n, int64_t k, int64_t *out);

/* INIT_MADE's context for uniform values from a seed, behind `skip` others. RandLoRA's are bf16 (on a machine where
 * torch has them), and divided by their deviation. */
typedef struct torch_start {
    uint64_t seed;
    int64_t  skip;
    double   bound;
    bool     bf16_normalised;
} torch_start;
status torch_make(arena *work, const void *context, const tensor *value);

/* INIT_MADE's context for distinct places in a matrix [rows, columns]: the first of a permutation of all, in
 * the order of rows and then columns. */
typedef struct torch_places {
    uint64_t seed;
    int64_t  rows, columns;
} torch_places;
status torch_make_places(arena *work, const void *context, const tensor *value);

#endif
