/* with_recipe: a registry of made-up options for tests of the recipe reader */
#ifndef TESTS_WITH_RECIPE_H
#define TESTS_WITH_RECIPE_H

#include "recipes/recipe.h"

typedef struct fake_lora {
    int64_t     rank;
    double      alpha, dropout;
    bool        rslora;
    const char *bias;
    key_map     rank_pattern, alpha_pattern;
} fake_lora;

typedef struct fake_debian {
    const char *task, *split;
    int64_t     limit;
    key_texts   languages;
} fake_debian;

typedef struct fake_adamw {
    double    lr, weight_decay, eps;
    key_texts betas;
} fake_adamw;

typedef struct fake_answers {
    int64_t   answers, show;
    key_texts scores;
} fake_answers;

typedef struct fake_average {
    const char *average;
    double      warmup; /* a key that the general table has, too */
} fake_average;

typedef struct fake_classify {
    int64_t classes;
} fake_classify;

extern const option_registry fake_registry;

#endif
