/* with_adamw: AdamW's options without a recipe */
#ifndef TESTS_WITH_ADAMW_H
#define TESTS_WITH_ADAMW_H

#include "optim/optim.h"

/* Room for the options struct that adamw's key table describes. */
typedef struct adamw_options {
    double bytes[32];
} adamw_options;

/* betas 0.9, 0.999 */
status adamw_set(adamw_options *o, double lr, double eps, double weight_decay, const optimizer **kind);

#endif
