/* rope: rotary frequencies of a config (Su et al. 2021) with their scaling */
#ifndef LAYERS_ROPE_H
#define LAYERS_ROPE_H

#include "autograd/ops.h"

#include <cjson/cJSON.h>

typedef struct rope {
    tensor       frequencies; /* [D/2] f64, radians a position */
    rope_options o;
} rope;

/* Reads rope_theta with rope_scaling, or rope_parameters: default, linear, dynamic (NTK, by the length of each
 * sequence), yarn and llama3; other kinds are refused, since ignoring them gives plausible wrong numbers. theta: where
 * the config says none. layers: the kind of layer whose entry counts where rope_parameters has one for each, as
 * gemma3's; NULL: those that it calls full_attention. positions: max_position_embeddings. divisors [D/2] (GGUF's
 * rope_freqs.weight) or NULL. */
status rope_read(arena *a, const cJSON *config, const char *what, const char *layers, double theta, int64_t head_size,
                 int64_t positions, const float *divisors, rope *out);

#endif
