/* lion: the step on the device */
#include "optim/step.cuh"

#include "optim/lion_rule.h"

OPTIM_CUDA(lion)
