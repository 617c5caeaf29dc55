/* lora: what files of other programs need to know of a LoRA. */
#ifndef PEFT_LORA_H
#define PEFT_LORA_H

#include "peft/peft.h"

extern const peft_method peft_lora;

/* Rank and scale at a site, for options of peft_lora. */
status lora_rank_and_scale(const void *options, const site *s, int64_t *rank, double *scale);

/* Its factors and scale at a site, from the state of its hook there, for who computes in its place; refused where it is
 * more than y + scale (x A^T) B^T. */
status lora_parts(const void *state, tuned **a, tuned **b, double *scale);

#endif
