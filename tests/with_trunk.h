/* with_trunk: small random trunks with modules, for tests */
#ifndef TESTS_WITH_TRUNK_H
#define TESTS_WITH_TRUNK_H

#include "peft/peft.h"
#include "recipes/trace.h"

typedef struct small {
    arena   memory, tuned;
    weights w;
    model   m;
    peft   *p;
} small;

/* A llama of 3 blocks: width 48, 4 heads on 2 of 12, inner 80, 128 words; tied; biases everywhere; wider weights than usual,
 * so that a mistake shows. */
void small_open(small *s, uint64_t seed);
/* A trunk of another config.json. */
void small_open_as(small *s, const char *json, uint64_t seed);
void small_close(small *s);

/* The method's preset options, except the named ones (name, number pairs ending with NULL; of a choice the number
 * in its list). */
void *small_options(small *s, const peft_method *m, const char *const *names, const double *values);

/* Adds a module with them and starts it. */
void small_add(small *s, const char *method, const char *pattern, const char *const *names,
               const double *values);

/* Sets every tuned value to noise, so that nothing is at its identity start. */
void small_stir(small *s, uint64_t seed);

/* Where modules tell tasks apart, the sequences are of tasks 0 and 1, or both of that which is to be merged. Logits of
 * two fixed sequences, [tokens, words], copied into the memory. */
trace_result small_trace(small *s, const trace_options *o);

#endif
