/* rope: rotary frequencies of a config (Su et al. 2021) with its scaling */
#ifndef LAYERS_ROPE_H
#define LAYERS_ROPE_H

#include "core/arena.h"
#include "core/tensor.h"

#include <cjson/cJSON.h>

/* Frequencies [D/2] in radians a position, f64: an angle is the product with a position. Reads rope_theta and rope_scaling
 * or rope_parameters of the config: default, linear and llama3; other kinds are refused, since ignoring
 * them gives plausible wrong numbers. divisors [D/2] (GGUF's rope_freqs.weight) or NULL. */
status rope_frequencies(arena *a, const cJSON *config, const char *what, int64_t head_size,
                        const float *divisors, tensor *out);

#endif
