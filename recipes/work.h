/* work: needed FLOPs of training steps, counted from what the packer plans */
#ifndef RECIPES_WORK_H
#define RECIPES_WORK_H

#include "recipes/trainer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct work {
    double  forward, backward; /* needed FLOPs, see tape_flops */
    int64_t tokens, targets, steps;
} work;

/* Adds a planned step, by filling its micro-batches one after another; x need only be planned. */
void work_add(work *w, trainer *x, const packer *data, const pack_step *plan);

#ifdef __cplusplus
}
#endif
#endif
