/* sgd: the step on the device */
#include "optim/step.cuh"

#include "optim/sgd_rule.h"

OPTIM_CUDA(sgd)
