/* rmsprop: the step on the device */
#include "optim/step.cuh"

#include "optim/rmsprop_rule.h"

OPTIM_CUDA(rmsprop)
