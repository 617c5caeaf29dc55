/* words: lower case, white space and words of UTF-8 texts, as Python's str has them, which all the reference
 * implementations use. Everything lies in the arena or in the text that was given. */
#ifndef RECIPES_METRICS_WORDS_H
#define RECIPES_METRICS_WORDS_H

#include "recipes/metrics.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct word {
    metric_text text;
    uint32_t    id; /* of words_number */
} word;

typedef struct word_list {
    word   *v;
    int64_t n;
} word_list;

/* The character at text[at] and its bytes; a byte that is not valid is U+FFFD. */
int words_next(metric_text text, size_t at, uint32_t *code);

/* Characters that str.split() splits at, and those that \w of `re` takes (without '_'). */
bool words_is_space(uint32_t code);
bool words_is_letter(uint32_t code);
/* string.punctuation */
bool words_is_punctuation(uint32_t code);

/* str.lower(). For the rule about a sigma at the end of a word, "cased" are the categories Lu, Ll and Lt. */
status words_lower(arena *a, metric_text text, metric_text *out);

/* str.split() and str.rstrip() */
status      words_split(arena *a, metric_text text, word_list *out);
metric_text words_trim_end(metric_text text);

bool words_equal(metric_text a, metric_text b);

/* Numbers the words of all lists: equal words get the same id, ids are 0..*distinct-1. */
status words_number(arena *a, word_list *lists, int n_lists, uint32_t *distinct);

#ifdef __cplusplus
}
#endif
#endif
