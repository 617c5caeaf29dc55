/* state: an optimizer and an average to and from a checkpoint's state.h5.
 *
 * Arrays `optim.<slot>` f32 [values] and `optim.steps` i64 [tensors], in the order of the spans;
 * attribute `optim.name`; state that lies on a device is copied from there or to there. The average: `average` f32 [values], attribute `average.updates`. */
#ifndef OPTIM_STATE_H
#define OPTIM_STATE_H

#include "core/hdf5_file.h"
#include "optim/average.h"
#include "optim/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* STATUS_NUMERIC, with the slot and the tensor, when a value is not finite: nothing is put then. */
status optim_state_put(const optim *o, h5_file *f);

/* Into an optimizer opened with the same options and spans; another name or size is refused. */
status optim_state_get(optim *o, h5_file *f);

/* Nothing when the average is off. */
status average_state_put(const average *a, h5_file *f);
status average_state_get(average *a, h5_file *f);

#ifdef __cplusplus
}
#endif
#endif
