/* whole: what an adapter of any method may train beside its sites: whole tensors of the trunk (PEFT's
 * modules_to_save), and rows of the embedding (trainable_token_indices). */
#ifndef PEFT_WHOLE_H
#define PEFT_WHOLE_H

#include "peft/peft.h"

/* Trains copies of the rows `ids` of the embedding at->s, in their place; a tied head reads them too. The tensor is
 * "base_model.model.<site>.<suffix>" [n, width]; twice: under a tied head's name as well. */
status whole_tokens(const peft_attach *at, const int32_t *ids, int64_t n, const char *suffix, bool twice);

/* Numbers of a recipe's list: whole, each once, below `words`. */
status whole_token_ids(arena *a, const key_texts *texts, int64_t words, int32_t **ids);

#endif
