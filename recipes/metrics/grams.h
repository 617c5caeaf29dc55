/* grams: runs of n characters or words, counted.
 *
 * The grams of all texts of a sample are numbered together, order by order: a gram of n units is the number
 * of its first n - 1 and its last unit, so that two equal grams have equal numbers and no text is compared
 * twice. */
#ifndef RECIPES_METRICS_GRAMS_H
#define RECIPES_METRICS_GRAMS_H

#include "recipes/metrics/words.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gram_text {
    const uint32_t *unit; /* [n_units]: characters, or ids of words */
    int64_t         n_units;
    uint32_t       *gram; /* [n_units]: the number of the gram that begins there; the first n count */
    int64_t         n;
} gram_text;

typedef struct grams {
    gram_text *v;
    int        n_texts;
    int        order;    /* 0 before the first grams_longer */
    uint32_t   distinct; /* numbers are 0..distinct-1 */
} grams;

/* Texts of words that have ids; texts of their characters without white space. */
status grams_of_words(arena *a, const word_list *lists, int n, grams *out);
status grams_of_characters(arena *a, const metric_text *texts, int n, grams *out);

/* From order n to n + 1. */
status grams_longer(arena *a, grams *g);

/* How many grams of text `from` are also in the texts first..last: each at most as often as it is in the one
 * of them that has it most often. */
status grams_hits(arena *a, const grams *g, int from, int first, int last, int64_t *hits);

#ifdef __cplusplus
}
#endif
#endif
