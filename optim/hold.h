/* hold: what optim/optim.c and optim/hold.c have in common: the step when the parameters are on a device.
 * Private to them. */
#ifndef OPTIM_HOLD_H
#define OPTIM_HOLD_H

#include "optim/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Values of a slot for a span, and pieces of a span. */
int64_t optim_slot_count(const optimizer *kind, const void *options, const optim_span *s, int slot);
int64_t optim_span_pieces(const optimizer *kind, const optim_span *s);

/* A piece of a span with everything but its values: what `factors` reads. */
optim_piece optim_rates(const optim *o, int span, const optim_group *groups, float scale);

/* The step there, counts made. Needs optim_hold. */
void optim_step_there(const optim *o, float *parameters, const float *gradient, float scale,
                      const optim_group *groups, const uint8_t *skip);

/* For a step here of parameters that are there: their values and gradients come, values go back. */
void optim_pull_spans(const optim *o, float *parameters, const float *gradient, const uint8_t *skip);
void optim_push_spans(const optim *o, float *parameters, const uint8_t *skip);

#ifdef __cplusplus
}
#endif
#endif
