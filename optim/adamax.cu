/* adamax: the step on the device */
#include "optim/step.cuh"

#include "optim/adamax_rule.h"

OPTIM_CUDA(adamax)
