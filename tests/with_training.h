/* with_training: a trainer on a small trunk whose micro-batches are looked at one by one, for tests */
#ifndef TESTS_WITH_TRAINING_H
#define TESTS_WITH_TRAINING_H

#include "tests/with_adamw.h"
#include "tests/with_trunk.h"

#include "recipes/trainer.h"

typedef struct training {
    small         s;
    examples      x;
    packer        data;
    pack_step     plan; /* of one step, which has all samples */
    trainer       t;
    adamw_options adamw;
} training;

/* Opens all but g->s, which has its modules already: a step in the middle of a training, of `samples` samples of the
 * same `tokens` tokens, so many in a micro-batch; sample i is of task i % tasks. */
void training_open(training *g, int samples, int tokens, int in_a_batch, int tasks);
void training_close(training *g);

#endif
