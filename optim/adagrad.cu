/* adagrad: the step on the device */
#include "optim/step.cuh"

#include "optim/adagrad_rule.h"

OPTIM_CUDA(adagrad)
