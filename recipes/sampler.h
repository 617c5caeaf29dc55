/* sampler: the next token from a row of logits.
 *
 * The order is that of transformers: the penalty of repetition, no n-gram twice; and when a temperature is asked for,
 * temperature, top k, top p, min p. What is drawn is a function of seed, prompt and position in the answer. */
#ifndef RECIPES_SAMPLER_H
#define RECIPES_SAMPLER_H

#include "core/arena.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sampler_options {
    double   penalty;     /* of tokens that were seen: divides a logit above 0, multiplies one below (Keskar et al.
                             2019); 0, 1: none */
    int64_t  no_repeat;   /* no n-gram of this many tokens comes twice; 0: it may */
    double   temperature; /* 0: greedy, and the others below are not used */
    int64_t  top_k;       /* the k most likely, and those as likely as the last of them; 0: all */
    double   top_p;       /* the smallest set of this share (Holtzman et al. 2020); 0, 1: all */
    double   min_p;       /* those of at least this share of the likeliest's probability (Nguyen et al. 2024) */
    uint64_t seed;
} sampler_options;

typedef struct sampler_candidate {
    float   logit; /* divided by the temperature */
    int32_t id;
} sampler_candidate;

typedef struct sampler {
    sampler_options    o;
    int64_t            words;
    sampler_candidate *c; /* [words], when sampling */
    bool              *marks; /* [words], none set between calls */
} sampler;

status sampler_open(sampler *s, arena *a, int64_t words, const sampler_options *o);

/* Changes a row by what was seen, prompt and answer so far: penalty and n-grams. */
void sampler_process(sampler *s, float *logits, const int32_t *seen, int64_t n);

/* The candidates of a processed row, the likeliest first, into s->c; how many they are. With a temperature only. */
int64_t sampler_candidates(sampler *s, const float *logits);

/* The best token of a processed row, the first of equals; *margin becomes the distance to the second best when that
 * is smaller. */
int32_t sampler_greedy(const sampler *s, const float *logits, double *margin);

/* One of a processed row's candidates. */
int32_t sampler_draw(sampler *s, const float *logits, int64_t prompt, int64_t position);

#ifdef __cplusplus
}
#endif
#endif
