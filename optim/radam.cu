/* radam: the step on the device */
#include "optim/step.cuh"

#include "optim/radam_rule.h"

OPTIM_CUDA(radam)
