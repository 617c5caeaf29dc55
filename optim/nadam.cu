/* nadam: the step on the device */
#include "optim/step.cuh"

#include "optim/nadam_rule.h"

OPTIM_CUDA(nadam)
