/* words_13a: the words of mteval-v13a, which BLEU is computed on (sacrebleu's tokenizer 13a) */
#ifndef RECIPES_METRICS_WORDS_13A_H
#define RECIPES_METRICS_WORDS_13A_H

#include "recipes/metrics/words.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Words of a text, in the arena. */
status words_13a(arena *a, metric_text text, word_list *out);

#ifdef __cplusplus
}
#endif
#endif
