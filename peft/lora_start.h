/* lora_start: where the factors of a LoRA begin.
 *
 * Most starts have no effect: B, or at an embedding A, begins at zero. Others begin with a part of the weight itself,
 * s B0 A0, and the weight goes on without that part: W x - s B0 A0 x + s B A x. Here the trunk stays as it is, so the
 * part taken out is a second, fixed pair of factors beside the trained one, A0 and -B0. With loftq (peft/loftq.h) a
 * quantised weight stands in the place of the trunk's, and the factors begin with what that lost. */
#ifndef PEFT_LORA_START_H
#define PEFT_LORA_START_H

#include "peft/corda.h"
#include "peft/loftq.h"
#include "peft/peft.h"

/* The options, as in lora's table. */
typedef struct lora_start {
    const char   *init;         /* default, gaussian, pissa, olora, corda, loftq */
    int64_t       pissa_niter;
    loftq_options loftq;
    const char   *corda_method; /* ipm, kpm */
    int64_t       corda_samples;
    bool          known;        /* of an adapter file: all factors lie in it; what loftq quantised is made again */
} lora_start;

typedef struct lora_factors {
    tuned *a, *b, *out_a, *out_b; /* the latter: what is taken out; NULL where the start takes nothing */
    covariance **seen;            /* what corda saw of the site's inputs, NULL until it does; or NULL */
    tuned *instead;               /* the weight that loftq puts in the trunk's place, or NULL */
} lora_factors;

/* The start changes the weight; takes a part out of it. */
bool lora_start_changes(const lora_start *o);
bool lora_start_takes(const lora_start *o);

/* The start sees samples, and at a site whose factors it made. */
bool   lora_start_sees(const lora_start *o);
status lora_start_see(const site *s, const lora_factors *f, const peft_inputs *in, const lora_factors *same);

/* Adds what the start costs at a site. */
void lora_start_cost(const lora_start *o, const site *s, int64_t rank, peft_start_cost *c);

/* Adds the factors at a site. */
status lora_start_add(const peft_attach *at, const lora_start *o, int64_t rank, double scale, lora_factors *f);

/* init_lora_weights of an adapter_config.json, and what belongs to it. */
void lora_start_write(cJSON *config, const lora_start *o);

/* It says what other programs find in the file: an ordinary LoRA of twice the rank, A on A0 and B
 * beside -B0, as PEFT's path_initial_model_for_weight_conversion makes it. */
void lora_start_double(cJSON *config, bool rslora);

/* init_lora_weights of a file that another program wrote. */
status lora_start_read(const cJSON *config, arena *a, lora_start *o, const char *what);

#endif
