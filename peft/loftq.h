/* loftq: a weight W that a few bits hold, Q, and factors that begin with the best of what Q lost (Li et al. 2023): in
 * turns, Q is W - s B A quantised, and s B A the r largest singular values and vectors of W - Q.
 *
 * Q is of a type of core/types.def, as a GGUF file would have it, or as PEFT makes it, expanded: nf4 in blocks of 64
 * values (the quantiles of a normal distribution, times the largest of the block), int8 by row. */
#ifndef PEFT_LOFTQ_H
#define PEFT_LOFTQ_H

#include "core/arena.h"
#include "core/json.h"
#include "layers/site.h"

typedef struct loftq_options {
    const char *type;  /* LOFTQ_TYPES */
    int64_t     turns; /* PEFT's loftq_iter */
} loftq_options;

#define LOFTQ_TYPES "nf4|int8|q8_0|q6_k|q4_k|q4_1|q4_0"

/* What the site's weight becomes; refuses weights that the type cannot hold. */
status loftq_shape(const loftq_options *o, const site *s, tensor *q);

/* Fills q, and the factors a [rank, in] and b [out, rank]; without them (NULL) the last decomposition is left out.
 * scale: s. */
status loftq_make(arena *work, const loftq_options *o, const site *s, int64_t rank, double scale,
                  const tensor *q, float *a, float *b);

/* PEFT's loftq_config; a type that PEFT has not has a field of its own beside a number of bits that PEFT refuses. */
void   loftq_write(const loftq_options *o, cJSON *config);
status loftq_read(const cJSON *config, arena *a, loftq_options *o, const char *what);

#endif
