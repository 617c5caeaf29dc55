/* registry: everything a recipe can choose by name, gathered from the tables of all folders */
#ifndef RECIPES_REGISTRY_H
#define RECIPES_REGISTRY_H

#include "recipes/recipe.h"

/* How a run answers prompts of the test data by itself, before and after training. */
typedef struct answer_options {
    int64_t   answers;    /* prompts answered; 0: none */
    int64_t   show;       /* of these, printed beside the truth */
    int64_t   max_tokens; /* new tokens an answer may have */
    key_texts metrics;    /* what they are scored with; an empty list: nothing */
    int64_t   resamples;  /* of the answers, for confidence intervals; 0: none */
} answer_options;

/* Made once, lives as long as the program. */
const option_registry *registry(void);

#endif
