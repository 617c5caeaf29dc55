/* adamw, adam: the step on the device */
#include "optim/step.cuh"

#include "optim/adamw_rule.h"

OPTIM_CUDA(adam)
